"""A fitted model as a directory without pickle: model.json, weights.safetensors, vocabulary.json.

``model.json`` holds the digests of the other two, and the digest of all else in itself, which names the model.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError
from models.folders import new_folder

FORMAT_VERSION = 1
RELEASED = Path(__file__).resolve().parent / "released"  # the model that comes with this version
DESCRIPTION, WEIGHTS, VOCABULARY = FILES = "model.json", "weights.safetensors", "vocabulary.json"


def _encode(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_model(folder: Path, description: dict[str, Any], arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]) -> str:
    """Write a model directory, whole or not at all; one that stands there is replaced.

    Returns
    -------
    str
        The model's digest.

    Raises
    ------
    InputError
        When `folder` exists and is no model directory, or cannot be written.
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
    with new_folder(folder, FILES) as fresh:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
    return digest


def read_description(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read and verify what a model directory says of itself, without its weights and vocabulary.

    Returns
    -------
    digest : str
    description : dict
        As given to `write_model`, with ``format_version`` and ``files`` (their digests).

    Raises
    ------
    InputError
        When the directory is missing, its ``model.json`` changed since it was written, or it is of another format.
    """
    if not (folder / DESCRIPTION).is_file():
        raise InputError(f"{folder}: no model directory (no {DESCRIPTION}); train one with train.py --out {folder}")
    try:
        description = json.loads((folder / DESCRIPTION).read_bytes())
        digest, version = description.pop("digest"), description["format_version"]
        description["files"] = dict(description["files"])
        actual = _sha256(_encode(description))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{folder / DESCRIPTION}: damaged; copy or train the model again") from None
    if version != FORMAT_VERSION:
        raise InputError(f"{folder}: format version {version}, this release reads {FORMAT_VERSION}; update the pipeline or train again")
    if actual != digest:
        raise InputError(f"{folder / DESCRIPTION}: its digest differs: changed or damaged; copy or train the model again")
    return digest, description


def read_model(folder: Path) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Read a model directory and verify its digests; nothing in it is ever executed.

    Returns
    -------
    digest : str
    description : dict
    arrays : dict of str to ndarray
    vocabulary : dict of str to list of str

    Raises
    ------
    InputError
        When the directory is missing, incomplete, changed since it was written, or of a newer format.
    """
    from safetensors.numpy import load

    digest, description = read_description(folder)
    contents = {}
    for name in (WEIGHTS, VOCABULARY):
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror}); copy or train the model again") from None
        if _sha256(contents[name]) != description["files"].get(name):
            raise InputError(f"{folder / name}: digest differs from the one in {DESCRIPTION}: changed or damaged; copy or train it again")
    return digest, description, load(contents[WEIGHTS]), json.loads(contents[VOCABULARY])
