"""A server in front of scoring processes.

The front (`front.py`) speaks HTTP. It never looks into a post, runs nothing of the model and so answers in time, however busy the scoring
processes are (`scorers.py`), which read, score and write posts (`model.py`). The front measures what it does (`watch.py`).
"""
