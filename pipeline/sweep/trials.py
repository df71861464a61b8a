"""The trials of a sweep: ranked, counted, as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

Metric = Literal["mean_average_precision", "macro_f1", "micro_f1", "exact_match", "example_jaccard", "one_minus_hamming_loss"]
TRIAL_METRICS = get_args(Metric)
Values = dict[str, Any]  # by dotted config key, as YAML has them


@dataclass(frozen=True)
class Trial:
    """One config that was tried.

    Attributes
    ----------
    number : int
        From 0.
    values : dict
        By dotted config key.
    value : float or None
        Of the sweep's metric; None where the config could not be fitted.
    metrics : dict of str to float
        All of them, by dotted name.
    reason : str or None
        Why the config could not be fitted.
    started, ended : datetime
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
        """How long it took."""
        return (self.ended - self.started).total_seconds()


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Trials that could be fitted, the best first and of equals the earlier."""
    return sorted((trial for trial in trials if trial.value is not None), key=lambda trial: (-(trial.value or 0), trial.number))


def failures(trials: Sequence[Trial]) -> list[str]:
    """Why trials failed, a line each reason."""
    reasons = Counter(trial.reason for trial in trials if trial.reason)
    return [f"{count} of {len(trials)} trials failed: {reason}" for reason, count in reasons.most_common()]


def trials_csv(trials: Sequence[Trial]) -> str:
    """All trials as CSV: number, metrics, values, and why those failed that did."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", *TRIAL_METRICS, *trials[0].values, "reason"])
    for trial in trials:
        writer.writerow([trial.number, *map(trial.metrics.get, TRIAL_METRICS), *trial.values.values(), trial.reason])
    return file.getvalue()
