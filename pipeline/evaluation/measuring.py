"""Evaluates a model on a split of a corpus: metrics, and a row for every post."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Classifier
from models.arrays import Decisions, Labels, Probabilities
from models.calibration import BALANCED, decide
from models.errors import InputError
from models.folders import new_folder
from pipeline.corpora import Corpus
from pipeline.evaluation.results import MeasuredMetrics, Results, SplitMetrics
from pipeline.metrics import compute_baselines, compute_metrics
from pipeline.predictions import prediction_table, write_parquet

METRICS_FILE, REPORT_FILE, PREDICTIONS_FILE = FILES = "metrics.json", "report.html", "predictions.parquet"

ALL_POSTS = "all posts"  # what data without splits are called
HELD_OUT = "held-out folds of train"
# Decisions on these folds are by thresholds that were chosen on the same posts; probabilities are by models that did not see them.
TUNED_ON_THESE = "the thresholds were chosen on these posts, so precision, recall and F1 are a little too high; measure on other posts"


@dataclass(frozen=True)
class MeasuredSplit:
    """A model's answers to a set of posts, and their metrics.

    Attributes
    ----------
    title : str
        Which posts were evaluated.
    ids : list of str, length n_posts
    Y, probabilities, decided : ndarray, shape (n_posts, n_labels)
        True labels as 0 and 1, their probabilities, and which of them the model gives.
    metrics : SplitMetrics
    thresholds : list of float
        Thresholds that decided, one for each label.
    """

    title: str
    ids: list[str]
    Y: Labels
    probabilities: Probabilities
    decided: Decisions
    metrics: SplitMetrics
    thresholds: list[float]


def metrics_of(model: Classifier, Y: Labels, probabilities: Probabilities, decided: Decisions, thresholds: list[float]) -> MeasuredMetrics:
    """Compute the metrics of a model's answers, and those of baselines; the arguments are as in `MeasuredSplit`."""
    metrics = compute_metrics(Y, probabilities, decided, model.labels, thresholds)
    return MeasuredMetrics(**dict(metrics), baselines=compute_baselines(Y, model.prior_, model.labels))


def evaluate_probabilities(
    model: Classifier,
    corpus: Corpus,
    split: str,
    probabilities: Probabilities,
    title: str,
    new: NDArray[np.bool_] | None = None,
    operating_point: str = BALANCED,
) -> MeasuredSplit:
    """Evaluate probabilities that were computed before, such as those of held-out folds.

    Parameters
    ----------
    model : Classifier
        Its thresholds decide which labels are given.
    corpus : Corpus
        Has the true labels.
    split : str
        The split that the probabilities belong to.
    probabilities : ndarray of float, shape (n_posts, n_labels)
        Probabilities of the model's labels.
    title : str
        What to call these posts.
    new : ndarray of bool, shape (n_posts,), optional
        Posts whose text is in no other split; unless that is all or none of them, they are also measured separately.
    operating_point : str
        The operating point of the model that decides.

    Raises
    ------
    InputError
        If the model has no such operating point.
    """
    Y, thresholds = corpus.targets(split, model.labels), model.thresholds_at(operating_point).tolist()
    decided = decide(probabilities, thresholds)
    repeats = new is not None and new.any() and not new.all()
    of_new = metrics_of(model, Y[new], probabilities[new], decided[new], thresholds) if repeats else None
    metrics = SplitMetrics(**dict(metrics_of(model, Y, probabilities, decided, thresholds)), new_texts_only=of_new)
    return MeasuredSplit(title, corpus.splits[split]["id"][:], Y, probabilities, decided, metrics, thresholds)


def evaluate_split(model: Classifier, corpus: Corpus, split: str, operating_point: str = BALANCED) -> MeasuredSplit:
    """Score a split and evaluate the scores.

    Parameters
    ----------
    model : Classifier
    corpus : Corpus
    split : str
        Name of one of the corpus' splits.
    operating_point : str
        The operating point of the model that decides.

    Returns
    -------
    MeasuredSplit
    """
    probabilities = model.predict_proba(corpus.splits[split]["text"][:])
    title = ALL_POSTS if split == "all" else split
    return evaluate_probabilities(model, corpus, split, probabilities, title, corpus.is_new(split), operating_point)


def headline(results: Results) -> dict[str, Any]:
    """Return the part of an evaluation that a run logs as metrics; the rest is in the files that it logs.

    These are the metrics and baselines, and the intervals of macro-F1 and mean average precision. There are also the shares of posts seen
    in training and of behavioural cases passed, how far swaps move the model, and the estimated shares of labels.
    """
    logged = results.model_dump(include=set(SplitMetrics.model_fields))
    for name in ("macro_f1", "mean_average_precision"):
        if bounds := getattr(results.intervals, name):
            logged[f"{name}_low"], logged[f"{name}_high"] = bounds
    if seen := results.seen_in_training:
        logged["seen_in_training"] = seen.share
    if results.behaviour:
        logged["behaviour"] = {"passed": results.behaviour.rate}
    if swaps := results.swaps:
        logged["swaps"] = {"shift": swaps.shift, "changed": swaps.changed, "jobs_marked": len(swaps.jobs.marked)}
    if prevalence := results.prevalence:
        logged["prevalence"] = {label: found.estimate for label, found in prevalence.total.labels.items()}
    return logged


def check_positives(corpus: Corpus, split: str) -> None:
    """Check that at least one post of a split has a label; otherwise nothing can be measured.

    Parameters
    ----------
    corpus : Corpus
    split : str
        Name of one of the corpus' splits.

    Raises
    ------
    InputError
        If no post of the split has any label.
    """
    if not corpus.targets(split, corpus.labels).any():
        posts = f"none of its {corpus.splits[split].num_rows:,} posts has any of the labels {', '.join(corpus.labels)}"
        raise InputError(f"{split}: {posts}, so nothing can be measured; to count false alarms alone, score it with score.py")


def write_evaluation(evaluation: MeasuredSplit, model: Classifier, results: Results, page: str, folder: Path) -> None:
    """Write ``report.html``, ``metrics.json`` and ``predictions.parquet`` (ids, probabilities, given and true labels; no text).

    Parameters
    ----------
    evaluation : MeasuredSplit
        From `evaluate_split`.
    model : Classifier
        Model that was evaluated.
    results : Results
        Content of ``metrics.json``.
    page : str
        Content of ``report.html``.
    folder : Path
        Folder to write to; an earlier evaluation in it is replaced.

    Raises
    ------
    InputError
        If the folder holds other files or cannot be written.
    """
    table = prediction_table(evaluation.ids, evaluation.probabilities, evaluation.decided, model.labels, model.digest_, truth=evaluation.Y)
    with new_folder(folder, FILES) as fresh:
        write_parquet(table, fresh / PREDICTIONS_FILE)
        (fresh / REPORT_FILE).write_text(page, encoding="utf-8")
        (fresh / METRICS_FILE).write_text(json.dumps(results.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
