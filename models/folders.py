"""Output folders that are written completely or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import InputError

UMASK = "DISCLOSURE_UMASK"  # environment variable
_OWNER_ONLY = 0o077

# What file managers, version control and archive programs leave in folders.
_LITTER = re.compile(r"thumbs\.db|ehthumbs\.db|desktop\.ini|__macosx|icon\r|\$recycle\.bin|\..*", re.IGNORECASE)

_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)


@contextmanager
def owner_only() -> Iterator[None]:
    """Make the files and folders that the block creates readable and writable by their owner alone (0600 and 0700).

    Scores, models, reports and the file of an MLflow store say something about people. Processes that are started in the block inherit
    this. The environment's ``DISCLOSURE_UMASK``, such as 027 for a group, replaces it. May be used as a decorator.

    Raises
    ------
    InputError
        When ``DISCLOSURE_UMASK`` is not an octal number from 0 to 777.
    """
    written = os.environ.get(UMASK, "")
    if not re.fullmatch("[0-7]{0,4}", written) or int(written or "0", 8) > 0o777:
        raise InputError(f"{UMASK}={written}: is not an octal number from 0 to 777; use 077 (you alone) or 027 (your group may read)")
    before = os.umask(int(written, 8) if written else _OWNER_ONLY)
    try:
        yield
    finally:
        os.umask(before)


def address_in(path: str | Path) -> str | None:
    """Return the address that is given in place of a path, without a password, or None.

    A `Path` has lost one of the two slashes.

    Examples
    --------
    >>> address_in(Path("s3://bucket/posts")), address_in("https://me:secret@host/posts?key=secret"), address_in("posts")
    ('s3://bucket/posts', 'https://…@host/posts', None)
    """
    if not (found := _ADDRESS.fullmatch(str(path))):
        return None
    rest = re.sub(r"^[^/@]*:[^@]*@", "…@", found["rest"])  # a secret key may hold slashes
    return f"{found['scheme'].lower()}://{rest if found['scheme'].lower() == 's3' else rest.partition('?')[0]}"


def check_local(path: str | Path) -> None:
    """Raise an error if a path is an address, such as ``s3://bucket/scores``: as a path, it would name a folder ``s3:``.

    Parameters
    ----------
    path : str or Path
        A path of a file or folder on this machine.

    Raises
    ------
    InputError
        When it is an address.
    """
    if address := address_in(path):
        raise InputError(f"{address}: is an address, but this must be a path on this machine; copy what is there, and give the copy")


def is_litter(name: str) -> bool:
    """Return whether a file or folder of this name was left by a file manager or the like, or is hidden.

    Examples
    --------
    >>> [is_litter(name) for name in (".DS_Store", "Thumbs.db", "__MACOSX", "._posts.csv", "posts.csv")]
    [True, True, True, True, False]
    """
    return bool(_LITTER.fullmatch(name))


def _litter(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and is_litter(path.name)]


def _is_output(folder: Path, files: Sequence[str]) -> bool:
    """Return whether a folder, apart from litter, is empty or is an earlier output made of these files."""
    litter = _litter(folder)
    found = [path for path in folder.iterdir() if path not in litter]
    if not files:
        return not found
    return not found or ((folder / files[0]).is_file() and all(path.is_file() and path.name in files for path in found))


def check_output(folder: Path, files: Sequence[str]) -> None:
    """Raise an error, before any work is done, if `folder` cannot be written.

    Parameters
    ----------
    folder : Path
        It may be missing, empty, or an earlier output that holds only these files.
    files : sequence of str
        Names of the files that an output may hold; every output has the first one. Without names, no earlier output is replaced.

    Raises
    ------
    InputError
        When the folder holds anything else, is a mount point or an address, or cannot be written.
    """
    check_local(folder)
    place = folder.resolve()
    if os.path.ismount(place):
        raise InputError(f"{folder}: is a mount point and cannot be replaced; choose a folder inside it as --out")
    if place.exists() and not (place.is_dir() and _is_output(place, files)):
        held = f"is not an earlier output (it lacks {files[0]}, or also holds other files)" if files else "is not empty"
        raise InputError(f"{folder}: exists and {held}; choose another --out")
    # We write to the parent: a scratch folder is made there and then replaces `folder`.
    standing = next(parent for parent in place.parents if parent.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise InputError(f"{folder}: cannot be written, because {standing} is not a writable folder; choose another --out")


def _replace(folder: Path, fresh: Path, aside: Path) -> None:
    """Replace `folder` by `fresh`, but keep litter; if that fails, restore `folder`."""
    if folder.exists():
        for path in _litter(folder):
            shutil.copy2(path, fresh)
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise


@contextmanager
def new_folder(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """Yield a scratch folder that replaces `folder` if the block succeeds, and is removed if it fails; only its owner can read it.

    Parameters
    ----------
    folder : Path
        The folder to write.
    files : sequence of str
        As in `check_output`.

    Raises
    ------
    InputError
        When `folder` holds anything else or cannot be written.
    """
    check_output(folder, files)
    place = folder.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with owner_only(), tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            yield fresh
            _replace(place, fresh, Path(scratch) / "old")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from None
