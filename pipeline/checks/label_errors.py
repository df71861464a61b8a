"""Likely wrong labels, by confident learning."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.corpora import Corpus

SUSPECT = ("split", "id", "label", "given", "probability", "quality")  # columns of a row


def _suspects(y: NDArray[np.int8], probabilities: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices of likely wrong values of one label, the worst first, and the quality of each value."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    both = np.stack([1 - probabilities, probabilities], axis=1).astype(np.float64)
    with warnings.catch_warnings():  # of few posts it says that nothing is certain
        warnings.simplefilter("ignore", UserWarning)
        wrong = find_label_issues(y.astype(np.int64), both, n_jobs=1)
        quality = get_label_quality_scores(y.astype(np.int64), both)
    indices = np.flatnonzero(wrong)
    return indices[np.argsort(quality[indices], kind="stable")], quality


def check_labels(corpus: Corpus, probabilities: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, Any]:
    """Look for likely wrong labels by confident learning (Northcutt, Jiang & Chuang 2021; cleanlab), each label by itself.

    Parameters
    ----------
    corpus : Corpus
        As the model was trained on.
    probabilities : dict of str to ndarray of float, each of shape (n_posts, n_labels)
        By split, of ``corpus.labels``, from models that did not see the post: held-out folds for train.

    Returns
    -------
    dict
        ``label_errors``: by split, then label: ``posts``, ``given``, and of these values the likely wrong ones,
        ``wrongly_given`` and ``wrongly_missing``, both None where all posts of the split have one value. ``suspects``: a
        row for each of them, the worst first: ``split``, ``id``, ``label``, whether it is ``given``, its ``probability``,
        and the ``quality`` of what is given, from 0 (surely wrong) to 1.
    """
    counts: dict[str, dict[str, Any]] = {}
    suspects = []
    for split, scores in probabilities.items():
        ids, Y = corpus.splits[split]["id"], corpus.targets(split, corpus.labels)
        counts[split] = {}
        for label, y, p in zip(corpus.labels, Y.T, scores.T, strict=True):
            counts[split][label] = {"posts": len(y), "given": int(y.sum()), "wrongly_given": None, "wrongly_missing": None}
            if not y.any() or y.all():
                continue
            wrong, quality = _suspects(y, p)
            given = int(y[wrong].sum())
            counts[split][label] |= {"wrongly_given": given, "wrongly_missing": len(wrong) - given}
            for number in wrong.tolist():
                values = split, ids[number], label, int(y[number]), round(float(p[number]), 4), round(float(quality[number]), 4)
                suspects.append(dict(zip(SUSPECT, values, strict=True)))
    suspects.sort(key=lambda row: row["quality"])
    return {"label_errors": counts, "suspects": suspects}
