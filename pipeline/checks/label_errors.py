"""Finds likely wrong labels by confident learning."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.checks.findings import LabelChecks, LabelErrors, Suspect
from pipeline.corpora import Corpus


def _suspects(y: NDArray[np.int8], probabilities: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices of likely wrong values of one label, worst first, and the quality of each value."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    both = np.stack([1 - probabilities, probabilities], axis=1).astype(np.float64)
    with warnings.catch_warnings():  # with few posts, cleanlab warns that nothing is certain
        warnings.simplefilter("ignore", UserWarning)
        wrong = find_label_issues(y.astype(np.int64), both, n_jobs=1)
        quality = get_label_quality_scores(y.astype(np.int64), both)
    indices = np.flatnonzero(wrong)
    return indices[np.argsort(quality[indices], kind="stable")], quality


def check_labels(corpus: Corpus, probabilities: Mapping[str, NDArray[np.floating[Any]]]) -> LabelChecks:
    """Look for likely wrong labels by confident learning (Northcutt, Jiang & Chuang 2021; cleanlab), separately for each label.

    Parameters
    ----------
    corpus : Corpus
        The corpus that the model was trained on.
    probabilities : dict of str to ndarray of float, each of shape (n_posts, n_labels)
        Probabilities of ``corpus.labels`` by split, from models that did not see the posts: for train, those of held-out folds.

    Returns
    -------
    LabelChecks
    """
    counts: dict[str, dict[str, LabelErrors]] = {}
    suspects = []
    for split, scores in probabilities.items():
        ids, Y = corpus.splits[split]["id"][:], corpus.targets(split, corpus.labels)
        counts[split] = {}
        for label, y, p in zip(corpus.labels, Y.T, scores.T, strict=True):
            counts[split][label] = LabelErrors(posts=len(y), given=int(y.sum()))
            if not y.any() or y.all():
                continue
            wrong, quality = _suspects(y, p)
            given = int(y[wrong].sum())
            found = {"wrongly_given": given, "wrongly_missing": len(wrong) - given}
            counts[split][label] = counts[split][label].model_copy(update=found)
            suspects += [
                Suspect(
                    split=split,
                    id=ids[number],
                    label=label,
                    given=int(y[number]),
                    probability=round(float(p[number]), 4),
                    quality=round(float(quality[number]), 4),
                )
                for number in wrong.tolist()
            ]
    return LabelChecks(label_errors=counts, suspects=sorted(suspects, key=lambda suspect: suspect.quality))
