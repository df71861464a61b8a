"""The trials of a sweep, and how to rank, count and export them."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from pipeline.spreadsheets import as_text

Metric = Literal["mean_average_precision", "macro_f1", "micro_f1", "exact_match", "example_jaccard", "one_minus_hamming_loss"]
TRIAL_METRICS = get_args(Metric)
Values = dict[str, Any]  # by dotted config key, with values as in YAML


@dataclass(frozen=True)
class Trial:
    """A config that was tried, and its results.

    Attributes
    ----------
    number : int
        Number of the trial, from 0.
    values : dict
        Values that were tried, by dotted config key.
    value : float or None
        Value of the sweep's metric; None if the config could not be fitted.
    metrics : dict of str to float
        All metrics, by dotted name.
    reason : str or None
        Why the config could not be fitted; None if it could.
    started, ended : datetime
        When the trial ran.
    """

    number: int
    values: Values
    value: float | None
    metrics: dict[str, float]
    reason: str | None
    started: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """How long the trial took, in seconds."""
        return (self.ended - self.started).total_seconds()


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that succeeded, best first; of equally good trials, the earlier comes first."""
    return sorted((trial for trial in trials if trial.value is not None), key=lambda trial: (-(trial.value or 0), trial.number))


def failures(trials: Sequence[Trial]) -> list[str]:
    """Return why trials failed, one line per reason."""
    reasons = Counter(trial.reason for trial in trials if trial.reason)
    return [f"{count} of {len(trials)} trials failed: {reason}" for reason, count in reasons.most_common()]


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return all trials as CSV for people: number, metrics, values and, for failed trials, the reason."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", *TRIAL_METRICS, *trials[0].values, "reason"])
    for trial in trials:
        writer.writerow(map(as_text, [trial.number, *map(trial.metrics.get, TRIAL_METRICS), *trial.values.values(), trial.reason]))
    return file.getvalue()
