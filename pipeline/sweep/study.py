"""The study of a sweep: Optuna chooses configs, which are evaluated on author-disjoint folds of train."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import lessons
from models.classifier import Classifier
from models.config import ModelConfig, Text
from models.errors import InputError
from models.fitting import TrainingTokens
from pipeline import __version__
from pipeline.config import Config
from pipeline.corpora import Corpus
from pipeline.metrics import Metrics, compute_metrics, flatten_metrics
from pipeline.sweep.folder import STUDY, locked_folder, remove_stale
from pipeline.sweep.space import SWEPT, Range, Sweep, lay_over
from pipeline.sweep.trials import Trial, Values

if TYPE_CHECKING:
    import optuna


class TrialJudge:
    """Evaluates configs on held-out folds of a corpus's train posts, which are tokenised once per text setting."""

    def __init__(self, corpus: Corpus) -> None:
        self._posts = corpus.to_learn_from()
        self._tokens: dict[Text, TrainingTokens] = {}

    def metrics(self, config: ModelConfig) -> Metrics:
        """Compute metrics from probabilities that each post got from models that saw no post by its author.

        Raises
        ------
        InputError
            If the config cannot be fitted to the posts.
        """
        model = Classifier.from_config(config)
        if config.text not in self._tokens:
            self._tokens[config.text] = self._posts.tokenised(model.tokenizer)
        model.cross_validate(self._tokens[config.text])
        decided = model.decide(model.held_out_)
        return compute_metrics(self._posts.Y, model.held_out_, decided, model.labels, model.thresholds_.tolist())


def sweep_digest(sweep: Sweep, config: Config, corpus: Corpus) -> str:
    """Return the SHA-256 of everything that a trial's result depends on.

    The number of trials is not included, so that a sweep can be extended.

    Parameters
    ----------
    sweep : Sweep
    config : Config
        The config that trials change.
    corpus : Corpus
        From `Corpus.only_train`.
    """
    parts = [__version__, sweep.model_dump(mode="json", exclude={"trials"}), config.of_model().model_dump(mode="json"), corpus.sha256]
    choices = sweep.space.get("model.network", [])
    others = [] if isinstance(choices, Range) else [lay_over(config, {"model.network": choice}, "space") for choice in choices]
    networks = [tried.model.network for tried in (config, *others)]
    parts += [lessons.sha256(path) for path in dict.fromkeys(network.lessons for network in networks if network)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _distributions(sweep: Sweep) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Return the space as Optuna distributions; choices are encoded as JSON, because they may be lists."""
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

    The sampler is seeded for each trial, so that a sweep that was stopped ends with the same results as one that was not.

    Parameters
    ----------
    sweep : Sweep
        Metric, number of trials, seed and space.
    config : Config
        The config that trials change.
    corpus : Corpus
        From `Corpus.only_train`.
    study : optuna.Study
        Named after the digest.

    Attributes
    ----------
    digest : str
        From `sweep_digest`.
    done : list of Trial
        Trials that have ended, now or in an earlier run; at most as many as the sweep has.
    """

    def __init__(self, sweep: Sweep, config: Config, corpus: Corpus, study: "optuna.Study") -> None:
        from optuna.trial import TrialState

        self.sweep, self.config, self.corpus, self._study = sweep, config, corpus, study
        self.digest = study.study_name
        # Trials that were interrupted stay marked as running: they do not count and are tried again.
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
            ended.datetime_start,  # type: ignore[arg-type]  # trials that have ended have both
            ended.datetime_complete,  # type: ignore[arg-type]
        )

    def _ask(self, number: int) -> "optuna.Trial":
        import optuna

        seed = int(np.random.SeedSequence([self.sweep.seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=False)  # True would take interrupted trials into account
        start, outside = self.sweep.start(self.config)
        if number == 0 and not outside and not self._study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            params = {key: value if isinstance(self.sweep.space[key], Range) else json.dumps(value) for key, value in start.items()}
            self._study.enqueue_trial(params)
        return self._study.ask(_distributions(self.sweep))

    def _outcome(self, values: Values, validation: TrialJudge) -> tuple[dict[str, float], str | None]:
        """Return metrics, or the reason why there are none; values that were tried before are not tried again."""
        if known := next((trial for trial in self.done if trial.values == values), None):
            return known.metrics, known.reason
        try:
            laid = lay_over(self.config, values, "these values cannot be combined")
            return flatten_metrics(validation.metrics(laid.of_model()).model_dump()), None
        except InputError as error:
            return {}, str(error)

    def run(self) -> Iterator[Trial]:
        """Run the remaining trials, and yield each as it ends."""
        from optuna.trial import TrialState

        validation = TrialJudge(self.corpus)
        for number in range(len(self.done), self.sweep.trials):
            trial = self._ask(number)
            metrics, reason = self._outcome(self._values(trial.params), validation)
            trial.set_user_attr("metrics", metrics)
            trial.set_user_attr("reason", reason)
            ended = self._study.tell(trial, metrics.get(self.sweep.metric), TrialState.FAIL if reason else TrialState.COMPLETE)
            self.done.append(self._trial(number, ended))
            yield self.done[-1]


@contextmanager
def open_study(sweep: Sweep, config: Config, corpus: Corpus, folder: Path, progress: Callable[[str], None]) -> Iterator[Study]:
    """Open the study of a sweep, which an earlier run may have begun, and lock its folder.

    Results of other sweeps in the folder are removed.

    Parameters
    ----------
    sweep : Sweep
        From `pipeline.sweep.load_sweep`.
    config : Config
        The config that trials change.
    corpus : Corpus
        From `Corpus.only_train`.
    folder : Path
        Folder of the sweep.
    progress : callable
        Called with messages on how the study begins.

    Raises
    ------
    InputError
        If the folder or the study in it cannot be used.
    """
    import optuna

    with locked_folder(folder):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        digest = sweep_digest(sweep, config, corpus)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{folder / STUDY}")
            earlier = set(optuna.get_all_study_names(storage))
            found = optuna.create_study(storage=storage, study_name=digest, direction="maximize", load_if_exists=True)
            study = Study(sweep, config, corpus, found)
        except Exception:  # Optuna raises whatever its database driver raises
            raise InputError(f"{folder / STUDY}: cannot be used as Optuna's store; delete it or choose another --out") from None
        if study.done:
            progress(f"continuing after {len(study.done)} of {sweep.trials} trials")
        elif earlier - {digest}:
            progress(f"starting from the beginning, because the sweep in {folder} had other posts, another config or another space")
        if outside := sweep.start(config)[1]:
            shown = ", ".join(f"{key} {value!r}" for key, value in outside.items())
            progress(f"the config itself is not tried, because it is outside the space ({shown})")
        remove_stale(folder, digest)
        yield study
