"""A fitted model as a directory without pickle: model.json, weights.safetensors and vocabulary.json.

``model.json`` holds the digests of the two other files, and the digest of everything else in it, which identifies the model.
"""

import hashlib
import inspect
import json
import shutil
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError, NormaliserWarning
from models.folders import new_folder

FORMAT_VERSION = 1
RELEASED = Path(__file__).resolve().parent / "released"  # the model released with this version
DESCRIPTION, WEIGHTS, VOCABULARY = FILES = "model.json", "weights.safetensors", "vocabulary.json"
# A training run leaves this beside the model. It is not part of the model: it reveals which posts were used, and must not be copied with
# the model.
FINGERPRINTS = "fingerprints.json"
RUN_FILES = (*FILES, FINGERPRINTS)


def _encode(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _outside() -> int:
    """Return how far up the stack the first caller outside this package is."""
    frame, level = inspect.currentframe(), 0
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    return level


def encode_model(
    description: dict[str, Any], arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]
) -> tuple[str, dict[str, bytes]]:
    """Return a model's digest, and the contents of the files of its directory, by name.

    Parameters
    ----------
    description : dict
        Contents of ``model.json``, apart from the digests.
    arrays : dict of str to ndarray
        The fitted weights.
    vocabulary : dict of str to list of str
        The n-grams, by kind.
    """
    from safetensors.numpy import save

    files = {
        WEIGHTS: save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}),
        VOCABULARY: _encode(vocabulary),
    }
    digests = {name: _sha256(content) for name, content in files.items()}
    body = json.loads(_encode({"format_version": FORMAT_VERSION, "files": digests, **description}))
    digest = _sha256(_encode(body))
    files[DESCRIPTION] = _encode(body | {"digest": digest})
    return digest, files


def write_model(folder: Path, description: dict[str, Any], arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]) -> str:
    """Write a model directory completely or not at all, and return the model's digest.

    An earlier model in the folder is replaced, and the fingerprints of its training posts are removed.

    Parameters
    ----------
    folder : Path
        Folder to write to.
    description, arrays, vocabulary : dict
        As in `encode_model`.

    Raises
    ------
    InputError
        When `folder` exists and is not a model directory, or cannot be written.
    """
    digest, files = encode_model(description, arrays, vocabulary)
    with new_folder(folder, RUN_FILES) as fresh:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
    return digest


def copy_model(folder: Path, into: Path) -> Path:
    """Copy a model, but nothing else that lies in its folder, such as a run's fingerprints; return the copy.

    Parameters
    ----------
    folder : Path
        A model directory.
    into : Path
        Folder to make; missing folders above it are made as well.
    """
    into.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(folder / name, into / name)
    return into


def read_description(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read and verify the ``model.json`` of a model directory, but not its weights and vocabulary.

    Returns
    -------
    digest : str
        The model's digest.
    description : dict
        What `write_model` was given, with ``format_version`` and ``files`` (the digests of the other files).

    Raises
    ------
    InputError
        When the directory is missing, its ``model.json`` was changed or lacks what a `Description` needs, or the format version differs.
    """
    from pydantic import ValidationError

    from models.description import Description
    from models.text import NORMALISER

    if not (folder / DESCRIPTION).is_file():
        raise InputError(
            f"{folder}: is not a model directory (no {DESCRIPTION}); check the path, or train a model with train.py --out {folder}"
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_bytes())
        digest, version = description.pop("digest"), description["format_version"]
        description["files"] = dict(description["files"])
        actual = _sha256(_encode(description))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{folder / DESCRIPTION}: is damaged; copy or train the model again") from None
    if version != FORMAT_VERSION:
        message = f"has format version {version}, but this release reads {FORMAT_VERSION}; update the pipeline or train the model again"
        raise InputError(f"{folder}: {message}")
    if actual != digest:
        raise InputError(f"{folder / DESCRIPTION}: was changed or damaged (its digest differs); copy or train the model again")
    try:
        described = Description.model_validate(description)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'thresholds or prior'}: {first['msg']}"
        raise InputError(
            f"{folder / DESCRIPTION}: was written by another release of the pipeline ({what}); train the model again with this release"
        ) from None
    if described.normaliser != NORMALISER:
        message = (
            f"{folder}: was trained on posts read by version {described.normaliser} of the normaliser, and this release has version "
            f"{NORMALISER}, so its probabilities may be off; train the model again"
        )
        warnings.warn(message, NormaliserWarning, stacklevel=_outside())
    return digest, description


def read_model(folder: Path) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Read a model directory and verify its digests; nothing in it is ever executed.

    Returns
    -------
    digest : str
        The model's digest.
    description : dict
        As from `read_description`.
    arrays : dict of str to ndarray
        The fitted weights.
    vocabulary : dict of str to list of str
        The n-grams, by kind.

    Raises
    ------
    InputError
        When the directory is missing or incomplete, was changed, or has another format version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    digest, description = read_description(folder)
    contents = {}
    for name in (WEIGHTS, VOCABULARY):
        try:
            if not stat.S_ISREG((folder / name).stat().st_mode):  # a device or a pipe may have no end
                raise OSError(0, "is not a file")
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror}); copy or train the model again") from None
        if _sha256(contents[name]) != description["files"].get(name):
            raise InputError(f"{folder / name}: was changed or damaged (its digest differs from {DESCRIPTION}); copy or train it again")
    try:
        return digest, description, load(contents[WEIGHTS]), json.loads(contents[VOCABULARY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):  # the digest matches, but the file is of another kind
        raise InputError(f"{folder}: {WEIGHTS} or {VOCABULARY} is damaged; copy or train the model again") from None
