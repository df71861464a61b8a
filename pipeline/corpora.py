"""Labelled posts from files, folders, saved and hub data sets, as one checked corpus with disjoint splits."""

import difflib
import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from pipeline.config import Columns, Data, LabelSet, Split
from pipeline.errors import InputError
from pipeline.records import FILES, BrokenRow, Row, name_of, read_rows
from pipeline.text import normalise

SPLITS = ("train", "validation", "test")
_ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"} | {name: name for name in SPLITS}
_UNLABELLED = "unlabelled="
_STRING = datasets.Value("string")
_FEATURES = dict.fromkeys(("id", "text", "author", "created_at", "source"), _STRING) | {"labels": datasets.List(_STRING)}


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled post; every corpus, whatever it came from, is made of these."""

    id: str
    text: str
    labels: list[str]
    author: str | None = None
    created_at: str | None = None
    source: str | None = None
    further: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlap:
    """What splits share, counted in train posts.

    Attributes
    ----------
    repeated : int
        Posts whose normalised text stands earlier in train.
    conflicting : int
        Of these, posts whose labels differ from those of the first.
    leaked_texts, leaked_authors : int
        Posts whose normalised text, or whose author, is in another split too.
    dropped : int
        Posts taken out of train for one of these reasons.
    """

    repeated: int
    conflicting: int
    leaked_texts: int
    leaked_authors: int
    dropped: int


@dataclass(frozen=True)
class Corpus:
    """A checked corpus.

    Attributes
    ----------
    splits : datasets.DatasetDict
        Of ``train``, ``validation``, ``test`` those that exist (or ``all``), with the columns of `Record`, those in ``further``
        beside the others.
    labels : list of str
        The label set's names, in order.
    auxiliary : list of str
        The label set's auxiliary names, in order.
    ignored : dict of str to int
        Occurrences of labels that the set knowingly leaves out.
    passed_over : list of str
        Files in given folders that are no split.
    overlap : Overlap or None
        None where there is no train split.
    sha256 : str
        Digest of splits, ids, texts and labels, in order.
    unlabelled : datasets.Dataset
        Posts without labels for a teacher to answer for (see `models.lessons`), with the columns of `Record`; none of their texts
        is in a split or comes twice, none of their authors is in another split than train.
    """

    splits: datasets.DatasetDict
    labels: list[str]
    auxiliary: list[str]
    ignored: dict[str, int]
    passed_over: list[str]
    overlap: Overlap | None
    sha256: str
    unlabelled: datasets.Dataset

    def targets(self, split: str, names: Sequence[str]) -> NDArray[np.int8]:
        """Labels of a split as 0 and 1, shape (n_posts, n_names)."""
        rows = [[name in labels for name in names] for labels in self.splits[split]["labels"]]
        return np.array(rows, np.int8).reshape(len(rows), len(names))

    def groups(self, split: str) -> NDArray[np.int64]:
        """Author of each post as a number, shape (n_posts,); a post without author is a group of its own."""
        return _groups(self.splits[split]["author"])

    def to_learn_from(self) -> tuple[list[str], NDArray[np.int64]]:
        """Normalised texts of train posts and, behind them, of unlabelled ones; and the author of each as a number, as of `groups`."""
        parts = self.splits["train"], self.unlabelled
        texts = [normalise(text) for part in parts for text in part["text"]]
        return texts, _groups(author for part in parts for author in part["author"])

    def column(self, split: str, name: str) -> list[str | None]:
        """One of the further columns, length n_posts; None for a post that lacks it."""
        return list(self.splits[split][_further(name)])

    def is_new(self, split: str) -> NDArray[np.bool_]:
        """Whether each post's normalised text is in no other split, shape (n_posts,)."""
        known = {normalise(text) for other in self.splits if other != split for text in self.splits[other]["text"]}
        return np.array([normalise(text) not in known for text in self.splits[split]["text"]])


def _further(name: str) -> str:
    """Name that a further column of the data has here: `Record` may have one of that name."""
    return f"further {name}"


def _groups(authors: Iterable[str | None]) -> NDArray[np.int64]:
    keys = [(0, str(number)) if author is None else (1, author) for number, author in enumerate(authors)]
    index: dict[tuple[int, str], int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)


