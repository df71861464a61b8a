"""Evaluates a model on labelled posts: metrics, intervals, slices, behaviour, thresholds, prevalence, promotion."""

from pipeline.evaluation.results import Results
from pipeline.evaluation.split import (
    METRICS_FILE,
    REPORT_FILE,
    Evaluation,
    check_positives,
    evaluate_probabilities,
    evaluate_split,
    headline,
    write_evaluation,
)

__all__ = [
    "METRICS_FILE",
    "REPORT_FILE",
    "Evaluation",
    "Results",
    "check_positives",
    "evaluate_probabilities",
    "evaluate_split",
    "headline",
    "write_evaluation",
]
