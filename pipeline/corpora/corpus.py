"""A checked corpus: labelled posts in disjoint splits."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import datasets
import numpy as np
from numpy.typing import NDArray

from models.fitting import TrainingTokens
from models.text import normalise
from models.tokens import PostTokenizer

SPLITS = ("train", "validation", "test")
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
class TrainingPosts:
    """What a classifier learns from.

    Attributes
    ----------
    texts : list of str, length n_posts
        Normalised texts of train posts and, behind them, of unlabelled ones.
    groups : ndarray of int64, shape (n_posts,)
        Author of each post, as of `Corpus.groups`.
    Y : ndarray of 0 and 1, shape (n_train_posts, n_labels)
    auxiliary : ndarray of 0 and 1, shape (n_train_posts, n_auxiliary)
    """

    texts: list[str]
    groups: NDArray[np.int64]
    Y: NDArray[np.int8]
    auxiliary: NDArray[np.int8]

    def tokenised(self, tokenizer: PostTokenizer) -> TrainingTokens:
        """The posts as `Classifier.fit_tokens` takes them."""
        return TrainingTokens(tokenizer(self.texts), self.Y, self.groups, self.auxiliary)


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
    overlapping : ndarray of bool, shape (n_train_posts,)
        Train posts that `overlap` counts and that are still there.
    sha256 : str
        Digest of splits, ids, texts and labels, in order.
    unlabelled : datasets.Dataset
        Posts without labels for a teacher to answer for (see `models.lessons`), with the columns of `Record`; none of their texts
        comes twice or is in a split once train is without overlap, none of their authors is in another split than train.
    """

    splits: datasets.DatasetDict
    labels: list[str]
    auxiliary: list[str]
    ignored: dict[str, int]
    passed_over: list[str]
    overlap: Overlap | None
    overlapping: NDArray[np.bool_]
    sha256: str
    unlabelled: datasets.Dataset

    def targets(self, split: str, names: Sequence[str]) -> NDArray[np.int8]:
        """Labels of a split as 0 and 1, shape (n_posts, n_names)."""
        rows = [[name in labels for name in names] for labels in self.splits[split]["labels"]]
        return np.array(rows, np.int8).reshape(len(rows), len(names))

    def groups(self, split: str) -> NDArray[np.int64]:
        """Author of each post as a number, shape (n_posts,); a post without author is a group of its own."""
        return group_numbers(self.splits[split]["author"])

    def to_learn_from(self) -> TrainingPosts:
        """What a classifier learns from: train posts and, behind them, unlabelled ones."""
        parts = self.splits["train"], self.unlabelled
        texts = [normalise(text) for part in parts for text in part["text"]]
        groups = group_numbers(author for part in parts for author in part["author"])
        return TrainingPosts(texts, groups, self.targets("train", self.labels), self.targets("train", self.auxiliary))

    def without_overlap(self) -> "Corpus":
        """The corpus less the train posts that repeat an earlier one, or share text or author with another split."""
        if not self.overlapping.any():
            return self
        train = self.splits["train"].select(np.flatnonzero(~self.overlapping)).flatten_indices()
        splits = datasets.DatasetDict({**self.splits, "train": train})
        overlap = self.overlap and replace(self.overlap, dropped=int(self.overlapping.sum()))
        none_left = np.zeros(train.num_rows, bool)
        return replace(self, splits=splits, overlap=overlap, overlapping=none_left, sha256=digest_of(splits, self.unlabelled))

    def only_train(self) -> "Corpus":
        """The corpus of the train posts alone, with a digest of these, so that nothing later can depend on another split."""
        digest = hashlib.sha256()
        for row in self.splits["train"].select_columns(["id", "text", "labels", "author"]):
            digest.update(json.dumps(list(row.values())).encode())
        for row in self.unlabelled.select_columns(["text", "author"]):
            digest.update(json.dumps(list(row.values())).encode())
        return replace(self, splits=datasets.DatasetDict(train=self.splits["train"]), sha256=digest.hexdigest())

    def column(self, split: str, name: str) -> list[str | None]:
        """One of the further columns, length n_posts; None for a post that lacks it."""
        return list(self.splits[split][further_name(name)])

    def is_new(self, split: str) -> NDArray[np.bool_]:
        """Whether each post's normalised text is in no other split, shape (n_posts,)."""
        known = {normalise(text) for other in self.splits if other != split for text in self.splits[other]["text"]}
        return np.array([normalise(text) not in known for text in self.splits[split]["text"]])


def further_name(name: str) -> str:
    """Name that a further column of the data has here: `Record` may have one of that name."""
    return f"further {name}"


def group_numbers(authors: Iterable[str | None]) -> NDArray[np.int64]:
    """Authors as numbers, in the order in which they first come; each post without author gets one of its own."""
    keys = [(0, str(number)) if author is None else (1, author) for number, author in enumerate(authors)]
    index: dict[tuple[int, str], int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)


def digest_of(splits: Mapping[str, datasets.Dataset], unlabelled: datasets.Dataset) -> str:
    """SHA-256 of splits, ids, texts and labels, in order."""
    digest = hashlib.sha256()
    for name, rows in {**splits, "unlabelled": unlabelled}.items():
        for identifier, text, labels in zip(rows["id"], rows["text"], rows["labels"], strict=True):
            digest.update(json.dumps([name, identifier, text, labels]).encode())
    return digest.hexdigest()


def to_table(records: Sequence[Record], further: Sequence[str]) -> datasets.Dataset:
    """Records as a data set, with their further columns."""
    rows = [asdict(record) | {further_name(name): value for name, value in record.further.items()} for record in records]
    features = datasets.Features(_FEATURES | {further_name(name): _STRING for name in further})
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)
