"""YAML files and ``--set`` overrides to one validated config, and errors in them to one line."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from models.config import ROOT, LabelSet
from models.errors import InputError
from pipeline.config import Config

DEFAULT = ROOT / "configs" / "default.yaml"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats (1e-3 is a number, PyYAML takes it for text)."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789"))


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; ``labels`` in it may name a file beside it, which is read too.

    Raises
    ------
    InputError
        When the file cannot be read or holds something else.
    """
    try:
        loaded = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); shipped ones are in configs/") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = "not UTF-8" if isinstance(error, UnicodeError) else getattr(error, "problem", None) or "a value cannot be read"
        raise InputError(f"{place}: not valid YAML ({reason}); correct it, configs/default.yaml shows the form") from None
    if not isinstance(loaded, dict):
        got = "nothing" if loaded is None else f"a {type(loaded).__name__}"
        raise InputError(f"{path}: got {got}, expected a mapping of sections (see configs/default.yaml)")
    if isinstance(loaded.get("labels"), str):
        loaded["labels"] = read_yaml(path.parent / loaded["labels"])
    return loaded


_WHOLE = ("labels",)  # a label set is one thing: keys of another do not show through


def merge(base: Any, overlay: Any, *, whole: Iterable[str] = ()) -> Any:
    """Lay one mapping over another key by key; anything else, and the keys in `whole`, is replaced."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    merged = dict(base)
    for key, value in overlay.items():
        merged[key] = value if key in whole or key not in base else merge(base[key], value)
    return merged


def nest(key: str, value: Any) -> dict[str, Any]:
    """Make a tree that holds a value under a dotted key."""
    first, _, rest = key.partition(".")
    return {first: nest(rest, value) if rest else value}


def _assign(config: dict[str, Any], setting: str) -> dict[str, Any]:
    """Lay one ``--set`` over a config; a dotted key changes that key alone."""
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {setting}: expected section.key=value, for example model.C=0.2")
    try:
        tree: Any = _parse(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {setting}: {value!r} is not a YAML value; put text with special characters in quotes") from None
    if key == "labels" and isinstance(tree, str):
        tree = read_yaml(Path(tree))
    merged: dict[str, Any] = merge(config, nest(key, tree), whole=() if "." in key else _WHOLE)
    return merged


# Branches of unions, which pydantic puts into the place of an error.
_BRANCH = re.compile(r"str|constrained-float|dict\[.+\]|range|choices")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _known_keys(schema: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Keys allowed at `path` of a schema."""
    for part in path:
        if part in schema.model_fields:
            schema = next(_sections(schema.model_fields[str(part)].annotation), schema)
    return list(schema.model_fields)


def explain(error: ValidationError, origin: str, schema: type[BaseModel] = Config, example: str = "configs/default.yaml") -> str:
    """Say in one line what is wrong with a file, what was got, and what is allowed.

    Parameters
    ----------
    error : ValidationError
    origin : str
        The file or setting, which the line begins with.
    schema : type
        What was validated, to name the nearest of its keys.
    example : str
        File that shows how it is done.
    """
    errors = error.errors()
    # A misspelt key also makes the right one missing: say the former. Else the deepest, which is the right branch of a union.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), None) or max(errors, key=lambda each: len(each["loc"]))
    place = ".".join(str(part) for part in first["loc"] if not _BRANCH.fullmatch(str(part)))
    if first["type"] == "extra_forbidden":
        allowed = {key.lower(): key for key in _known_keys(schema, first["loc"][:-1])}
        nearest = difflib.get_close_matches(str(first["loc"][-1]).lower(), allowed, n=1, cutoff=0.5)
        hint = f"did you mean {allowed[nearest[0]]!r}?" if nearest else f"allowed are {', '.join(allowed.values())}"
        return f"{origin}: unknown key {place!r}; {hint}"
    if first["type"] == "missing":
        return f"{origin}: {place!r} is missing; {example} shows it with a comment"
    if first["type"] == "value_error":
        return f"{origin}: {place or 'config'}: {first['msg'].removeprefix('Value error, ')} (see {example})"
    value = first["input"]
    got = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    reason = "input should be a mapping of keys" if first["type"] in {"model_type", "dict_type"} else first["msg"]
    reason = (reason[:1].lower() + reason[1:]).replace(" after validation", "")
    return f"{origin}: {place or 'config'}: got {got}; {reason} (see {example})"


def load_config(
    overlays: Iterable[Path] = (),
    settings: Iterable[str] = (),
    sources: Sequence[str] = (),
    *,
    labels: LabelSet | None = None,
    **top_level: Any,
) -> Config:
    """Resolve ``configs/default.yaml``, overlays, ``--set`` settings and sources into one validated config.

    Parameters
    ----------
    overlays : iterable of Path
        YAML files laid over the default in order; ``labels`` may name a file relative to the overlay.
    settings : iterable of str
        ``section.key=value`` with a YAML value.
    sources : sequence of str
        Replaces ``data.sources`` unless empty.
    labels : LabelSet, optional
        Takes the place of the default's label set; overlays and settings go over it.
    **top_level
        Replaces top-level keys, for example ``seed=1``.

    Raises
    ------
    InputError
        For a file that cannot be read, an unknown key (with the nearest right one), or a wrong type or value.

    Examples
    --------
    >>> config = load_config(settings=["model.C=0.3"], sources=["data/starter"], seed=1)
    >>> config.model.C, config.seed, config.labels.names[0]
    (0.3, 1, 'workplace_harassment')
    """
    overlays, settings = list(overlays), list(settings)
    tree = read_yaml(DEFAULT) | ({"labels": labels.model_dump(mode="json")} if labels else {})
    for path in overlays:
        tree = merge(tree, read_yaml(path), whole=_WHOLE)
    for setting in settings:
        tree = _assign(tree, setting)
    tree = merge(tree, {"data": {"sources": list(sources)}} if sources else {})
    tree = merge(tree, top_level, whole=_WHOLE)
    origin = ", ".join([str(path) for path in overlays] + [f"--set {setting}" for setting in settings]) or str(DEFAULT)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, origin)) from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a resolved config's leaves as ``section.key`` and text, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
