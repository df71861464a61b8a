"""Imports spaCy without its command line, which brings an HTTP client and much else, and takes a third of the time."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_INFO = "spacy.cli.info"


def _info(*arguments: Any, **options: Any) -> Any:
    return import_module("spacy.cli").info(*arguments, **options)


def _attribute(name: str) -> Any:
    if name == "cli":
        return import_module("spacy.cli")
    raise AttributeError(f"module 'spacy' has no attribute {name!r}")


def import_spacy() -> ModuleType:
    """Import spaCy, but its command line only once ``spacy.cli`` or ``spacy.info`` is used.

    While ``spacy`` is imported, which needs the command line only for ``spacy.info``, another function stands in for this one.

    Returns
    -------
    module
        The package ``spacy``. If it was imported before, nothing else is done.
    """
    if "spacy" in sys.modules:
        return sys.modules["spacy"]
    stand_in: Any = ModuleType(_INFO)
    stand_in.info = _info
    sys.modules[_INFO] = stand_in
    try:
        spacy: Any = import_module("spacy")
    finally:
        del sys.modules[_INFO]
    spacy.__getattr__ = _attribute
    return sys.modules["spacy"]
