"""Sweeps: configs tried on author-disjoint folds of train, chosen by Optuna, each kept as soon as it is known."""

from pipeline.sweep.run import Swept, sweep
from pipeline.sweep.space import Range, Sweep, load_sweep
from pipeline.sweep.trials import Trial

__all__ = ["Range", "Sweep", "Swept", "Trial", "load_sweep", "sweep"]
