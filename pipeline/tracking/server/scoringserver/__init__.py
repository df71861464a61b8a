"""A server in front of scoring processes.

The front (`front.py`) speaks HTTP. It never looks into a post and runs nothing of the model, so it answers in time. The scoring processes
(`scorers.py`) read, score and write posts (`model.py`). The front measures what it does (`watch.py`).
"""
