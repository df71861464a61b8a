"""Command lines: options, one call, printing. ``train.py``, ``evaluate.py`` and ``score.py`` start those of their names."""
