"""Writes the results of checks: counts, pairs and suspects, but never a text."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from models.folders import new_folder
from pipeline.checks.findings import LabelChecks, Pair, SplitChecks, Suspect
from pipeline.result_base import Result
from pipeline.spreadsheets import as_text

CHECKS, DUPLICATES, LABEL_ERRORS = FILES = "checks.json", "duplicates.csv", "label_errors.csv"


def _write_csv(path: Path, kind: type[Result], rows: Sequence[Result]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, list(kind.model_fields))
        writer.writeheader()
        for row in rows:
            cells = {name: ";".join(cell) if isinstance(cell, list) else cell for name, cell in row.model_dump().items()}
            writer.writerow({name: as_text(cell) for name, cell in cells.items()})


def write_checks(splits: SplitChecks, labels: LabelChecks | None, folder: Path) -> None:
    """Write ``checks.json`` (counts), ``duplicates.csv`` and ``label_errors.csv`` (ids, labels and numbers, but no text or author).

    The CSV files are for people: an id that a spreadsheet would run as a formula has an apostrophe before it.

    Parameters
    ----------
    splits : SplitChecks
        From `check_splits`.
    labels : LabelChecks or None
        From `check_labels`. None if label errors were not looked for; then ``label_errors.csv`` is not written.
    folder : Path
        Folder to write to; earlier checks in it are replaced.

    Raises
    ------
    InputError
        If the folder holds other files or cannot be written.
    """
    counts = splits.model_dump(mode="json", exclude={"pairs"}) | (labels.model_dump(mode="json", exclude={"suspects"}) if labels else {})
    with new_folder(folder, FILES) as fresh:
        (fresh / CHECKS).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        _write_csv(fresh / DUPLICATES, Pair, splits.pairs)
        if labels:
            _write_csv(fresh / LABEL_ERRORS, Suspect, labels.suspects)
