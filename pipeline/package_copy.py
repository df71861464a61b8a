"""Copies of this project's packages, for processes that run elsewhere."""

import shutil
from pathlib import Path


def copy_code(package: Path, into: Path) -> Path:
    """Copy a package of this project without the model released with it and what Python compiled; gives the copy."""
    return shutil.copytree(package, into / package.name, ignore=shutil.ignore_patterns("__pycache__", "released"))
