"""How many posts have each label: prediction-powered estimates from the scores of many and the labels of a random few."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import Float64s, Labels, Probabilities
from models.errors import InputError
from pipeline.evaluation.results import LabelPrevalence, PeriodPrevalence, Prevalence
from pipeline.evaluation.slices import month_of
from pipeline.metrics import wilson_interval
from pipeline.results import Interval
from pipeline.scoring.output import MANIFEST

Months = Sequence[str | None]
Rows = slice | NDArray[np.bool_]

_BATCH = 100_000  # rows read at once
_SPARK_DONE = "_SUCCESS"


def _prediction_powered(y: Float64s, p: Float64s, p_unlabelled: Float64s, confidence: float) -> tuple[float, Interval]:
    """Share of a label and its interval, by PPI++ (Angelopoulos, Duchi & Zrnic 2023, arXiv:2311.01453).

    The interval is not PPI++'s normal one, which on rare labels covers too seldom, but Wilson's for as many labelled posts
    as would by themselves give PPI++'s standard error: the effective sample size of survey statistics (Korn & Graubard 1998).
    """
    with warnings.catch_warnings():  # importing it turns all warnings off
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    from scipy.stats import norm

    tuned = None if np.ptp(np.concatenate([p, p_unlabelled])) else 0.0  # how much to trust the model: not, if it says one thing of all
    estimate = float(np.squeeze(ppi_mean_pointestimate(y, p, p_unlabelled, lam=tuned)))
    low, high = ppi_mean_ci(y, p, p_unlabelled, alpha=2 * norm.sf(1), lam=tuned)
    error = float(np.squeeze(high - low)) / 2  # one standard error, as of that alpha
    share = min(max(estimate, 1 / len(y)), 1 - 1 / len(y))  # some labelled posts have it and some have not
    effective = min(share * (1 - share) / max(error, 1e-9) ** 2, len(y) + len(p_unlabelled))
    return share, wilson_interval(share * effective, effective, confidence)


def _of_label(y: Float64s, p: Float64s, p_unlabelled: Float64s, counted: float, confidence: float, min_positives: int) -> LabelPrevalence:
    positives = int(y.sum())
    too_few = min(positives, len(y) - positives) < min_positives
    estimate, interval = (None, None) if too_few else _prediction_powered(y, p, p_unlabelled, confidence)
    return LabelPrevalence(
        estimate=estimate,
        interval=interval,
        too_few=too_few,
        positives=positives,
        labelled_share=positives / len(y) if len(y) else None,
        labelled_interval=wilson_interval(positives, len(y), confidence) if len(y) else None,
        counted=counted,
        mean_probability=float(p_unlabelled.mean()),
    )


def estimate_prevalence(
    Y: Labels,
    labelled: Probabilities,
    unlabelled: Probabilities,
    labels: Sequence[str],
    thresholds: Sequence[float],
    confidence: float,
    min_positives: int,
    months_labelled: Months | None = None,
    months_unlabelled: Months | None = None,
) -> Prevalence:
    """Share of each label among posts that nobody labelled.

    Counting the posts that a classifier decides for counts its errors too, always in the same direction, and no number of
    posts averages that out. Posts drawn at random and labelled show how far off it is; the others then only have to
    narrow the interval. Both must be drawn from the same posts, and the model must have seen neither.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_labelled, n_labels)
        Labels of posts drawn at random.
    labelled : ndarray of float, shape (n_labelled, n_labels)
        Their probabilities.
    unlabelled : ndarray of float, shape (n_unlabelled, n_labels)
        Probabilities of the posts to count; at least one.
    labels : sequence of str, length n_labels
    thresholds : sequence of float, length n_labels
        The model's, to count with.
    confidence : float
        Of the intervals, such as 0.95.
    min_positives : int
        A label that fewer labelled posts have, or lack, gets no estimate. Where 6 positives are to be expected, the 95 %
        interval covers at its rate, see ``benchmarks/prevalence.py``.
    months_labelled, months_unlabelled : sequence of str or None, optional
        Of each post; estimates are then made by month as well, each from its own labelled posts.

    Returns
    -------
    Prevalence
        In all and, with months, for each month of the unlabelled posts.
    """

    def of(sample: Rows, rest: Rows) -> PeriodPrevalence:
        counted = (unlabelled[rest] >= np.asarray(thresholds, np.float32)).mean(axis=0).tolist()  # as `Classifier.decide` does
        per_label = {}
        for k, label in enumerate(labels):
            y, p, p_rest = (values.astype(np.float64) for values in (Y[sample, k], labelled[sample, k], unlabelled[rest, k]))
            per_label[label] = _of_label(y, p, p_rest, counted[k], confidence, min_positives)
        return PeriodPrevalence(posts=len(unlabelled[rest]), labelled=len(Y[sample]), labels=per_label)

    months = None
    if months_labelled is not None and months_unlabelled is not None:
        dated, scored = np.array(months_labelled, object), np.array(months_unlabelled, object)
        months = {month: of(dated == month, scored == month) for month in sorted(set(filter(None, months_unlabelled)))}
    return Prevalence(total=of(slice(None), slice(None)), months=months)


def _parts(path: Path) -> list[Path]:
    """Parquet files of a folder that score.py has finished, or the file itself."""
    if not path.exists():
        raise InputError(f"{path}: no such folder or file; give the --out of score.py")
    if path.is_file():
        return [path]
    if (path / _SPARK_DONE).exists():
        return sorted(path.glob("*.parquet"))
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        kind, parts = manifest["options"]["format"], sorted(part for file in manifest["files"].values() for part in file["parts"])
    except FileNotFoundError:
        raise InputError(f"{path}: no {MANIFEST}, so that scores may be missing; run score.py again until it is done") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        raise InputError(f"{path / MANIFEST}: damaged; run score.py again") from None
    if kind != "parquet":
        raise InputError(f"{path}: the scores are {kind}; score with --format parquet")
    return [path / part for part in parts]


def _check_columns(part: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    scored = [name.removeprefix("prob_") for name in names if name.startswith("prob_")]
    if not scored or "model" not in names:
        raise InputError(f"{part}: no scores; give the --out of score.py, which has columns prob_… and model")
    if set(scored) != set(labels):
        raise InputError(f"{part}: scores of the labels {', '.join(scored)}; the model has {', '.join(labels)}: score with this model")


def _batches(part: Path, digest: str, labels: Sequence[str], date: str) -> Iterator[tuple[Probabilities, list[str | None] | None]]:
    """Probabilities, and dates where there are any, of the rows of a file."""
    try:
        with pq.ParquetFile(part) as file:
            names = file.schema_arrow.names
            _check_columns(part, names, labels)
            wanted = [*(f"prob_{label}" for label in labels), "model", *([date] if date in names else [])]
            for rows in file.iter_batches(_BATCH, columns=wanted):
                batch = rows.filter(rows[wanted[0]].is_valid())  # what Spark could not score has no probabilities
                if others := set(batch["model"].unique().to_pylist()) - {digest}:
                    other = str(others.pop())
                    raise InputError(f"{part}: scored by the model {other[:12]}, not by {digest[:12]}; score with this one")
                columns = [batch[f"prob_{label}"].to_numpy(zero_copy_only=False) for label in labels]
                yield np.stack(columns, axis=1).astype(np.float32), batch[date].to_pylist() if date in names else None
    except FileNotFoundError:
        raise InputError(f"{part}: missing; run score.py again") from None
    except (OSError, pa.ArrowException):
        raise InputError(f"{part}: no Parquet, or damaged; run score.py again") from None


@dataclass(frozen=True)
class Scores:
    """What score.py wrote of unlabelled posts.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (n_posts, n_labels)
    months : list of str or None, length n_posts, or None
        Such as ``2017-10``; None for a post without a date that can be read, and instead of the list where no file has dates.
    """

    probabilities: Probabilities
    months: list[str | None] | None


def read_scores(path: str | Path, digest: str, labels: Sequence[str], date: str = "created_at") -> Scores:
    """Read what score.py wrote, without the ids.

    Parameters
    ----------
    path : str or Path
        Its output folder, or one Parquet file of it.
    digest : str
        Of the model that must have scored them.
    labels : sequence of str
        The model's, in the order wanted.
    date : str
        Column with dates, there if score.py was told to ``--keep`` it.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        When there are none or not all, or they are another model's.
    """
    probabilities: list[Probabilities] = []
    months: list[str | None] = []
    known: dict[str | None, str | None] = {}  # one string a month, not one a post
    dated = False
    for part in _parts(Path(path)):
        for scores, dates in _batches(part, digest, labels, date):
            found = [month_of(text) for text in dates] if dates is not None else [None] * len(scores)
            months += [known.setdefault(month, month) for month in found]
            probabilities.append(scores)
            dated |= dates is not None
    if not months:
        raise InputError(f"{path}: holds no scored posts; score some first")
    return Scores(np.concatenate(probabilities), months if dated else None)
