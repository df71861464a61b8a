#!/usr/bin/env python3
"""Evaluate a model on labelled posts."""

from pipeline import interrupts, terminal  # noqa: F401
from pipeline.commands.evaluate import main

if __name__ == "__main__":
    terminal.run(main)
