"""Tracks a sweep as a run, with a nested run for each trial."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param

from models.errors import InputError
from pipeline.config import Config
from pipeline.corpora import Corpus
from pipeline.sweep.trials import Trial, ranked
from pipeline.tracking.errors import reason_of
from pipeline.tracking.runs import log_config, log_corpus, metric_names

_HELD_OUT = "held-out folds of train"
_WHO = ("mlflow.user", "mlflow.source.name", "mlflow.source.type")


def _note(best: Trial, trials: int, metric: str) -> str:
    rows = "\n".join(f"| `{key}` | {value} |" for key, value in best.values.items())
    return (
        f"The best of {trials} configs is trial {best.number}, with {metric} **{best.value:.4f}** on {_HELD_OUT}. "
        f"This run's metrics are those of that trial; its config is `best.yaml`, an artifact.\n\n| key | value |\n|---|---|\n{rows}"
    )


class SweepRun:
    """The run of a sweep, with its trials as nested runs; an earlier run of the same sweep is continued.

    Parameters
    ----------
    name : str
        Name of the run in the UI, to which the time is added.
    digest : str
        Digest of the sweep.
    kept : Path
        Folder in which the trials are kept if the store fails, for the message.
    """

    def __init__(self, name: str, digest: str, kept: Path) -> None:
        self._name, self._digest, self._kept = name, digest, kept
        self._client = mlflow.MlflowClient()

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # stores raise whatever their drivers raise
            reason, remedy = f"{type(error).__name__}: {reason_of(error)}", "repair the store and run the same command again"
            raise InputError(f"the trials so far are in {self._kept}, but tracking them in MLflow failed ({reason}); {remedy}") from error

    def __enter__(self) -> "SweepRun":
        with self._storing():
            found = mlflow.search_runs(filter_string=f"tags.sweep_digest = '{self._digest}'", max_results=1, output_format="list")
            if found:
                self._run = mlflow.start_run(run_id=found[0].info.run_id, nested=True)
            else:
                name = f"{self._name} · {datetime.now():%Y-%m-%d %H:%M}"
                self._run = mlflow.start_run(run_name=name, tags={"sweep_digest": self._digest}, nested=True)
            self.run_id = str(self._run.info.run_id)
            experiment, within = str(self._run.info.experiment_id), f"tags.`mlflow.parentRunId` = '{self.run_id}'"
            self._logged = set()
            for child in mlflow.search_runs([experiment], within, max_results=50_000, output_format="list"):
                if child.info.status == "RUNNING":  # interrupted while it was logged, so it is logged again
                    self._client.delete_run(child.info.run_id)
                else:
                    self._logged.add(child.data.tags["trial"])
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with self._storing():
                mlflow.end_run()
            return
        with suppress(Exception):  # so that the first error is the one that is reported
            mlflow.end_run("FAILED" if issubclass(kind, Exception) else "KILLED")

    def log_setting(self, config: Config, corpus: Corpus) -> None:
        """Log the config that trials change, and the corpus, unless an earlier run did.

        Parameters
        ----------
        config : Config
        corpus : Corpus
            From `Corpus.only_train`.
        """
        if "evaluated" in self._run.data.tags:
            return
        with self._storing():
            log_corpus(corpus, config.data.sources, "training")
            log_config(config)
            mlflow.set_tag("evaluated", _HELD_OUT)  # last, so that an interrupted call is repeated

    def log_trial(self, trial: Trial) -> None:
        """Log a trial as a nested run with its own start and end, unless an earlier run did."""
        if str(trial.number) in self._logged:
            return
        inherited = {key: value for key, value in self._run.data.tags.items() if key in _WHO}
        tags = {**inherited, "mlflow.parentRunId": self.run_id, "trial": str(trial.number)} | (
            {"failed": trial.reason} if trial.reason else {}
        )
        started, ended = (int(time.timestamp() * 1000) for time in (trial.started, trial.ended))
        with self._storing():
            child = self._client.create_run(self._run.info.experiment_id, started, tags, f"trial {trial.number}").info.run_id
            metrics = [Metric(key, value, ended, 0) for key, value in metric_names(trial.metrics, _HELD_OUT).items()]
            self._client.log_batch(child, metrics, [Param(key, str(value)) for key, value in trial.values.items()])
            self._client.set_terminated(child, "FAILED" if trial.reason else "FINISHED", ended)

    def log_results(self, trials: Sequence[Trial], metric: str, files: Sequence[Path]) -> None:
        """Log the best trial and the files of results.

        Parameters
        ----------
        trials : sequence of Trial
            All trials; at least one must have succeeded.
        metric : str
            The sweep's metric.
        files : sequence of Path
            Files to log as artifacts.
        """
        best = ranked(trials)[0]
        with self._storing():
            mlflow.set_tags({"best_trial": best.number, "metric": metric})
            mlflow.log_metrics(metric_names(best.metrics, _HELD_OUT) | {"trials": float(len(trials))})
            mlflow.set_tag("mlflow.note.content", _note(best, len(trials), metric))
            for path in files:
                mlflow.log_artifact(str(path))
