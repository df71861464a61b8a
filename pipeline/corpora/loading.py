"""Loads sources as one checked corpus, split by author and without overlap."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import datasets
import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from models.config import LabelSet
from models.errors import InputError
from models.targets import author_numbers
from pipeline.config import Config, Data, Split
from pipeline.corpora.corpus import SPLITS, Corpus, Record, corpus_digest, to_table
from pipeline.corpora.overlap import find_overlap
from pipeline.corpora.reader import Reader
from pipeline.corpora.sources import IN_MEMORY, UNLABELLED, Posts, location_of, records_in_memory, records_of
from pipeline.corpora.wording import fingerprint, wording
from pipeline.dates import Dates


def _split_by_author(records: Sequence[Record], shares: Split, seed: int) -> dict[str, list[Record]]:
    """Set authors aside for test first, then for validation; the rest is train."""
    rest = np.arange(len(records))
    groups = author_numbers((record.author for record in records), len(records))
    taken: dict[str, list[Record]] = {}
    for name, share in (("test", shares.test), ("validation", shares.validation)):
        if not share:
            continue
        wanted = share / (1 if name == "test" else 1 - shares.test)
        try:
            keep, away = next(GroupShuffleSplit(1, test_size=wanted, random_state=seed).split(rest, groups=groups[rest]))
        except ValueError:
            remedy = "give posts by more authors, or set data.split"
            raise InputError(f"too few authors ({len(set(groups[rest]))}) to set some aside for {name}; {remedy}") from None
        taken[name] = [records[index] for index in rest[np.sort(away)].tolist()]
        rest = rest[np.sort(keep)]
    return {"train": [records[index] for index in rest.tolist()]} | dict(reversed(taken.items()))


def _fingerprint(record: Record) -> str | None:
    return fingerprint(wording(record.normalised, normalised=True))


def _unlabelled(files: Sequence[Path], reader: Reader, splits: dict[str, list[Record]]) -> list[Record]:
    """Read posts without labels, except those whose text was seen before, passes on a held-out one, or is by a held-out author."""
    reader.labelled = False
    known = {record.normalised for records in splits.values() for record in records}
    held_out = [record for name, records in splits.items() if name != "train" for record in records]
    authors = {record.author for record in held_out if record.author}
    passed_on = {_fingerprint(record) for record in held_out} - {None}  # by these, `evaluate.py` recognises what a model has seen
    kept = []
    for file in files:
        for record in reader.records(file):
            if not (record.normalised in known or record.author in authors or _fingerprint(record) in passed_on):
                known.add(record.normalised)
                kept.append(record)
    return kept


def _dated(loaded: dict[str | None, list[Record]], column: str, source: str, notes: list[str]) -> dict[str | None, list[Record]]:
    """Replace the dates of a source's records by dates in ISO 8601, and add what a user should know about them to `notes`."""
    dates = Dates(column)
    found = [dates.read(record.created_at) for records in loaded.values() for record in records]
    settled = iter(dates.settled(found))
    notes += [f"{source}: {note}" for note in dates.notes()]
    return {split: [replace(record, created_at=next(settled)) for record in records] for split, records in loaded.items()}


def _by_split(data: Data, reader: Reader, posts: Posts | None, passed_over: list[str]) -> dict[str | None, list[Record]]:
    column = data.columns.created_at or "created_at"
    if posts is not None:
        return _dated(records_in_memory(posts, reader, passed_over), column, IN_MEMORY, reader.notes)
    loaded: dict[str | None, list[Record]] = defaultdict(list)
    labelled = [source for source in data.sources if not source.startswith(UNLABELLED)]
    if not labelled:
        raise InputError("data.sources holds unlabelled posts only; add a source with labelled posts, such as train=FILE")
    for source in labelled:
        # Each source is dated by itself, because one may write the month first and another the day.
        for name, records in _dated(records_of(source, reader, passed_over), column, source, reader.notes).items():
            loaded[name].extend(records)
    if None in loaded and len(loaded) > 1:
        raise InputError("some sources have splits and some do not; assign those without to a split, as in train=FILE")
    return loaded


def _check_weights(data: Data, loaded: dict[str | None, list[Record]]) -> None:
    """Raise an error if a weight is given for a source that no post has."""
    found = sorted({record.source or "none" for records in loaded.values() for record in records})
    if unknown := [name for name in data.weights if name not in found]:
        raise InputError(f"data.weights: no post has the source {unknown[0]!r}; the sources are {', '.join(found)}")


