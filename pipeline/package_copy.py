"""Copy this project's packages for processes that run elsewhere."""

import shutil
from pathlib import Path


def copy_code(package: Path, into: Path) -> Path:
    """Copy a package of this project, without the released model and compiled files.

    Parameters
    ----------
    package : Path
        Folder of the package.
    into : Path
        Existing folder in which the copy is made.

    Returns
    -------
    Path
        Folder of the copy.
    """
    return shutil.copytree(package, into / package.name, ignore=shutil.ignore_patterns("__pycache__", "released"))
