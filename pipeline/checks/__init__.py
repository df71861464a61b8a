"""Checks a labelled corpus for repeats, authors in several splits, and conflicting or likely wrong labels. Results hold no text."""

from pipeline.checks.files import FILES, write_checks
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits

__all__ = ["FILES", "check_labels", "check_splits", "write_checks"]
