"""Results for people: tables for a terminal, figures for a run, a page for a browser."""

from pipeline.report.tables import corpus_notes, corpus_table, evaluation_tables, figures, metrics_tables

__all__ = ["corpus_notes", "corpus_table", "evaluation_tables", "figures", "metrics_tables"]
