"""The directory of helplines, such as ``configs/resources.yaml``, which a person may pass on once somebody has confirmed them."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from models.config import Section
from models.errors import InputError
from pipeline.config_files import explain, nearest, read_yaml

EXAMPLE = "configs/resources.yaml"

_Said = Annotated[str, Field(min_length=1)]


class Confirmed(Section):
    """Which member of the team called the helpline, and when."""

    by: _Said
    day: date  # the key is not "on", because YAML reads that as true


class Line(Section):
    """A helpline: whom it is for, how it is reached, and how we know."""

    name: _Said
    contact: _Said
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    labels: Annotated[list[str], Field(min_length=1)]
    languages: Annotated[list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]], Field(min_length=1)]
    source: _Said
    checked: date
    confirmed: Confirmed | None = None


class Directory(Section):
    """Helplines, by the short names that queues use."""

    lines: dict[str, Line]


def load_directory(path: Path) -> dict[str, Line]:
    """Read a directory of helplines.

    Parameters
    ----------
    path : Path
        A YAML file, such as ``configs/resources.yaml``.

    Raises
    ------
    InputError
        When it cannot be read, or something in it is wrong.

    Examples
    --------
    >>> load_directory(Path("configs/resources.yaml"))["us_sexual_assault"].contact
    '800-656-4673'
    """
    try:
        return Directory.model_validate(read_yaml(path, EXAMPLE)).lines
    except ValidationError as error:
        raise InputError(explain(error, str(path), Directory, EXAMPLE)) from None


def check_lines(path: Path, named: Mapping[str, Sequence[str]], origin: Path) -> None:
    """Raise an error if a queue names a helpline that is not in a directory, or that nobody has confirmed.

    Parameters
    ----------
    path : Path
        The directory.
    named : mapping of str to sequence of str
        The helplines that each queue names.
    origin : Path
        The file that holds the queues.

    Raises
    ------
    InputError
        Also when the directory cannot be read.
    """
    try:
        lines = load_directory(path)
    except InputError as error:
        raise InputError(f"{origin}, resources: {error}") from None
    for queue, names in named.items():
        for name in names:
            if name not in lines:
                raise InputError(f"{origin}: queue {queue!r} names {name!r}, which is not in {path}; {nearest(name, lines)}")
            if lines[name].confirmed is None:
                how = f"call {lines[name].contact} and write who called, and when, under 'confirmed' in {path}, or remove it from the queue"
                raise InputError(f"{origin}: queue {queue!r} names {name!r}, which nobody has confirmed; {how}")
