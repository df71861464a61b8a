"""Reads the records of a source: a file, a folder of splits, a saved or Hugging Face hub data set, or a table in memory."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pandas as pd
import pyarrow as pa

from models.config import find_file
from models.errors import InputError
from pipeline.corpora.class_names import with_class_names
from pipeline.corpora.corpus import SPLITS, Record
from pipeline.corpora.reader import Reader
from pipeline.records import FILES, Row, name_of

# Posts in memory: one table, or one for each split.
Posts: TypeAlias = pd.DataFrame | datasets.Dataset | Mapping[str, pd.DataFrame | datasets.Dataset]
IN_MEMORY = "posts in memory"
UNLABELLED = "unlabelled="
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
        if not len(rows):
            raise InputError(f"{place}: has no rows; give a data set that has posts")
        numbered = (Row(number, fields) for number, fields in enumerate(rows, 1))
        loaded.setdefault(split, []).extend(reader.table(with_class_names(rows.features, numbered), place, name or "row"))
    if not loaded:
        raise InputError(f"{origin}: no split is named train, validation or test; found {', '.join(map(str, data))}; rename a split")
    return loaded


def _as_dataset(table: pd.DataFrame | datasets.Dataset, name: str) -> datasets.Dataset:
    if isinstance(table, datasets.Dataset):
        return table
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{name} must be a DataFrame or a datasets.Dataset, but got {type(table).__name__}")
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise InputError(f"{name}: several columns have the name {repeated[0]!r}; rename all but one")
    table = table.astype(dict.fromkeys(table.columns[table.dtypes == "category"], object))  # Arrow would store numbers
    try:
        return datasets.Dataset.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(
            f"{name}: a column holds values of several types, or of a type that Arrow cannot hold ({type(error).__name__}); "
            "convert the column to one type"
        ) from None


def records_in_memory(posts: Posts, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    """Read posts from tables in memory.

    Parameters
    ----------
    posts : DataFrame, Dataset, or mapping of str to one of these
        A mapping, such as a ``DatasetDict``, has the splits as its keys.
    reader : Reader
    passed_over : list of str
        List that receives the names of tables that are not named after a split.

    Returns
    -------
    dict of str or None to list of Record
        By split; None for posts without one.

    Raises
    ------
    InputError
        If a table or a row cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> from pipeline.config_files import load_config
    >>> config = load_config()
    >>> posts = pd.DataFrame({"id": ["1"], "text": ["I believe you."], "labels": [["solidarity_support"]]})
    >>> records_in_memory(posts, Reader(config.labels, config.data.columns, ()), [])[None][0].labels
    ['solidarity_support']
    """
    if isinstance(posts, Mapping):
        tables = {name: _as_dataset(table, f"posts[{name!r}]") for name, table in posts.items()}
        return _saved(tables, "posts", reader, passed_over)
    return _saved(_as_dataset(posts, "posts"), "posts", reader, passed_over)


def _folder(path: Path, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
        try:
            return _saved(datasets.load_from_disk(str(path)), str(path), reader, passed_over)
        except (OSError, ValueError, LookupError) as error:
            raise InputError(
                f"{path}: is not a readable saved data set ({type(error).__name__}); save it again with save_to_disk"
            ) from None
    loaded: dict[str | None, list[Record]] = {}
    for file in sorted(path.iterdir()):
        if not (name := name_of(file)):
            continue
        if split := _split_of(name[0]):
            loaded.setdefault(split, []).extend(reader.records(file))
        else:
            passed_over.append(str(file))
    if not loaded:
        raise InputError(f"{path}: no file named train, validation or test ({FILES}); rename a file, or give it a split, as in train=FILE")
    return loaded


def _role_of(source: str) -> tuple[str | None, str]:
    """Return the split that a source is assigned to, if any, and the rest of it."""
    prefix, _, location = source.partition("=")
    role = _ALIASES.get(prefix) if location else None
    return (role, location) if role else (None, source)


def location_of(source: str) -> Path:
    """Return the file or folder of a source; the name of one on the hub stays as it is.

    Parameters
    ----------
    source : str
        As for `records_of`, or ``unlabelled=FILE``.

    Examples
    --------
    >>> location_of("dev=posts/held-out.jsonl").name
    'held-out.jsonl'
    """
    _, location = _role_of(source.removeprefix(UNLABELLED))
    path = Path(location)
    # The corpora of this repository are found from any folder.
    return find_file(location) if not path.exists() and find_file(location).exists() else path


def records_of(source: str, reader: Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
    """Read a source.

    Parameters
    ----------
    source : str
        File, folder, saved data set or ``hub:NAME``, optionally assigned to a split, as in ``train=FILE``.
    reader : Reader
        Turns rows into records, and counts what occurs in all sources.
    passed_over : list of str
        List that receives the files and splits that are not named after train, validation or test.

    Returns
    -------
    dict of str or None to list of Record
        Records by split; the key None holds posts that are not assigned to one.

    Raises
    ------
    InputError
        If the source cannot be used. The message names it and how to fix it.
    """
    role, location = _role_of(source)
    path = location_of(source)
    if location.startswith("hub:"):
        try:
            data = datasets.load_dataset(location.removeprefix("hub:"))
        except Exception as error:  # the hub client raises a dozen kinds of exceptions
            reason = f"({type(error).__name__}); check the name and the network"
            raise InputError(f"{location}: cannot be loaded from the hub {reason}") from None
        loaded = _saved(data, location, reader, passed_over)
    elif path.is_dir():
        loaded = _folder(path, reader, passed_over)
    else:
        loaded = {None: reader.records(path)}
    if role:
        if len(loaded) > 1:
            raise InputError(f"{source}: holds several splits; assign a single file, as in {role}={location}/FILE")
        loaded = {role: next(iter(loaded.values()))}
    return loaded
