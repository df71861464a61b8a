#!/usr/bin/env python3
"""Train a disclosure classifier from a config and data, evaluate it, and log the run in MLflow."""

from pipeline import interrupts, terminal  # noqa: F401
from pipeline.commands.train import main

if __name__ == "__main__":
    terminal.run(main)
