"""Records of a source: a file, a folder of splits, a saved or a hub data set."""

import re
from pathlib import Path
from typing import Any

import datasets

from models.errors import InputError
from pipeline.corpora.corpus import SPLITS, Record
from pipeline.corpora.reader import Reader
from pipeline.records import FILES, Row, name_of

_ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"} | {name: name for name in SPLITS}


def _split_of(stem: str) -> str | None:
    return _ALIASES.get(re.split(r"[-_.]", stem.lower())[0])


def _saved(data: Any, origin: str, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    if isinstance(data, datasets.Dataset):
        data = {None: data}
    loaded: dict[str | None, list[Record]] = {}
    for name, rows in data.items():
        split = name and _split_of(name)
        place = f"{origin}[{name}]" if name else origin
        if name and not split:
            passed_over.append(place)
            continue
        if missing := [column for column in reader.required if column not in rows.column_names]:
            raise InputError(f"{place}: no column {missing[0]!r}, found {', '.join(rows.column_names)}; set data.columns")
        if not len(rows):
            raise InputError(f"{place}: empty, no rows; give a data set with posts")
        stem = reader.stem(name or "row")
        loaded.setdefault(split, []).extend(reader.record(Row(number, fields), place, stem) for number, fields in enumerate(rows, 1))
    if not loaded:
        raise InputError(f"{origin}: no split named train, validation or test, found {', '.join(map(str, data))}; rename one")
    return loaded


def _folder(path: Path, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
        try:
            return _saved(datasets.load_from_disk(str(path)), str(path), reader, passed_over)
        except (OSError, ValueError, LookupError) as error:
            raise InputError(f"{path}: not a readable saved data set ({type(error).__name__}); save it again") from None
    loaded: dict[str | None, list[Record]] = {}
    for file in sorted(path.iterdir()):
        if not (name := name_of(file)):
            continue
        if split := _split_of(name[0]):
            loaded.setdefault(split, []).extend(reader.records(file))
        else:
            passed_over.append(str(file))
    if not loaded:
        raise InputError(f"{path}: no file named train, validation or test ({FILES}); give files, as in train=FILE")
    return loaded


def records_of(source: str, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    prefix, _, location = source.partition("=")
    role = _ALIASES.get(prefix) if location else None
    if not role:
        location = source
    path = Path(location)
    if location.startswith("hub:"):
        try:
            data = datasets.load_dataset(location.removeprefix("hub:"))
        except Exception as error:  # the hub client raises a dozen kinds
            reason = f"({type(error).__name__}); check the name and the network"
            raise InputError(f"{location}: cannot be loaded from the hub {reason}") from None
        loaded = _saved(data, location, reader, passed_over)
    elif path.is_dir():
        loaded = _folder(path, reader, passed_over)
    else:
        loaded = {None: list(reader.records(path))}
    if role:
        if len(loaded) > 1:
            raise InputError(f"{source}: holds several splits; give one file a role, as in {role}={location}/FILE")
        loaded = {role: next(iter(loaded.values()))}
    return loaded
