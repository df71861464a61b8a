"""Imports spaCy without its command line, which brings an HTTP client and much else, and takes a third of the time of the import."""

import sys
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any

_INFO = "spacy.cli.info"
_lock = Lock()


def _info(*arguments: Any, **options: Any) -> Any:
    return import_module("spacy.cli").info(*arguments, **options)


def _attribute(name: str) -> Any:
    if name == "cli":
        return import_module("spacy.cli")
    raise AttributeError(f"module 'spacy' has no attribute {name!r}")


def import_spacy() -> ModuleType:
    """Import spaCy, but its command line only once ``spacy.cli`` or ``spacy.info`` is used.

    Importing spaCy needs the command line only for the function ``spacy.info``. A stand-in takes its place, which imports the command
    line when it is called.

    Returns
    -------
    module
        The package ``spacy``; if it was imported before, as it is.
    """
    with _lock:
        if "spacy" not in sys.modules:
            stand_in: Any = ModuleType(_INFO)
            stand_in.info = _info
            sys.modules[_INFO] = stand_in
            try:
                spacy: Any = import_module("spacy")
            finally:
                sys.modules.pop(_INFO, None)
            spacy.__getattr__ = _attribute
    return import_module("spacy")  # which waits until another thread has imported it
