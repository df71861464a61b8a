"""Analyses a model beyond its metrics: how certain these are, where they differ, and what a threshold costs."""

from models import Classifier
from models.calibration import BALANCED
from pipeline.config import Evaluation as Wanted
from pipeline.corpora import Corpus
from pipeline.evaluation.bootstrap import compare, intervals, metrics_by_round, resample
from pipeline.evaluation.measuring import MeasuredSplit, evaluate_split
from pipeline.evaluation.mistakes import count_mistakes
from pipeline.evaluation.results import Analysis, Comparison, Sample
from pipeline.evaluation.slices import compute_slices, drawn_at_random, slice_columns
from pipeline.evaluation.threshold_costs import compute_thresholds
from pipeline.metrics import reliability_intervals


def analyse(
    evaluation: MeasuredSplit,
    corpus: Corpus,
    split: str,
    model: Classifier,
    wanted: Wanted,
    seed: int,
    other: Classifier | None = None,
    operating_point: str = BALANCED,
) -> Analysis:
    """Compute intervals, calibration, thresholds, mistakes and slices of an evaluation, and compare the model with another.

    Parameters
    ----------
    evaluation : MeasuredSplit
        From `evaluate_split` or `evaluate_probabilities`.
    corpus : Corpus
        Loaded with ``wanted.columns`` as further columns.
    split : str
        Split of the corpus that was evaluated.
    model : Classifier
        Model that was evaluated.
    wanted : pipeline.config.Evaluation
        The config's section ``evaluation``.
    seed : int
        Random seed of the bootstrap.
    other : Classifier, optional
        Model with the same labels to compare with, on the same posts.
    operating_point : str
        The operating point at which the other model is measured.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        If a column to slice by is missing or empty, or ``wanted.recall`` or ``wanted.natural`` does not fit the model or data.
    """
    columns = slice_columns(corpus, split, wanted)
    groups = corpus.groups(split)
    counts = resample(groups, wanted.rounds, seed)
    by_round = metrics_by_round(evaluation.Y, evaluation.probabilities, evaluation.decided, counts)
    at_random = drawn_at_random(corpus, split, wanted.natural)
    comparison = None
    if other is not None:
        theirs = evaluate_split(other, corpus, split, operating_point)
        their_rounds = metrics_by_round(theirs.Y, theirs.probabilities, theirs.decided, counts)
        differences = compare(evaluation.metrics, by_round, theirs.metrics, their_rounds, wanted.confidence)
        comparison = Comparison(model=other.digest_, metrics=theirs.metrics, differences=differences)
    return Analysis(
        sample=Sample(authors=int(groups.max()) + 1, rounds=wanted.rounds, confidence=wanted.confidence),
        intervals=intervals(evaluation.metrics, by_round, wanted.confidence),
        reliability={
            label: reliability_intervals(evaluation.Y[:, k], evaluation.probabilities[:, k], wanted.confidence)
            for k, label in enumerate(model.labels)
        },
        thresholds=compute_thresholds(
            *(evaluation.Y, evaluation.probabilities, model.labels, evaluation.thresholds, wanted, at_random, groups)
        ),
        mistakes=count_mistakes(evaluation.Y, evaluation.probabilities, evaluation.decided, model.labels, evaluation.ids),
        slices=compute_slices(evaluation, model.labels, columns, groups, counts, wanted),
        comparison=comparison,
    )