def _names(value: Any, place: str) -> list[str]:
    if isinstance(value, str):
        value = [name.strip() for name in value.split(";") if name.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise InputError(f'{place}: labels are no list of names ({type(value).__name__}); give one, or names joined by ";"')
    return list(value)


def _shown(value: Any) -> str:
    """A value as a message may show it: columns can be mixed up, and a post must not end up in a log."""
    if isinstance(value, str) and not re.fullmatch(r"[\w.:/-]{0,40}", value):
        return f"a text of {len(value)} characters"
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def _flagged(fields: dict[str, Any], columns: dict[str, str], place: str) -> list[str]:
    names = []
    for name, column in columns.items():
        if str(fields.get(column)) not in {"0", "1", "False", "True"}:
            raise InputError(f"{place}: column {column!r} holds {_shown(fields.get(column))}; allowed are 0 and 1")
        if str(fields[column]) in {"1", "True"}:
            names.append(name)
    return names


def _optional(fields: dict[str, Any], column: str | None) -> str | None:
    value = fields.get(column) if column else None
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


class _Reader:
    """Turns rows into records, holding what must be unique or counted over all sources."""

    def __init__(self, labels: LabelSet, columns: Columns, further: Sequence[str]) -> None:
        self.labels, self.columns, self.further = labels, columns, further
        self.known = [*labels.names, *labels.auxiliary]
        self.labelled = True  # whether rows are expected to have labels
        self.places: dict[str, str] = {}
        self.stems: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()

    @property
    def required(self) -> list[str]:
        if not self.labelled:
            return [column for column in (self.columns.id, self.columns.text) if column]
        labels = self.columns.labels
        named = [labels] if isinstance(labels, str) else list(labels.values())
        return [column for column in (self.columns.id, self.columns.text, *named) if column]

    def stem(self, name: str) -> str:
        """What numbered ids begin with: a file's or split's name, and for the second of that name a 2."""
        self.stems[name] += 1
        return name if self.stems[name] == 1 else f"{name}{self.stems[name]}"

    def records(self, path: Path) -> Iterator[Record]:
        stem = self.stem(path.stem)
        for row in read_rows(path, self.required):
            if isinstance(row, BrokenRow):
                raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
            yield self.record(row, str(path), stem)

    def record(self, row: Row, origin: str, stem: str) -> Record:
        place, columns, fields = f"{origin}, row {row.number}", self.columns, row.fields
        for column in self.required:
            if column not in fields:
                raise InputError(f"{place}: no column {column!r}; correct the row or set data.columns")
        text = fields[columns.text]
        if not isinstance(text, str) or not text.strip():
            got = "an empty text" if isinstance(text, str) else f"a text of type {type(text).__name__}"
            raise InputError(f"{place}: {got}; every post needs a non-empty string, delete the row or correct it")
        identifier = f"{stem}-{row.number}" if columns.id is None else fields[columns.id]
        if not isinstance(identifier, str | int) or identifier == "":
            raise InputError(f"{place}: id is {_shown(identifier)}; every post needs one, or set data.columns.id=null to number rows")
        identifier = str(identifier)
        if identifier in self.places:
            raise InputError(f"{place}: id {_shown(identifier)} stands already at {self.places[identifier]}; make ids unique")
        self.places[identifier] = place
        return Record(
            identifier,
            text,
            self._known(fields, place) if self.labelled else [],
            _optional(fields, columns.author),
            _optional(fields, columns.created_at),
            _optional(fields, columns.source),
            {name: _optional(fields, name) for name in self.further},
        )

    def _known(self, fields: dict[str, Any], place: str) -> list[str]:
        column = self.columns.labels
        names = _names(fields[column], place) if isinstance(column, str) else _flagged(fields, column, place)
        for name in names:
            if name in self.labels.ignored:
                self.ignored[name] += 1
            elif name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(self.known)}"
                raise InputError(f"{place}: unknown label {_shown(name)}; {hint} (to leave it out knowingly, add it to labels.ignored)")
        return [name for name in self.known if name in names]


def _split_of(stem: str) -> str | None:
    return _ALIASES.get(re.split(r"[-_.]", stem.lower())[0])


