"""Estimates how many posts have each label, from scores of many posts and labels of a few drawn at random."""

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
from models.calibration import decide
from models.errors import InputError
from pipeline.dates import Dates, Found, only_months
from pipeline.evaluation.results import LabelPrevalence, PeriodPrevalence, Prevalence
from pipeline.metrics import wilson_interval
from pipeline.records import DELTA_LOG, live_files, live_of
from pipeline.result_base import Interval
from pipeline.scoring.output import MANIFEST
from pipeline.scoring.table_formats import refuse_tables

Months = Sequence[str | None]
Rows = slice | NDArray[np.bool_]

_BATCH = 100_000  # rows to read at a time
_SPARK_DONE = "_SUCCESS"


def _prediction_powered(y: Float64s, p: Float64s, p_unlabelled: Float64s, confidence: float) -> tuple[float, Interval]:
    """Estimate the share of a label and its interval by PPI++ (Angelopoulos, Duchi & Zrnic 2023, arXiv:2311.01453).

    PPI++'s own interval assumes a normal distribution and covers the share of a rare label too seldom. This one is Wilson's,
    for the number of labelled posts that would by themselves have PPI++'s standard error: the effective sample size of
    survey statistics (Korn & Graubard 1998). The standard error counts one more misjudged post than there is. If a model is nearly always
    right, the labelled posts may hold none of its errors by chance. They then say nothing about how many there are elsewhere.
    """
    with warnings.catch_warnings():  # importing ppi_py turns all warnings off
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    from scipy.stats import norm

    tuned = None if np.ptp(np.concatenate([p, p_unlabelled])) else 0.0  # the model's weight: zero if all its probabilities are equal
    estimate = float(np.squeeze(ppi_mean_pointestimate(y, p, p_unlabelled, lam=tuned)))
    low, high = ppi_mean_ci(y, p, p_unlabelled, alpha=2 * norm.sf(1), lam=tuned)
    error = float(np.squeeze(high - low)) / 2  # alpha is chosen so that this is one standard error
    share = min(max(estimate, 1 / len(y)), 1 - 1 / len(y))  # not 0 or 1: both kinds of posts exist
    # A misjudged post is off by 1, which a mean over the labelled posts divides by their number. The labelled posts alone have no model
    # that could misjudge them, so their variance is a limit to what is added.
    variance = max(error**2, min(error**2 + (1 / len(y)) ** 2, share * (1 - share) / len(y)))
    effective = min(share * (1 - share) / max(variance, 1e-18), len(y) + len(p_unlabelled))
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
    """Estimate the share of each label among posts that nobody labelled.

    Counting the posts that a classifier marks counts its errors too. They are biased in one direction, and no number of posts
    averages that out. Posts that were drawn at random and labelled show how far off the count is; the unlabelled ones only
    narrow the interval. Both must be drawn from the same posts, and the model must have seen neither.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_labelled, n_labels)
        Labels of posts drawn at random.
    labelled : ndarray of float, shape (n_labelled, n_labels)
        Probabilities of the labelled posts.
    unlabelled : ndarray of float, shape (n_unlabelled, n_labels)
        Probabilities of the posts to count; at least one.
    labels : sequence of str, length n_labels
        Names of the labels, in the order of the columns.
    thresholds : sequence of float, length n_labels
        The model's thresholds, for the plain count.
    confidence : float
        Confidence of the intervals, such as 0.95.
    min_positives : int
        A label gets no estimate if fewer labelled posts have it, or lack it. With the 10 of the default config, 95 % intervals cover
        the true share at least as often as they should; see ``benchmarks/promises.py``.
    months_labelled, months_unlabelled : sequence of str or None, optional
        Month of each post. If given, shares are also estimated by month, each from the month's own labelled posts.

    Returns
    -------
    Prevalence
        Shares among all posts and, if months are given, for each month of the unlabelled posts.
    """

    def of(sample: Rows, rest: Rows) -> PeriodPrevalence:
        counted = decide(unlabelled[rest], thresholds).mean(axis=0).tolist()
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


def _inside(folder: Path, part: object) -> Path:
    """Return the path of a part that a manifest names; raise an error if it is not a file of the manifest's own folder."""
    try:
        if isinstance(part, str) and (folder / part).resolve().parent == folder.resolve():
            return folder / part
    except (OSError, ValueError, RuntimeError):  # a loop of links, or a name that no file can have
        pass
    raise InputError(f"{folder / MANIFEST}: names a part that is not a file of this folder; run score.py again")


def _live(table: Path) -> list[Path]:
    """List the files that a Delta table has now; raise an error if they cannot be read alone, as they hold deleted rows or other names."""
    files = live_files(table)
    for live in filter(None, map(live_of, files)):
        if len(live.deleted):
            raise InputError(f"{table}: its files hold rows that were deleted; purge them with Spark's REORG TABLE … APPLY (PURGE)")
        if any(name != inside for name, inside in live.names.items()) or live.nested:
            raise InputError(f"{table}: its columns have other names in its files (column mapping); write it to plain Parquet files")
    return files


