"""Presents results to people: tables in a terminal, figures for a run, a page for a browser, and the model card."""

from pipeline.report.tables import (
    corpus_notes,
    corpus_table,
    evaluation_tables,
    figures,
    metrics_tables,
    no_intervals_note,
    points_table,
    seen_note,
)

__all__ = [
    "corpus_notes",
    "corpus_table",
    "evaluation_tables",
    "figures",
    "metrics_tables",
    "no_intervals_note",
    "points_table",
    "seen_note",
]
