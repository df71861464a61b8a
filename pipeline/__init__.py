"""Steps of the disclosure-classification pipeline: config, corpora, text, features, metrics, tracking, scoring, report."""

__version__ = "0.1.0"
