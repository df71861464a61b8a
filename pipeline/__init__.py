"""The steps of the disclosure-classification pipeline, such as reading corpora, training, evaluation, scoring, reports and tracking."""

__version__ = "0.1.0"
