"""A checked corpus: labelled posts in disjoint splits."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from models.fitting import TrainingTokens
from models.targets import author_numbers, source_names
from models.text import normalise
from models.tokens import PostTokenizer
from pipeline.config import Split
from pipeline.corpora.near import nearly_held_out
from pipeline.corpora.swapping import swapped

SPLITS = ("train", "validation", "test")
_STRING = datasets.Value("string")
_FEATURES = dict.fromkeys(("id", "text", "author", "created_at", "source"), _STRING) | {
    "labels": datasets.List(_STRING),
    "weight": datasets.Value("float32"),
}


@dataclass(frozen=True)
class Record:
    """One labelled post. Every corpus is made of these, whatever it was loaded from."""

    id: str
    text: str
    labels: list[str]
    author: str | None = None
    created_at: str | None = None
    source: str | None = None
    weight: float = 1.0
    further: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def normalised(self) -> str:
        """The normalised text."""
        return normalise(self.text)


@dataclass(frozen=True)
class Overlap:
    """How far train repeats itself and overlaps the other splits, counted in train posts.

    Attributes
    ----------
    repeated : int
        Posts whose normalised text occurs earlier in train.
    conflicting : int
        Repeated posts whose labels differ from those of the first post with that text.
    leaked_texts, leaked_authors : int
        Posts whose normalised text, or whose author, also occurs in another split.
    leaked_nearly : int
        Posts that have a near-duplicate in another split, but not the same normalised text. Such a post was passed on as a retweet or a
        quote, with a link or a hashtag, or with a small change (see `pipeline.corpora.near.near_duplicates`).
    dropped : int
        Posts dropped from train for any of these reasons.
    """

    repeated: int
    conflicting: int
    leaked_texts: int
    leaked_nearly: int
    leaked_authors: int
    dropped: int


@dataclass(frozen=True)
class TrainingPosts:
    """What a classifier learns from.

    Attributes
    ----------
    texts : list of str, length n_posts
        Raw texts of the train posts, followed by those of the unlabelled posts.
    groups : ndarray of int64, shape (n_posts,)
        Author of each post, numbered as in `Corpus.groups`.
    Y : ndarray of 0 and 1, shape (n_train_posts, n_labels)
        Labels of the train posts.
    auxiliary : ndarray of 0 and 1, shape (n_train_posts, n_auxiliary)
        Auxiliary labels of the train posts.
    weights : ndarray of float32, shape (n_train_posts,)
        How much each train post counts in fitting.
    sources : list of str, length n_train_posts
        Source of each train post, as `models.targets.source_names` calls it.
    """

    texts: list[str]
    groups: NDArray[np.int64]
    Y: NDArray[np.int8]
    auxiliary: NDArray[np.int8]
    weights: NDArray[np.float32]
    sources: list[str]

    def tokenised(self, tokenizer: PostTokenizer) -> TrainingTokens:
        """Return the posts, normalised and tokenised, in the form that `Classifier.fit_tokens` takes."""
        return TrainingTokens(tokenizer.read(self.texts), self.Y, self.groups, self.auxiliary, self.weights, self.sources)


@dataclass(frozen=True)
class Corpus:
    """Labelled posts in disjoint splits, and what was found while checking them.

    Attributes
    ----------
    splits : datasets.DatasetDict
        Those of ``train``, ``validation`` and ``test`` that exist, or only ``all``. The columns are the fields of `Record`, with
        those in ``further`` as columns of their own. ``created_at`` is in ISO 8601.
    labels : list of str
        The label set's names, in order.
    auxiliary : list of str
        The label set's auxiliary names, in order.
    ignored : dict of str to int
        How often each of the label set's ignored labels occurs.
    passed_over : list of str
        Files and data set splits in the sources that are not named after train, validation or test.
    notes : list of str
        How the data was read, one line each: what was taken for what, and what could not be read.
    cut : Split or None
        The shares by which the posts were divided into splits; None if the data came with splits or was not divided.
    overlap : Overlap or None
        None if there is no train split.
    overlapping : ndarray of bool, shape (n_train_posts,)
        Which train posts repeat an earlier one or overlap another split and have not been dropped.
    sha256 : str
        The result of `corpus_digest`.
    unlabelled : datasets.Dataset
        Posts without labels, to be labelled by a teacher (see `models.lessons`), with the columns of `Record`. Every text occurs
        once and is not in any split (after `without_overlap`); posts by authors of splits other than train are excluded.
    """

    splits: datasets.DatasetDict
    labels: list[str]
    auxiliary: list[str]
    ignored: dict[str, int]
    passed_over: list[str]
    notes: list[str]
    cut: Split | None
    overlap: Overlap | None
    overlapping: NDArray[np.bool_]
    sha256: str
    unlabelled: datasets.Dataset

    def targets(self, split: str, names: Sequence[str]) -> NDArray[np.int8]:
        """Return the labels of a split as 0 and 1.

        Parameters
        ----------
        split : str
            One of `splits`.
        names : sequence of str
            Labels or auxiliary labels to return, one column each.

        Returns
        -------
        ndarray of int8, shape (n_posts, n_names)
        """
        rows = [[name in labels for name in names] for labels in self.splits[split]["labels"][:]]
        return np.array(rows, np.int8).reshape(len(rows), len(names))

    def groups(self, split: str) -> NDArray[np.int64]:
        """Return each post's author as a number, shape (n_posts,). A post without an author is a group of its own."""
        return author_numbers(self.splits[split]["author"][:], self.splits[split].num_rows)

    def to_learn_from(self) -> TrainingPosts:
        """Return what a classifier learns from: the train posts, followed by the unlabelled posts."""
        parts = self.splits["train"], self.unlabelled
        texts = [text for part in parts for text in part["text"][:]]
        groups = author_numbers((author for part in parts for author in part["author"][:]), len(texts))
        labels, auxiliary = self.targets("train", self.labels), self.targets("train", self.auxiliary)
        weights = np.array(parts[0]["weight"][:], np.float32)
        return TrainingPosts(texts, groups, labels, auxiliary, weights, source_names(parts[0]["source"][:], parts[0].num_rows))

    def without_overlap(self) -> "Corpus":
        """Return the corpus without train posts that repeat an earlier one or overlap another split."""
        if not self.overlapping.any():
            return self
        train = self.splits["train"].select(np.flatnonzero(~self.overlapping)).flatten_indices()
        splits = datasets.DatasetDict({**self.splits, "train": train})
        overlap = self.overlap and replace(self.overlap, dropped=int(self.overlapping.sum()))
        none_left = np.zeros(train.num_rows, bool)
        return replace(self, splits=splits, overlap=overlap, overlapping=none_left, sha256=corpus_digest(splits, self.unlabelled))

    def with_swaps(self, seed: int) -> "Corpus":
        """Return the corpus with further train posts: copies in which genders and first names are swapped (see `swapped`).

        A copy has the labels and the author of its post. If the post has no author, it shares a made-up one with its copy, so that no fold
        separates them. A post without such words is not copied. Neither is a post whose copy would repeat a post or another copy, or
        nearly repeat a post of another split.
        """
        train = self.splits["train"]
        texts = [swapped(text, f"{seed} {name}") for name, text in zip(train["id"], train["text"], strict=True)]
        written = {split: [*map(normalise, rows["text"][:])] for split, rows in self.splits.items()}
        held_out = {text for split, others in written.items() if split != "train" for text in others}
        copied: dict[str, int] = {}
        for k, (text, copy) in enumerate(zip(train["text"], texts, strict=True)):
            if text != copy:
                copied.setdefault(normalise(copy), k)
        left_out = held_out | nearly_held_out([*copied], held_out) | {*written["train"]}
        changed = [k for text, k in copied.items() if text not in left_out]
        alone = set(changed)
        authors = [
            f"author of {name}" if author is None and k in alone else author
            for k, (name, author) in enumerate(zip(train["id"], train["author"], strict=True))
        ]
        owned = train.to_dict() | {"author": authors}
        copies = {name: [values[k] for k in changed] for name, values in owned.items()}
        copies |= {"id": [f"{name} swapped" for name in copies["id"]], "text": [texts[k] for k in changed]}
        both = datasets.Dataset.from_dict({name: owned[name] + copies[name] for name in owned}, features=train.features)
        splits = datasets.DatasetDict({**self.splits, "train": both})
        overlapping = np.concatenate([self.overlapping, self.overlapping[changed]])
        notes = [*self.notes, f"{len(changed):,} train posts copied with genders and first names swapped"]
        return replace(self, splits=splits, overlapping=overlapping, notes=notes, sha256=corpus_digest(splits, self.unlabelled))

    def only_train(self) -> "Corpus":
        """Return a corpus of the train posts alone, with their own digest, so that nothing can depend on another split."""
        digest = hashlib.sha256()
        for rows, names in ((self.splits["train"], ("id", "text", "labels", "author", "weight")), (self.unlabelled, ("text", "author"))):
            for row in zip(*(rows[name][:] for name in names), strict=True):
                digest.update(json.dumps(row).encode())
        return replace(self, splits=datasets.DatasetDict(train=self.splits["train"]), sha256=digest.hexdigest())

    def column(self, split: str, name: str) -> list[str | None]:
        """Return one of the further columns of the data.

        Parameters
        ----------
        split : str
            One of `splits`.
        name : str
            One of the columns that `load_corpus` was asked for as ``further``.

        Returns
        -------
        list of str or None, length n_posts
            None for a post without a value.
        """
        values: list[str | None] = self.splits[split][further_name(name)][:]
        return values

    def is_new(self, split: str) -> NDArray[np.bool_]:
        """Return, for each post, whether its normalised text is in no other split, shape (n_posts,)."""
        known = {normalise(text) for other in self.splits if other != split for text in self.splits[other]["text"][:]}
        return np.array([normalise(text) not in known for text in self.splits[split]["text"][:]])


