#!/usr/bin/env python3
"""Train a disclosure classifier: config and data to model, evaluation and MLflow run."""

from pipeline import terminal
from pipeline.commands.train import main

if __name__ == "__main__":
    terminal.run(main)
