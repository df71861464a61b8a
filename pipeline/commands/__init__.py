"""Command lines, which ``train.py``, ``evaluate.py`` and ``score.py`` run: each reads options, makes one call and prints the result."""
