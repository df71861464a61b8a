"""Checks of a labelled corpus: repeats, authors in several splits, conflicting and likely wrong labels; never a text."""

from pipeline.checks.files import FILES, write_checks
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits
from pipeline.checks.run import Checked, check_data

__all__ = ["FILES", "Checked", "check_data", "check_labels", "check_splits", "write_checks"]
