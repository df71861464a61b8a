"""Read YAML files and ``--set`` overrides into one validated config, and report errors in one line."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from models.config import ROOT, LabelSet
from models.errors import InputError
from pipeline.config import Config, mask_password

DEFAULT = ROOT / "configs" / "default.yaml"
_MOST_KEYS = 2_000  # maximum number of keys of one mapping
_DEEPEST = 20  # maximum number of dots in a key
_MOST_BYTES = 2**20  # of a file
_QUOTED = 100  # maximum number of characters that an error quotes


class _Loader(yaml.SafeLoader):
    """A loader with YAML 1.2's floats (1e-3 is a number, which PyYAML reads as text), without repeated keys, and with limited merges.

    PyYAML would keep only the last of several sections with one name. Merges of merges can make a mapping of billions of keys from a few
    lines.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping, whose keys must differ."""
        node = super().compose_mapping_node(anchor)
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value[:_QUOTED]!r} occurs twice; remove one", key.start_mark)
                seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge the mappings that a mapping names with ``<<``."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:
            raise yaml.constructor.ConstructorError(None, None, "too many keys", node.start_mark)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789"))


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def read_yaml(path: Path, example: str = "configs/default.yaml") -> dict[str, Any]:
    """Read a mapping from a YAML file; its key ``labels`` may name a file next to it, which is then read as well.

    Parameters
    ----------
    path : Path
        The file.
    example : str
        A file that shows what it may hold.

    Raises
    ------
    InputError
        When the file cannot be read, or is not a YAML mapping.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be read (it is a folder, a pipe or a device); the configs of this repository are in configs/")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB, so it is not a config; see configs/default.yaml")
        loaded = _parse(content.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); the configs of this repository are in configs/") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = "not UTF-8" if isinstance(error, UnicodeError) else getattr(error, "problem", None) or "a value cannot be read"
        raise InputError(f"{place}: is not valid YAML ({reason}); correct it (see {example})") from None
    if not isinstance(loaded, dict):
        got = "nothing" if loaded is None else f"a {type(loaded).__name__}"
        raise InputError(f"{path}: must be a mapping of sections, but got {got} (see {example})")
    if isinstance(loaded.get("labels"), str):
        loaded["labels"] = read_yaml(path.parent / loaded["labels"])
    return loaded


def _quoted(text: str) -> str:
    """Return the beginning of what an error quotes, without a password."""
    shown = mask_password(text)
    return shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}…"


_WHOLE = ("labels",)  # a label set is replaced as a whole, so that no key of the previous one remains


def merge(base: Any, overlay: Any, *, whole: Iterable[str] = ()) -> Any:
    """Merge two mappings key by key, recursively; anything else is replaced.

    Parameters
    ----------
    base : object
        The tree whose values may be replaced; it is not modified.
    overlay : object
        The tree whose values win.
    whole : iterable of str
        Top-level keys whose values are replaced, not merged.

    Examples
    --------
    >>> merge({"model": {"C": 1, "type": "svm"}}, {"model": {"C": 2}})
    {'model': {'C': 2, 'type': 'svm'}}
    """
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    merged = dict(base)
    for key, value in overlay.items():
        merged[key] = value if key in whole or key not in base else merge(base[key], value)
    return merged


def nest(key: str, value: Any) -> dict[str, Any]:
    """Make a tree that holds a value under a dotted key.

    Parameters
    ----------
    key : str
        Names separated by dots.
    value : object
        The value.

    Examples
    --------
    >>> nest("model.C", 0.3)
    {'model': {'C': 0.3}}
    """
    first, _, rest = key.partition(".")
    return {first: nest(rest, value) if rest else value}