def load_corpus(
    data: Data,
    labels: LabelSet,
    *,
    seed: int,
    cut: bool = True,
    further: Sequence[str] = (),
    posts: Posts | None = None,
    without_labels: str = "",
    check_weights: bool = False,
) -> Corpus:
    """Load, check and split a corpus.

    Parameters
    ----------
    data : Data
        Its sources are files, folders with files named after splits, folders written by ``save_to_disk``, or ``hub:NAME``.
        A prefix assigns a source to a split, as in ``train=FILE``; the posts in ``unlabelled=FILE`` need no labels.
    labels : LabelSet
        Labels to keep. The data must not hold others, unless they are listed as ignored.
    seed : int
        Random seed for assigning authors to splits; used only if the data comes without splits.
    cut : bool
        Whether to split data that comes without splits into train, validation and test; otherwise all of it is the split ``all``.
    further : sequence of str
        Other columns of the data to keep, where rows have them; `Corpus.column` returns them.
    posts : DataFrame, Dataset, or mapping of split names to these, optional
        Labelled posts in memory, read instead of ``data.sources``; the other settings of `data` apply to them too.
    without_labels : str
        What a user can do with posts that have no labels, for the message if a source has none.
    check_weights : bool
        Whether each source in ``data.weights`` must have a post, as in training.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        If a source, row, label or id cannot be used. The message names the file, the row and how to fix it.

    Examples
    --------
    >>> from pipeline.config_files import load_config
    >>> config = load_config()
    >>> corpus = load_corpus(config.data, config.labels, seed=config.seed)
    >>> {name: rows.num_rows for name, rows in corpus.splits.items()}
    {'train': 1500, 'validation': 213, 'test': 426}
    """
    reader, passed_over = Reader(labels, data.columns, further, data.weights, data.unsure, without_labels), list[str]()
    loaded = _by_split(data, reader, posts, passed_over)
    if check_weights:
        _check_weights(data, loaded)
    if None in loaded:
        splits = _split_by_author(loaded[None], data.split, seed) if cut else {"all": loaded[None]}
    else:
        splits = {name: loaded[name] for name in SPLITS if name in loaded}
    overlap, overlapping = find_overlap(splits) if "train" in splits else (None, np.zeros(0, bool))
    kept = splits | {"train": list(compress(splits["train"], ~overlapping))} if overlap else splits
    files = [] if posts is not None else [location_of(source) for source in data.sources if source.startswith(UNLABELLED)]
    unlabelled = to_table(_unlabelled(files, reader, kept), further)
    if overlap and data.drop_overlap:
        overlap = replace(overlap, dropped=int(overlapping.sum()))
        splits, overlapping = kept, np.zeros(len(kept["train"]), bool)
    tables = datasets.DatasetDict({name: to_table(records, further) for name, records in splits.items()})
    read = {location_of(source) for source in data.sources}
    passed_over = [path for path in passed_over if Path(path) not in read]
    return Corpus(
        splits=tables,
        labels=labels.names,
        auxiliary=labels.auxiliary,
        ignored=dict(reader.ignored),
        passed_over=passed_over,
        notes=reader.notes,
        cut=data.split if None in loaded and cut else None,
        overlap=overlap,
        overlapping=overlapping,
        sha256=corpus_digest(tables, unlabelled),
        unlabelled=unlabelled,
    )


def load_training_corpus(config: Config, posts: Posts | None = None) -> Corpus:
    """Load the corpus that a config names, for training; with ``data.swaps``, copies of train posts are added.

    Parameters
    ----------
    config : Config
        Its data, label set and seed are used.
    posts : DataFrame, Dataset, or mapping of split names to these, optional
        Read instead of ``data.sources``, as by `load_corpus`.

    Raises
    ------
    InputError
        See `load_corpus`; also if there are no train posts, or no post has a source that ``data.weights`` names.
    """
    remedy = "for posts without labels: --data unlabelled=FILE"
    corpus = load_corpus(config.data, config.labels, seed=config.seed, posts=posts, without_labels=remedy, check_weights=True)
    if "train" not in corpus.splits or not corpus.splits["train"].num_rows:
        dropped = corpus.overlap.dropped if corpus.overlap else 0
        if dropped:
            why = "because each repeats a post of another split, exactly or nearly, or shares its author"
            raise InputError(f"all {dropped:,} train posts were dropped, {why}; add others, or set data.drop_overlap=false")
        raise InputError("the data has no train posts; add some, as in --data train=FILE")
    return corpus.with_swaps(config.seed) if config.data.swaps else corpus
