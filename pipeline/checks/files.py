"""What checks write: counts, pairs and suspects; never a text."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.folders import new_folder
from pipeline.checks.label_errors import SUSPECT
from pipeline.checks.repeats import PAIR

CHECKS, DUPLICATES, LABEL_ERRORS = FILES = "checks.json", "duplicates.csv", "label_errors.csv"


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: ";".join(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows)


def write_checks(result: Mapping[str, Any], folder: Path) -> None:
    """Write ``checks.json`` (counts), ``duplicates.csv`` and ``label_errors.csv`` (ids, labels and numbers; no text, no author).

    Parameters
    ----------
    result : dict
        Of `check_splits`, with or without that of `check_labels`.
    folder : Path
        Earlier checks there are replaced.

    Raises
    ------
    InputError
        When the folder holds something else or cannot be written.
    """
    counts = {name: value for name, value in result.items() if name not in ("pairs", "suspects")}
    with new_folder(folder, FILES) as fresh:
        (fresh / CHECKS).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        _write_csv(fresh / DUPLICATES, PAIR, result["pairs"])
        if "suspects" in result:
            _write_csv(fresh / LABEL_ERRORS, SUSPECT, result["suspects"])