def further_name(name: str) -> str:
    """Return the name under which a further column is stored; a prefix keeps it apart from the fields of `Record`."""
    return f"further {name}"


def corpus_digest(splits: Mapping[str, datasets.Dataset], unlabelled: datasets.Dataset) -> str:
    """Return the SHA-256 of the splits' names and of the ids, texts and labels in them, in order, and of weights other than 1.

    Parameters
    ----------
    splits : mapping of str to datasets.Dataset
        Splits by name.
    unlabelled : datasets.Dataset
        Posts without labels, which are hashed last.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, rows in {**splits, "unlabelled": unlabelled}.items():
        columns = (rows[column][:] for column in ("id", "text", "labels", "weight"))  # lists take a tenth of the time
        for identifier, text, labels, weight in zip(*columns, strict=True):
            digest.update(json.dumps([name, identifier, text, labels, *([weight] if weight != 1 else [])]).encode())
    return digest.hexdigest()


def to_table(records: Sequence[Record], further: Sequence[str]) -> datasets.Dataset:
    """Turn records into a data set.

    Parameters
    ----------
    records : sequence of Record
    further : sequence of str
        Names of the further columns, which every record has in its ``further``.

    Returns
    -------
    datasets.Dataset
        One row per record, with the further columns under the names that `further_name` returns.
    """
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in _FEATURES}
    columns |= {further_name(name): [record.further[name] for record in records] for name in further}
    features = datasets.Features(_FEATURES | {further_name(name): _STRING for name in further})
    return datasets.Dataset.from_dict(columns, features=features)
