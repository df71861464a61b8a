"""What checks write: counts, pairs and suspects; never a text."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from models.folders import new_folder
from pipeline.checks.results import LabelChecks, Pair, SplitChecks, Suspect
from pipeline.results import Result

CHECKS, DUPLICATES, LABEL_ERRORS = FILES = "checks.json", "duplicates.csv", "label_errors.csv"


def _write_csv(path: Path, kind: type[Result], rows: Sequence[Result]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, list(kind.model_fields))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: ";".join(cell) if isinstance(cell, list) else cell for name, cell in row.model_dump().items()})


def write_checks(splits: SplitChecks, labels: LabelChecks | None, folder: Path) -> None:
    """Write ``checks.json`` (counts), ``duplicates.csv`` and ``label_errors.csv`` (ids, labels and numbers; no text, no author).

    Parameters
    ----------
    splits : SplitChecks
    labels : LabelChecks or None
        None where label errors were not looked for: then there is no ``label_errors.csv``.
    folder : Path
        Earlier checks there are replaced.

    Raises
    ------
    InputError
        When the folder holds something else or cannot be written.
    """
    counts = splits.model_dump(mode="json", exclude={"pairs"}) | (labels.model_dump(mode="json", exclude={"suspects"}) if labels else {})
    with new_folder(folder, FILES) as fresh:
        (fresh / CHECKS).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        _write_csv(fresh / DUPLICATES, Pair, splits.pairs)
        if labels:
            _write_csv(fresh / LABEL_ERRORS, Suspect, labels.suspects)
