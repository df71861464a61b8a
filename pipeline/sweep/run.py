"""A sweep from config and space to the best config."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from models.errors import InputError
from pipeline.config import Config
from pipeline.corpora import Corpus, load_training_corpus
from pipeline.sweep.folder import BEST, check_folder, write_results
from pipeline.sweep.space import Sweep
from pipeline.sweep.study import open_study
from pipeline.sweep.trials import Trial


@dataclass(frozen=True)
class Swept:
    """What a sweep gives.

    Attributes
    ----------
    trials : list of Trial
        All of them, in order.
    best : Path
        The best config, to give to ``--config``.
    corpus : Corpus
        The train posts that trials were compared on.
    run_id : str
        Of the MLflow run that the trials' runs are in.
    """

    trials: list[Trial]
    best: Path
    corpus: Corpus
    run_id: str


def sweep(
    config: Config,
    wanted: Sweep,
    out: Path,
    *,
    origin: str = "a sweep",
    progress: Callable[[str], None] = lambda step: None,
    ended: Callable[[Trial], None] = lambda trial: None,
) -> Swept:
    """Try configs on author-disjoint folds of train, keep and track each trial, and write the best config.

    No other split is used, except that train posts which overlap it are dropped as in training, and no model is kept.

    Parameters
    ----------
    config : Config
        What values are laid over.
    wanted : Sweep
        From `pipeline.sweep.load_sweep`.
    out : Path
        Gets ``study.db`` (Optuna's), ``best.yaml``, ``trials.csv`` and ``sweep.yaml``. A sweep that was stopped goes on there;
        one with other posts, config or space starts afresh, and removes the results there.
    origin : str
        Where the sweep came from, for the run's name and the comment in ``best.yaml``.
    progress, ended : callable, optional
        Told each step, and each trial that ended.

    Returns
    -------
    Swept

    Raises
    ------
    InputError
        For data, a folder or an MLflow store that cannot be used, and when no trial could be fitted. Trials that ended are kept.
    """
    progress("reading the data")
    check_folder(out)
    corpus = load_training_corpus(config).only_train()
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking)
    with open_study(wanted, config, corpus, out, progress) as study, tracking.SweepRun(f"sweep {origin}", study.digest, out) as run:
        run.log_setting(config, corpus)
        for trial in chain(study.done, study.run()):
            run.log_trial(trial)
            ended(trial)
        if all(trial.reason for trial in study.done):
            raise InputError(f"none of {len(study.done)} trials could be fitted; the first: {study.done[0].reason}")
        written = write_results(out, study.digest, origin, config, wanted, study.done)
        run.log_results(study.done, wanted.metric, written)
    return Swept(study.done, out / BEST, corpus, run.run_id)
