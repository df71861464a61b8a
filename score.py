#!/usr/bin/env python3
"""Score files of posts with a model."""

from pipeline import interrupts, terminal  # noqa: F401
from pipeline.commands.score import main

if __name__ == "__main__":
    terminal.run(main, stopped="stopped; run the same command again to continue")
