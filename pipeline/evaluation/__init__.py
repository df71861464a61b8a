"""Evaluates a model on labelled posts: metrics, intervals, slices, behaviour, thresholds, prevalence, promotion."""

from pipeline.evaluation.measuring import (
    METRICS_FILE,
    REPORT_FILE,
    MeasuredSplit,
    check_positives,
    evaluate_probabilities,
    evaluate_split,
    headline,
    write_evaluation,
)
from pipeline.evaluation.results import Results

__all__ = [
    "METRICS_FILE",
    "REPORT_FILE",
    "MeasuredSplit",
    "Results",
    "check_positives",
    "evaluate_probabilities",
    "evaluate_split",
    "headline",
    "write_evaluation",
]
