"""Finds train posts that repeat another one, or that are also in another split."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.corpora.corpus import Overlap, Record
from pipeline.corpora.near import nearly_held_out


def find_overlap(splits: Mapping[str, Sequence[Record]]) -> tuple[Overlap, NDArray[np.bool_]]:
    """Count the train posts that repeat another train post or overlap the other splits, and mark them.

    Parameters
    ----------
    splits : mapping of str to sequence of Record
        Posts by split, among which is ``train``.

    Returns
    -------
    overlap : Overlap
        Counts; no post is dropped yet.
    overlapping : ndarray of bool, shape (n_train_posts,)
    """
    held_out = [record for name, records in splits.items() if name != "train" for record in records]
    texts = {record.normalised for record in held_out}
    authors = {record.author for record in held_out if record.author}
    keys = [record.normalised for record in splits["train"]]
    nearly = nearly_held_out(keys, texts)
    first: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    overlapping = []
    for record, key in zip(splits["train"], keys, strict=True):
        repeated, shared = key in first, record.author in authors
        leaked, near = key in texts, key in nearly and key not in texts
        counts.update(repeated=repeated, leaked_texts=leaked, leaked_nearly=near, leaked_authors=shared)
        counts.update(conflicting=repeated and first[key] != record.labels)
        first.setdefault(key, record.labels)
        overlapping.append(repeated or leaked or near or shared)
    names = ("repeated", "conflicting", "leaked_texts", "leaked_nearly", "leaked_authors")
    return Overlap(**{name: counts[name] for name in names}, dropped=0), np.array(overlapping, bool)
