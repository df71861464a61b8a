"""Sweeps: configs tried on author-disjoint folds of train, chosen by Optuna, each kept as soon as it is known."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import yaml

from models import lessons
from models.classifier import Classifier
from pipeline import __version__
from pipeline.config import Config, ModelConfig, Text
from pipeline.corpora import Corpus
from pipeline.errors import InputError
from pipeline.metrics import compute_metrics, flatten_metrics
from pipeline.sweep import BEST, SPEC, STUDY, SWEPT, TRIALS, Range, Sweep, Trial, Values, lay_over, overlay_of, ranked, trials_csv
from pipeline.text import TokenBatch

if TYPE_CHECKING:
    import optuna

_LOCK = "lock"


def only_train(corpus: Corpus) -> Corpus:
    """A corpus of the train posts alone, with a digest of them, so that nothing later can depend on another split."""
    train = corpus.splits["train"]
    digest = hashlib.sha256()
    for row in train.select_columns(["id", "text", "labels", "author"]):
        digest.update(json.dumps(list(row.values())).encode())
    for row in corpus.unlabelled.select_columns(["text", "author"]):
        digest.update(json.dumps(list(row.values())).encode())
    return dataclasses.replace(corpus, splits=datasets.DatasetDict(train=train), sha256=digest.hexdigest())


class CrossValidation:
    """Metrics of configs on held-out folds of a corpus' train posts, which are tokenised once per text setting."""

    def __init__(self, corpus: Corpus) -> None:
        self._texts, self._groups = corpus.to_learn_from()
        self._Y = corpus.targets("train", corpus.labels)
        self._auxiliary = corpus.targets("train", corpus.auxiliary)
        self._tokens: dict[Text, TokenBatch] = {}

    def metrics(self, config: ModelConfig) -> dict[str, Any]:
        """Metrics as of `pipeline.metrics.compute_metrics`, of each post's probabilities by models that saw no post of its author.

        Raises
        ------
        InputError
            When the config cannot be fitted to the posts.
        """
        model = Classifier(config)
        if config.text not in self._tokens:
            self._tokens[config.text] = model.tokenizer(self._texts)
        model.cross_validate(self._tokens[config.text], self._Y, self._groups, self._auxiliary)
        decided = model.decide(model.held_out_)
        return compute_metrics(self._Y, model.held_out_, decided, model.labels, model.thresholds_.tolist())