def _saved(data: Any, origin: str, reader: _Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
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


def _folder(path: Path, reader: _Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
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


def _source(source: str, reader: _Reader, passed_over: list[str]) -> dict[str | None, list[Record]]:
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


def _cut(records: Sequence[Record], shares: Split, seed: int) -> dict[str, list[Record]]:
    """Cut test, then validation, off by author."""
    rest = np.arange(len(records))
    groups = _groups([record.author for record in records])
    taken: dict[str, list[Record]] = {}
    for name, share in (("test", shares.test), ("validation", shares.validation)):
        if not share:
            continue
        wanted = share / (1 if name == "test" else 1 - shares.test)
        try:
            keep, away = next(GroupShuffleSplit(1, test_size=wanted, random_state=seed).split(rest, groups=groups[rest]))
        except ValueError:
            raise InputError(f"too few authors ({len(set(groups[rest]))}) to cut off {name}; give more posts or set data.split") from None
        taken[name] = [records[index] for index in rest[np.sort(away)].tolist()]
        rest = rest[np.sort(keep)]
    return {"train": [records[index] for index in rest.tolist()]} | dict(reversed(taken.items()))


def _without_overlap(splits: dict[str, list[Record]], *, drop: bool) -> Overlap:
    """Count what train shares with itself and with the other splits; drop it in place if asked."""
    held_out = [record for name, records in splits.items() if name != "train" for record in records]
    texts = {normalise(record.text) for record in held_out}
    authors = {record.author for record in held_out if record.author}
    first: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    kept = []
    for record in splits["train"]:
        key = normalise(record.text)
        repeated, leaked, shared = key in first, key in texts, record.author in authors
        counts.update(repeated=repeated, leaked_texts=leaked, leaked_authors=shared)
        counts.update(conflicting=repeated and first[key] != record.labels)
        first.setdefault(key, record.labels)
        if not (drop and (repeated or leaked or shared)):
            kept.append(record)
    dropped = len(splits["train"]) - len(kept)
    splits["train"] = kept
    return Overlap(counts["repeated"], counts["conflicting"], counts["leaked_texts"], counts["leaked_authors"], dropped)


def _digest(splits: dict[str, list[Record]]) -> str:
    digest = hashlib.sha256()
    for name, records in splits.items():
        for record in records:
            digest.update(json.dumps([name, record.id, record.text, record.labels]).encode())
    return digest.hexdigest()


def _table(records: Sequence[Record], further: Sequence[str]) -> datasets.Dataset:
    rows = [asdict(record) | {_further(name): value for name, value in record.further.items()} for record in records]
    features = datasets.Features(_FEATURES | {_further(name): _STRING for name in further})
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def _unlabelled(files: Sequence[str], reader: _Reader, splits: dict[str, list[Record]]) -> list[Record]:
    """Read posts without labels, less those whose text is known already or whose author is held out."""
    reader.labelled = False
    known = {normalise(record.text) for records in splits.values() for record in records}
    authors = {record.author for name, records in splits.items() if name != "train" for record in records if record.author}
    kept = []
    for file in files:
        for record in reader.records(Path(file)):
            text = normalise(record.text)
            if text not in known and record.author not in authors:
                known.add(text)
                kept.append(record)
    return kept


def load_corpus(data: Data, labels: LabelSet, *, seed: int, cut: bool = True, further: Sequence[str] = ()) -> Corpus:
    """Load, check and split a corpus.

    Parameters
    ----------
    data : Data
        Sources: a file, a folder whose files are named after splits, a folder written by
        ``save_to_disk``, or ``hub:NAME``; ``train=FILE`` and the like give a file a role. The rows of ``unlabelled=FILE`` need
        no labels.
    labels : LabelSet
        Labels that count; others must be listed as ignored.
    seed : int
        Decides which authors go where when the data comes without splits.
    cut : bool
        Whether to cut data without splits into train, validation and test; else it is the split ``all``.
    further : sequence of str
        Columns of the data to keep beside those of a record, where rows have them: `Corpus.column` gives them.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        Naming file, row and remedy: for a source, row, label or id that cannot be used.
    """
    reader, passed_over = _Reader(labels, data.columns, further), list[str]()
    loaded: dict[str | None, list[Record]] = defaultdict(list)
    labelled = [source for source in data.sources if not source.startswith(_UNLABELLED)]
    if not labelled:
        raise InputError("data.sources holds unlabelled posts only; give labelled ones too")
    for source in labelled:
        for name, records in _source(source, reader, passed_over).items():
            loaded[name].extend(records)
    if None in loaded and len(loaded) > 1:
        raise InputError("some sources have splits and some have not; give the latter a role, as in train=FILE")
    if None in loaded:
        splits = _cut(loaded[None], data.split, seed) if cut else {"all": loaded[None]}
    else:
        splits = {name: loaded[name] for name in SPLITS if name in loaded}
    overlap = _without_overlap(splits, drop=data.drop_overlap) if "train" in splits else None
    files = [source.removeprefix(_UNLABELLED) for source in data.sources if source.startswith(_UNLABELLED)]
    unlabelled = _unlabelled(files, reader, splits)
    tables = datasets.DatasetDict({name: _table(records, further) for name, records in splits.items()})
    digest = _digest(splits | ({"unlabelled": unlabelled} if unlabelled else {}))
    ignored, passed_over = dict(reader.ignored), [path for path in passed_over if Path(path) not in map(Path, files)]
    return Corpus(tables, labels.names, labels.auxiliary, ignored, passed_over, overlap, digest, _table(unlabelled, further))


if __name__ == "__main__":
    from pipeline import annotations, terminal

    terminal.run(annotations.join_command)
