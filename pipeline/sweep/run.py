"""Runs a sweep, which finds the best config in a space."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from models.errors import InputError
from models.folders import owner_only
from pipeline.config import Config
from pipeline.corpora import Corpus, load_training_corpus
from pipeline.report.note import short_name
from pipeline.sweep.folder import BEST, check_folder, write_results
from pipeline.sweep.space import Sweep
from pipeline.sweep.study import open_study
from pipeline.sweep.trials import Trial


@dataclass(frozen=True)
class Swept:
    """Results of a sweep.

    Attributes
    ----------
    trials : list of Trial
        All of them, in order.
    best : Path
        File with the best config, for ``train.py --config``.
    corpus : Corpus
        The train posts that trials were compared on.
    run_id : str
        Id of the MLflow run that holds the trials' runs.
    """

    trials: list[Trial]
    best: Path
    corpus: Corpus
    run_id: str


@owner_only()
def sweep(
    config: Config,
    wanted: Sweep,
    out: Path,
    *,
    origin: str = "a sweep",
    progress: Callable[[str], None] = lambda step: None,
    ended: Callable[[Trial], None] = lambda trial: None,
) -> Swept:
    """Try configs on author-disjoint folds of train, save and track each trial, and write the best config.

    Other splits are used only to drop train posts that overlap them, as in training. No model is saved.

    Parameters
    ----------
    config : Config
        The config that trials change.
    wanted : Sweep
        From `pipeline.sweep.load_sweep`.
    out : Path
        Folder for ``study.db`` (Optuna's), ``best.yaml``, ``trials.csv`` and ``sweep.yaml``. A stopped sweep continues where it left off;
        one with other posts, config or space starts from the beginning and removes the results in the folder.
    origin : str
        Where the sweep came from, for the run's name and the comment in ``best.yaml``.
    progress, ended : callable, optional
        Called with a description of each step, and with each trial that has ended.

    Returns
    -------
    Swept

    Raises
    ------
    InputError
        If the data, the folder or the MLflow store cannot be used, or no trial succeeded. Trials that have ended are kept.
    """
    progress("reading the data")
    check_folder(out)
    corpus = load_training_corpus(config).only_train()
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds, so errors in the data are raised first

    tracking.connect(config.tracking)
    name = f"sweep {Path(origin).stem} · {short_name(config.data.sources)}"
    with open_study(wanted, config, corpus, out, progress) as study, tracking.SweepRun(name, study.digest, out) as run:
        run.log_setting(config, corpus)
        for trial in chain(study.done, study.run()):
            run.log_trial(trial)
            ended(trial)
        if all(trial.reason for trial in study.done):
            raise InputError(f"none of {len(study.done)} trials could be fitted; the first failed: {study.done[0].reason}")
        written = write_results(out, study.digest, origin, config, wanted, study.done)
        run.log_results(study.done, wanted.metric, written)
    return Swept(study.done, out / BEST, corpus, run.run_id)