def digest_of(sweep: Sweep, config: Config, corpus: Corpus) -> str:
    """SHA-256 of all that a trial's result depends on; not of the number of trials, so that a sweep can be made longer."""
    parts = [__version__, sweep.model_dump(mode="json", exclude={"trials"}), config.of_model().model_dump(mode="json"), corpus.sha256]
    if config.model.network:
        parts.append(lessons.sha256(config.model.network.lessons))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _distributions(sweep: Sweep) -> "dict[str, optuna.distributions.BaseDistribution]":
    """The space as Optuna has it; choices, which may be lists, are JSON there."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for key, wanted in sweep.space.items():
        if not isinstance(wanted, Range):
            found[key] = CategoricalDistribution([json.dumps(choice) for choice in wanted])
        elif SWEPT[key] is int:
            found[key] = IntDistribution(int(wanted.low), int(wanted.high), log=wanted.log)
        else:
            found[key] = FloatDistribution(wanted.low, wanted.high, log=wanted.log)
    return found


class Study:
    """The trials of a sweep, in an Optuna study that is named after its digest.

    The sampler is seeded by trial, so that a sweep that was stopped ends as if it had not been.

    Parameters
    ----------
    sweep : Sweep
    config : Config
        What the values tried are laid over.
    corpus : Corpus
        From `only_train`.
    study : optuna.Study

    Attributes
    ----------
    digest : str
        Of all that results depend on.
    done : list of Trial
        That ended, here or in an earlier run; at most as many as the sweep has.
    """

    def __init__(self, sweep: Sweep, config: Config, corpus: Corpus, study: "optuna.Study") -> None:
        from optuna.trial import TrialState

        self.sweep, self.config, self.corpus, self._study = sweep, config, corpus, study
        self.digest = study.study_name
        # Trials that were stopped in the middle are running for ever: they do not count and are tried again.
        ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))[: sweep.trials]
        self.done = [self._trial(number, trial) for number, trial in enumerate(ended)]

    def _values(self, params: dict[str, Any]) -> Values:
        return {key: params[key] if isinstance(wanted, Range) else json.loads(params[key]) for key, wanted in self.sweep.space.items()}

    def _trial(self, number: int, ended: "optuna.trial.FrozenTrial") -> Trial:
        return Trial(
            number,
            self._values(ended.params),
            ended.value,
            ended.user_attrs["metrics"],
            ended.user_attrs["reason"],
            ended.datetime_start,  # type: ignore[arg-type]  # what has ended has both
            ended.datetime_complete,  # type: ignore[arg-type]
        )

    def _ask(self, number: int) -> "optuna.Trial":
        import optuna

        seed = int(np.random.SeedSequence([self.sweep.seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=False)  # or it heeds trials that were stopped
        start, outside = self.sweep.start(self.config)
        if number == 0 and not outside and not self._study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            params = {key: value if isinstance(self.sweep.space[key], Range) else json.dumps(value) for key, value in start.items()}
            self._study.enqueue_trial(params)
        return self._study.ask(_distributions(self.sweep))

    def _outcome(self, values: Values, validation: CrossValidation) -> tuple[dict[str, float], str | None]:
        """Metrics, or why there are none; of values tried before, those found then."""
        if known := next((trial for trial in self.done if trial.values == values), None):
            return known.metrics, known.reason
        try:
            return flatten_metrics(validation.metrics(lay_over(self.config, values, "values that do not go together").of_model())), None
        except InputError as error:
            return {}, str(error)

    def run(self) -> Iterator[Trial]:
        """Try what is left to try, and give each trial as it ends."""
        from optuna.trial import TrialState

        validation = CrossValidation(self.corpus)
        for number in range(len(self.done), self.sweep.trials):
            trial = self._ask(number)
            metrics, reason = self._outcome(self._values(trial.params), validation)
            trial.set_user_attr("metrics", metrics)
            trial.set_user_attr("reason", reason)
            ended = self._study.tell(trial, metrics.get(self.sweep.metric), TrialState.FAIL if reason else TrialState.COMPLETE)
            self.done.append(self._trial(number, ended))
            yield self.done[-1]


def check_folder(folder: Path) -> None:
    """Fail before any work is done if a folder holds something else than an earlier sweep.

    Raises
    ------
    InputError
    """
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}); choose another --out") from None
    others = sorted(name for name in names if not name.startswith((STUDY, BEST, TRIALS, SPEC, _LOCK)))  # what is unfinished ends otherwise
    if STUDY not in names:
        others += sorted(names - {_LOCK})
    if others:
        raise InputError(f"{folder}: holds something else ({others[0]}); choose another --out")


def _remove_stale(folder: Path, digest: str) -> None:
    """Remove results unless they are of the sweep with this digest, so that none stand as those of a sweep that fails."""
    try:
        best = folder / BEST
        if best.exists() and f"# Sweep {digest}\n".encode() in best.read_bytes():
            return
        for name in (BEST, TRIALS, SPEC):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: earlier results cannot be removed ({error.strerror or error}); choose another --out") from None


@contextmanager
def open_study(sweep: Sweep, config: Config, corpus: Corpus, folder: Path, progress: Callable[[str], None]) -> Iterator[Study]:
    """Open the study of a sweep in a folder, where an earlier run of the same may have begun it, and keep others out of the folder.

    Results of another sweep are removed.

    Raises
    ------
    InputError
        When the folder or the study in it cannot be used.
    """
    import optuna
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0).acquire()
    except Timeout:
        raise InputError(f"{folder}: another sweep is at work there; wait for it or choose another --out") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from None
    with lock:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        digest = digest_of(sweep, config, corpus)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{folder / STUDY}")
            earlier = set(optuna.get_all_study_names(storage))
            found = optuna.create_study(storage=storage, study_name=digest, direction="maximize", load_if_exists=True)
            study = Study(sweep, config, corpus, found)
        except Exception:  # Optuna lets through what its database's driver raises
            raise InputError(f"{folder / STUDY}: cannot be used as Optuna's store; delete it or choose another --out") from None
        if study.done:
            progress(f"going on after {len(study.done)} of {sweep.trials} trials")
        elif earlier - {digest}:
            progress(f"starting afresh: the sweep in {folder} was of other posts, config or space")
        if outside := sweep.start(config)[1]:
            shown = ", ".join(f"{key} {value!r}" for key, value in outside.items())
            progress(f"the config itself ({shown}) is outside the space and is not tried")
        _remove_stale(folder, digest)
        yield study


def write_results(study: Study, origin: str, folder: Path) -> None:
    """Write the best config, as an overlay for ``train.py --config``, and the table of trials, and leave the sweep beside them.

    Parameters
    ----------
    study : Study
        With a trial that could be fitted.
    origin : str
        Where the sweep came from, for the comment.
    folder : Path

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    from pipeline.scoring.output import OutputError, whole_file

    best, metric = ranked(study.done)[0], study.sweep.metric
    config = lay_over(study.config, best.values, origin)
    comment = (
        f"# Trial {best.number}, the best of {len(study.done)} of {origin}: {metric} {best.value:.4f} on author-disjoint folds of train.\n"
        f"# Sweep {study.digest}\n"  # `_remove_stale` looks for it
    )
    contents = {
        BEST: comment + yaml.safe_dump(overlay_of(config, best.values), sort_keys=False, allow_unicode=True),
        TRIALS: trials_csv(study.done),
        SPEC: yaml.safe_dump(study.sweep.model_dump(mode="json"), sort_keys=False),
    }
    try:
        for name, content in contents.items():
            with whole_file(folder / name) as file:
                file.write(content.encode())
    except OutputError as error:
        raise InputError(f"{error}; choose another --out") from None