def parts_of(path: Path) -> list[Path]:
    """List the Parquet files of a folder that score.py has finished, or the file itself; of a Delta table, those that it has now.

    Raises
    ------
    InputError
        If there are none, some are missing, or only the log of a table says which of their rows still count.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the folder that score.py wrote")
    if (path / DELTA_LOG).is_dir():
        return _live(path)
    if path.is_file():
        refuse_tables([path])
        return [path]
    if (path / _SPARK_DONE).exists():
        files = sorted(path.rglob("*.parquet"))
        refuse_tables(files, [path])
        return files
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        kind, parts = manifest["options"]["format"], sorted(part for file in manifest["files"].values() for part in file["parts"])
    except FileNotFoundError:
        raise InputError(
            f"{path}: no {MANIFEST}, so scores may be missing; run the same score.py command again until it finishes"
        ) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        raise InputError(f"{path / MANIFEST}: is damaged; run score.py again") from None
    if kind != "parquet":
        raise InputError(f"{path}: the scores are {kind}, but must be Parquet; run score.py again with --format parquet")
    return [_inside(path, part) for part in parts]


def check_columns(part: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    """Check that a file holds scores for the labels of the model.

    Parameters
    ----------
    part : Path
        The file, for the message.
    names : sequence of str
        Names of its columns.
    labels : sequence of str
        The model's labels.

    Raises
    ------
    InputError
        If it does not.
    """
    scored = [name.removeprefix("prob_") for name in names if name.startswith("prob_")]
    if not scored or "model" not in names:
        raise InputError(f"{part}: has no columns prob_… and model; give the folder that score.py wrote")
    if set(scored) != set(labels):
        raise InputError(
            f"{part}: has scores for the labels {', '.join(scored)}, but the model has {', '.join(labels)}; score with this model"
        )


def _batches(part: Path, digest: str, labels: Sequence[str], date: str) -> Iterator[tuple[Probabilities, list[str | None] | None]]:
    """Read the probabilities in a file, and the dates if there are any."""
    try:
        with pq.ParquetFile(part) as file:
            names = file.schema_arrow.names
            check_columns(part, names, labels)
            wanted = [*(f"prob_{label}" for label in labels), "model", *([date] if date in names else [])]
            for rows in file.iter_batches(_BATCH, columns=wanted):
                # Delta tables may hold views of strings, which Arrow cannot filter. Posts that Spark could not score have no probabilities.
                plain = [each.with_type(pa.string()) if pa.types.is_string_view(each.type) else each for each in rows.schema]
                batch = rows.cast(pa.schema(plain)).filter(rows[wanted[0]].is_valid())
                if others := set(batch["model"].unique().to_pylist()) - {digest}:
                    other = str(others.pop())
                    raise InputError(
                        f"{part}: was scored by the model {other[:12]}, not by {digest[:12]}; score the posts with {digest[:12]}"
                    )
                columns = [batch[f"prob_{label}"].to_numpy(zero_copy_only=False) for label in labels]
                yield np.stack(columns, axis=1).astype(np.float32), batch[date].to_pylist() if date in names else None
    except FileNotFoundError:
        raise InputError(f"{part}: is missing; run score.py again") from None
    except (OSError, pa.ArrowException):
        raise InputError(f"{part}: is not Parquet, or is damaged; run score.py again") from None


@dataclass(frozen=True)
class Scores:
    """Scores of unlabelled posts, as score.py wrote them.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Probability of each label.
    months : list of str or None, length n_posts, or None
        Month of each post, such as ``2017-10``; None for a post without a valid date. None instead of a list if no file has dates.
    notes : list of str
        What a user should know about the dates, from `Dates.notes`.
    """

    probabilities: Probabilities
    months: list[str | None] | None
    notes: list[str]


def read_scores(path: str | Path, digest: str, labels: Sequence[str], date: str = "created_at") -> Scores:
    """Read the scores that score.py wrote, but not the ids.

    Parameters
    ----------
    path : str or Path
        Output folder of score.py, or one Parquet file in it.
    digest : str
        Digest of the model that must have scored the posts.
    labels : sequence of str
        The model's labels; columns are returned in this order.
    date : str
        Column with dates, which is there only if score.py was told to ``--keep`` it.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        If there are no scores, some are missing, or they are by another model.
    """
    probabilities: list[Probabilities] = []
    column, found = Dates(f"{date} of the scores"), list[Found]()
    known: dict[Found, Found] = {}  # share one string per month, instead of one per post
    dated = False
    for part in parts_of(Path(path)):
        for scores, dates in _batches(part, digest, labels, date):
            read = [only_months(column.read(None if value is None else str(value))) for value in dates or [None] * len(scores)]
            found += [known.setdefault(month, month) for month in read]
            probabilities.append(scores)
            dated |= dates is not None
    if not found:
        raise InputError(f"{path}: has no scored posts; score some first")
    return Scores(np.concatenate(probabilities), column.settled(found) if dated else None, column.notes())