def _assign(config: dict[str, Any], setting: str) -> dict[str, Any]:
    """Apply one ``--set`` to a config; a dotted key changes only that key."""
    key, equals, value = setting.partition("=")
    shown = _quoted(setting)
    if not equals or not all(key.split(".")) or key.count(".") > _DEEPEST:
        raise InputError(f"--set {shown}: must be SECTION.KEY=VALUE, for example model.C=0.2")
    try:
        tree: Any = _parse(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {shown}: {_quoted(value)!r} is not a YAML value; put quotes around text with special characters") from None
    if key == "labels" and isinstance(tree, str):
        tree = read_yaml(Path(tree))
    merged: dict[str, Any] = merge(config, nest(key, tree), whole=() if "." in key else _WHOLE)
    return merged


# The branches of unions, which pydantic adds to the location of an error.
_BRANCH = re.compile(r"str|constrained-float|dict\[.+\]|literal\[.+\]|Natural|range|choices")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _known_keys(schema: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys allowed at `path` in a schema."""
    for part in path:
        if part in schema.model_fields:
            schema = next(_sections(schema.model_fields[str(part)].annotation), schema)
    return list(schema.model_fields)


def _places_of(name: str, schema: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield the dotted keys of a schema that end with a name, but not those in lists or mappings."""
    for key, field in schema.model_fields.items():
        if key.lower() == name.lower():
            yield before + key
        if get_origin(field.annotation) in {list, dict}:
            continue
        for section in _sections(field.annotation):
            yield from _places_of(name, section, f"{before}{key}.")


def nearest(name: str, allowed: Iterable[str], these: str = "choose one of", section: str = "") -> str:
    """Return a question that suggests the nearest of the allowed names or, if none is near, a list of them.

    Parameters
    ----------
    name : str
        What was given.
    allowed : iterable of str
        What might have been meant.
    these : str
        The words before the list.
    section : str
        What to put before the name that is suggested.

    Examples
    --------
    >>> nearest("asault", ["assault", "street_harassment"])
    "did you mean 'assault'?"
    """
    names = {each.lower(): each for each in allowed}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f"did you mean {section + names[found[0]]!r}?" if found else f"{these} {', '.join(names.values())}"


def got(error: ErrorDetails, allowed: str = "") -> str:
    """Return what was given, and what is allowed instead.

    Parameters
    ----------
    error : ErrorDetails
        One of the errors that pydantic found.
    allowed : str
        What is allowed; by default, what pydantic says.
    """
    value, of_number = error["input"], {"ge", "gt", "le", "lt"} & error.get("ctx", {}).keys()
    given = _quoted(str(value) if of_number else repr(value))
    if not isinstance(value, str | int | float | None):
        given = f"a {type(value).__name__}"
    reason = "input must be a mapping of keys" if error["type"] in {"model_type", "dict_type"} else error["msg"]
    reason = (reason[:1].lower() + reason[1:]).replace(" after validation", "")
    return f"got {given}; {allowed or reason}"


def explain(error: ValidationError, origin: str, schema: type[BaseModel] = Config, example: str = "configs/default.yaml") -> str:
    """Return one line that says what is wrong with a file or setting, what was found, and what is allowed.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.
    origin : str
        The file or setting with which the line begins.
    schema : type
        The schema that was validated, to suggest the nearest valid key.
    example : str
        A file that shows valid settings.
    """
    origin = mask_password(origin)
    errors = error.errors()
    # A misspelt key causes two errors, because the right key is then missing as well. Report the misspelt one. Otherwise report the
    # deepest error, which is in the intended branch of a union.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), None) or max(errors, key=lambda each: len(each["loc"]))
    place = ".".join(str(part) for part in first["loc"] if not _BRANCH.fullmatch(str(part)))
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        near = nearest(name, _known_keys(schema, first["loc"][:-1]), "the allowed keys are", place.removesuffix(name))
        places = list(_places_of(name, schema)) if place == name else []
        deeper = [f"{key!r} (in a file, {key.rpartition('.')[2]} under {key.rpartition('.')[0]})" for key in places]
        hint = f"did you mean {' or '.join(deeper)}?" if deeper else near
        return f"{origin}: unknown key {_quoted(place)!r}; {hint}"
    if first["type"] == "missing":
        return f"{origin}: {place!r} is missing; add it (see {example})"
    if first["type"] == "value_error":
        return f"{origin}: {place or 'config'}: {first['msg'].removeprefix('Value error, ')} (see {example})"
    return f"{origin}: {place or 'config'}: {got(first)} (see {example})"


def load_config(
    overlays: Iterable[Path | str] = (),
    settings: Iterable[str] = (),
    sources: Sequence[str] = (),
    *,
    labels: LabelSet | None = None,
    **top_level: Any,
) -> Config:
    """Merge ``configs/default.yaml``, overlays, ``--set`` settings and sources into one validated config.

    Parameters
    ----------
    overlays : iterable of Path or str
        YAML files to lay over the default, in this order; ``labels`` may name a file relative to the overlay.
    settings : iterable of str
        Settings ``section.key=value``, each with a YAML value.
    sources : sequence of str
        What to use instead of ``data.sources``, unless empty.
    labels : LabelSet, optional
        What to use instead of the default's label set; overlays and settings can still change it.
    **top_level
        Values to merge into top-level keys, for example ``seed=1``.

    Raises
    ------
    InputError
        When a file cannot be read, a key is unknown (the message suggests the nearest valid one), or a type or value is wrong. Also
        when overlays, settings or sources are a single string.

    Examples
    --------
    >>> config = load_config(settings=["model.C=0.3"], sources=["data/starter"], seed=1)
    >>> config.model.C, config.seed, config.labels.names[0]
    (0.3, 1, 'workplace_harassment')
    """
    for name, given in (("overlays", overlays), ("settings", settings), ("sources", sources)):
        if isinstance(given, str | Path):
            raise InputError(f"load_config: {name} must be a list, but got {mask_password(repr(str(given)))}; put it in brackets")
    files, settings = [Path(path) for path in overlays], list(settings)
    tree = read_yaml(DEFAULT) | ({"labels": labels.model_dump(mode="json")} if labels else {})
    for path in files:
        tree = merge(tree, read_yaml(path), whole=_WHOLE)
    for setting in settings:
        tree = _assign(tree, setting)
    tree = merge(tree, {"data": {"sources": list(sources)}} if sources else {})
    tree = merge(tree, top_level, whole=_WHOLE)
    origin = ", ".join([str(path) for path in files] + [f"--set {_quoted(setting)}" for setting in settings]) or str(DEFAULT)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, origin)) from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a config as pairs of ``section.key`` and text, in order.

    Parameters
    ----------
    tree : mapping
        A config, as `Config.shown` returns it.
    prefix : str
        What to put before each key.
    """
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
