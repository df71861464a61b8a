"""Computes metrics on parts of a split: by source, month, length, what a post contains, and columns of the data."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import emoji
import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s
from models.errors import InputError
from models.text import URL, normalise
from pipeline.config import Evaluation as Wanted
from pipeline.config import Natural
from pipeline.corpora import Corpus
from pipeline.dates import month_of
from pipeline.evaluation.bootstrap import FEWEST_AUTHORS, Counts, intervals, metrics_by_round
from pipeline.evaluation.measuring import MeasuredSplit
from pipeline.evaluation.results import LabelIntervals, MeasuredSliceLabel, Slice, SliceIntervals, SmallSliceLabel
from pipeline.metrics import LabelMetrics, compute_metrics

NONE, OTHER = "(none)", "(other)"
_LENGTHS = ((4, "1–4 words"), (14, "5–14 words"), (29, "15–29 words"), (10**9, "30 words or more"))
_MOST_VALUES = 40  # values shown per column
_RARE, _LONGEST = 10, 40  # values in fewer posts, or with more characters, are not shown


def _length(text: str) -> str:
    words = len(text.split())
    return next(name for most, name in _LENGTHS if words <= most)


def _common(values: Sequence[str | None]) -> list[str | None]:
    """Replace rare and long values by one common value, because they may be names, handles or texts."""
    posts = Counter(values)
    kept = {value for value, count in posts.most_common(_MOST_VALUES) if value and count >= _RARE and len(value) <= _LONGEST}
    return [value if value in kept or value is None else OTHER for value in values]


def _holds(found: Sequence[bool], what: str) -> list[str | None]:
    return [f"with {what}" if each else f"without {what}" for each in found]


def _of_text(texts: Sequence[str]) -> dict[str, list[str | None]]:
    normalised = [normalise(text) for text in texts]
    return {
        "length": [_length(text) for text in normalised],
        "hashtag": _holds([bool(re.search(r"#\w", text)) for text in normalised], "hashtag"),
        "link": _holds([URL in text for text in normalised], "link"),
        "emoji": _holds([emoji.emoji_count(text) > 0 for text in normalised], "emoji"),
    }


def _of_column(corpus: Corpus, split: str, name: str, key: str) -> list[str | None]:
    values = corpus.column(split, name)
    if not any(values):
        raise InputError(f"evaluation.{key}: no post in {split} has a value in column {name!r}; correct the column's name, or the data")
    return values


def drawn_at_random(corpus: Corpus, split: str, natural: Natural | Literal["all"] | None) -> NDArray[np.bool_]:
    """Return which posts were drawn at random.

    Parameters
    ----------
    corpus : Corpus
        Loaded with ``natural.column`` as a further column.
    split : str
        Name of a split of the corpus.
    natural : Natural, "all" or None
        Column and values that mark posts drawn at random. With "all", or with None (nobody said which), all
        posts count as drawn at random.

    Returns
    -------
    ndarray of bool, shape (n_posts,)

    Raises
    ------
    InputError
        If the column has no values, or none that mark a post as drawn at random.
    """
    if not isinstance(natural, Natural):
        return np.ones(corpus.splits[split].num_rows, bool)
    drawn = np.array([value in natural.values for value in _of_column(corpus, split, natural.column, "natural")])
    if not drawn.any():
        allowed = ", ".join(natural.values)
        raise InputError(f"evaluation.natural: no post in {split} has {allowed} in column {natural.column!r}; correct the values")
    return drawn


def slice_columns(corpus: Corpus, split: str, wanted: Wanted) -> dict[str, list[str | None]]:
    """Return the value of each post in each column to slice by.

    Parameters
    ----------
    corpus : Corpus
        Loaded with ``wanted.columns`` as further columns.
    split : str
        Split whose posts are sliced.
    wanted : pipeline.config.Evaluation
        The config's section ``evaluation``.

    Returns
    -------
    dict of str to list, each of length n_posts
        The columns are ``length``, ``hashtag``, ``link``, ``emoji`` and the config's further columns. There are also ``source`` and
        ``month`` if any post has one, and ``drawn`` if the config says which posts were drawn at random. The value is None for a post
        without one, and ``(other)`` for values of fewer than ten posts, which may be names or texts.

    Raises
    ------
    InputError
        If a column has no values in the split.
    """
    rows = corpus.splits[split]
    columns: dict[str, list[str | None]] = {}
    if isinstance(wanted.natural, Natural):
        random = drawn_at_random(corpus, split, wanted.natural)
        columns["drawn"] = ["at random" if each else "enriched" for each in random]
    columns |= {"source": _common(rows["source"][:]), "month": _common([month_of(date) for date in rows["created_at"][:]])}
    columns |= _of_text(rows["text"][:])
    columns |= {name: _common(_of_column(corpus, split, name, "slices")) for name in wanted.slices}
    return {name: values for name, values in columns.items() if any(values)}


def _measured(values: LabelMetrics, bounds: LabelIntervals) -> MeasuredSliceLabel:
    shown = {name: getattr(values, name) for name in SliceIntervals.model_fields}
    of_shown = SliceIntervals(**{name: getattr(bounds, name) for name in SliceIntervals.model_fields})
    return MeasuredSliceLabel(support=values.support, intervals=of_shown, **shown)


def _measure_slice(
    column: str,
    value: str,
    evaluation: MeasuredSplit,
    labels: Sequence[str],
    posts: NDArray[np.bool_],
    groups: Int64s,
    counts: Counts,
    wanted: Wanted,
) -> Slice:
    Y, probabilities, decided = evaluation.Y[posts], evaluation.probabilities[posts], evaluation.decided[posts]
    thresholds = [values.threshold for values in evaluation.metrics.labels.values()]
    metrics = compute_metrics(Y, probabilities, decided, labels, thresholds)
    rounds = counts[:, posts] if len(np.unique(groups[posts])) >= FEWEST_AUTHORS else counts[:0, posts]
    bounds = intervals(metrics, metrics_by_round(Y, probabilities, decided, rounds), wanted.confidence)
    false_positives = (decided & (Y == 0)).sum(axis=0).tolist()
    per_label: dict[str, MeasuredSliceLabel | SmallSliceLabel] = {}
    for label, values, wrong in zip(labels, metrics.labels.values(), false_positives, strict=True):
        if values.support >= wanted.min_positives:
            per_label[label] = _measured(values, bounds.labels[label])
        else:
            per_label[label] = SmallSliceLabel(support=values.support, false_positives=wrong)
    whole = all(isinstance(found, MeasuredSliceLabel) for found in per_label.values())
    return Slice(
        column=column,
        value=value,
        posts=metrics.posts,
        labels=per_label,
        macro_f1=metrics.macro_f1 if whole else None,
        exact_match=metrics.exact_match,
    )


def compute_slices(
    evaluation: MeasuredSplit,
    labels: Sequence[str],
    columns: dict[str, list[str | None]],
    groups: Int64s,
    counts: Counts,
    wanted: Wanted,
) -> list[Slice]:
    """Compute the metrics of every slice.

    Parameters
    ----------
    evaluation : MeasuredSplit
        The whole split, measured.
    labels : sequence of str
        The model's labels.
    columns : dict
        From `slice_columns`.
    groups : ndarray of int, shape (n_posts,)
        Author of each post. A slice by fewer than 20 authors gets no intervals.
    counts : ndarray of int, shape (rounds, n_posts)
        From `pipeline.evaluation.bootstrap.resample`, for these authors.
    wanted : pipeline.config.Evaluation
        The config's section ``evaluation``.

    Returns
    -------
    list of Slice
        In the order of columns; within a column, slices with the most posts come first.
    """
    slices = []
    for column, values in columns.items():
        named = np.array([NONE if value is None else value for value in values])
        found, posts = np.unique(named, return_counts=True)
        for _, value in sorted(zip((-posts).tolist(), found.tolist(), strict=True)):
            slices.append(_measure_slice(column, value, evaluation, labels, named == value, groups, counts, wanted))
    return slices
