"""Checks of a labelled corpus: repeats, authors in several splits, conflicting and likely wrong labels; never a text."""

from pipeline.checks.files import FILES, write_checks
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits

__all__ = ["FILES", "check_labels", "check_splits", "write_checks"]
