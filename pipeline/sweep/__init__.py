"""Sweeps: Optuna chooses configs, which are tried on author-disjoint folds of train. Each result is saved at once."""

from pipeline.sweep.run import Swept, sweep
from pipeline.sweep.space import Range, Sweep, load_sweep
from pipeline.sweep.trials import Trial

__all__ = ["Range", "Sweep", "Swept", "Trial", "load_sweep", "sweep"]
