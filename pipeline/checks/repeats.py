"""Finds repeated posts, authors in several splits, and labels that contradict each other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Literal, Self

from models.text import normalise
from pipeline.checks.findings import (
    Conflicts,
    ExactConflicts,
    LabelConflicts,
    NearConflicts,
    Pair,
    Repeats,
    SharedAuthors,
    SplitChecks,
    SplitCounts,
)
from pipeline.corpora import Corpus
from pipeline.corpora.near import NEAR, near_duplicates
from pipeline.corpora.wording import SHORT, count_words, wording


@dataclass(frozen=True, slots=True)
class _Post:
    id: str
    split: str
    text: str  # normalised
    labels: frozenset[str]
    author: str | None


def _posts(corpus: Corpus) -> list[_Post]:
    columns = ("id", "text", "labels", "author")
    return [
        _Post(identifier, split, normalise(text), frozenset(labels), author)
        for split, rows in corpus.splits.items()
        for identifier, text, labels, author in zip(*(rows[column] for column in columns), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Found:
    """Posts grouped by text.

    `groups` lists the posts of each text, and `short` tells which texts have too few words to look for near-duplicates. `near` lists pairs
    of groups whose texts are nearly equal, and `first` holds each group's first post in each split.
    """

    posts: list[_Post]
    groups: list[list[int]]
    short: list[bool]
    near: list[tuple[int, int, float]]
    first: list[dict[str, int]]

    @classmethod
    def among(cls, posts: list[_Post]) -> Self:
        by_text: defaultdict[str, list[int]] = defaultdict(list)
        for number, post in enumerate(posts):
            by_text[post.text].append(number)
        groups = list(by_text.values())
        first = [{posts[number].split: number for number in reversed(group)} for group in groups]
        wordings = [wording(text, normalised=True) for text in by_text]
        short = [count_words(words) < SHORT for words in wordings]
        return cls(posts, groups, short, near_duplicates(wordings, first), first)


def _repeats(found: _Found, splits: Sequence[str]) -> list[Repeats]:
    """Count, for each pair of splits, posts of the first whose text is in the second, exactly or else nearly."""
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for one, other, _ in found.near:
        neighbours[one].append(other)
        neighbours[other].append(one)
    counts: Counter[tuple[str, str, str]] = Counter()
    for number, group in enumerate(found.groups):
        for post, there in product(group, splits):
            here = found.posts[post].split
            # Within one split, only posts that repeat an earlier one count, so the first is not counted.
            before = post if here == there else len(found.posts)
            if found.first[number].get(there, before) < before:
                counts[here, there, "exact"] += 1
            elif any(found.first[near].get(there, before) < before for near in neighbours[number]):
                counts[here, there, "near"] += 1
    return [
        Repeats(split=here, other=there, exact=counts[here, there, "exact"], near=counts[here, there, "near"])
        for here, there in product(splits, splits)
    ]


def _conflicts(found: _Found, names: Sequence[str]) -> Conflicts:
    """Count texts with several sets of labels, and pairs of nearly equal texts with different sets."""
    given = [{found.posts[number].labels for number in group} for group in found.groups]
    texts = [number for number, sets in enumerate(given) if len(sets) > 1]
    # A text that is quoted in a longer one need not have the same labels.
    pairs = [(one, other) for one, other, similarity in found.near if similarity >= NEAR and given[one] != given[other]]
    exact, near = [given[number] for number in texts], [given[one] | given[other] for one, other in pairs]

    def posts(numbers: Iterable[int]) -> int:
        return sum(len(found.groups[number]) for number in set(numbers))

    def disputed(cases: Iterable[set[frozenset[str]]], name: str) -> int:
        return sum(len({name in labels for labels in sets}) > 1 for sets in cases)

    return Conflicts(
        exact=ExactConflicts(texts=len(texts), posts=posts(texts)),
        near=NearConflicts(pairs=len(pairs), posts=posts(chain.from_iterable(pairs))),
        labels={name: LabelConflicts(exact=disputed(exact, name), near=disputed(near, name)) for name in names},
    )


def _authors(posts: Sequence[_Post], splits: Sequence[str]) -> SharedAuthors:
    """Count authors in more than one split, and their posts."""
    where: defaultdict[str, set[str]] = defaultdict(set)
    for post in posts:
        if post.author:
            where[post.author].add(post.split)
    shared = {author for author, found in where.items() if len(found) > 1}
    concerned = Counter(post.split for post in posts if post.author in shared)
    return SharedAuthors(known=len(where), in_several_splits=len(shared), posts={split: concerned[split] for split in splits})


def _pair(one: _Post, other: _Post, similarity: float, kind: Literal["exact", "near"]) -> Pair:
    return Pair(
        kind=kind,
        similarity=round(similarity, 4),
        split=one.split,
        id=one.id,
        labels=sorted(one.labels),
        other_split=other.split,
        other_id=other.id,
        other_labels=sorted(other.labels),
        conflict=similarity >= NEAR and one.labels != other.labels,
    )


def _pairs(found: _Found) -> list[Pair]:
    """List pairs to look at: across splits first, then the most similar. Only first posts are paired, to keep the list short."""
    pairs: dict[tuple[int, int], tuple[float, Literal["exact", "near"]]] = {}
    for group, first in zip(found.groups, found.first, strict=True):
        pairs |= {(min(i, j), max(i, j)): (1.0, "exact") for i, j in product(first.values(), group) if i != j}
    for one, other, similarity in found.near:
        between = product(found.first[one].values(), found.first[other].values())
        pairs |= {(min(i, j), max(i, j)): (similarity, "near") for i, j in between}
    posts = found.posts
    ranked = sorted(pairs.items(), key=lambda pair: (posts[pair[0][0]].split == posts[pair[0][1]].split, -pair[1][0], pair[0]))
    return [_pair(posts[i], posts[j], *what) for (i, j), what in ranked]


def check_splits(corpus: Corpus) -> SplitChecks:
    """Look for repeated posts, authors in several splits, and labels that contradict each other.

    Texts are equal if they are the same after `normalise`. They are near-duplicates if they share four fifths of the runs of five
    characters in their words, or if one contains the whole of the other (see `pipeline.corpora.near.near_duplicates`). Words that are added
    when a post is passed on do not count (see `pipeline.corpora.wording.wording`). Posts of fewer than five words are only compared
    exactly. A text with more than ten near-duplicates in a split is paired with the first ten.

    Parameters
    ----------
    corpus : Corpus
        The corpus before overlapping train posts are dropped (`data.drop_overlap`); otherwise the overlap is no longer there.

    Returns
    -------
    SplitChecks
    """
    posts, splits = _posts(corpus), list(corpus.splits)
    found = _Found.among(posts)
    short = Counter(posts[number].split for group, few in zip(found.groups, found.short, strict=True) if few for number in group)
    return SplitChecks(
        near_from=NEAR,
        splits={split: SplitCounts(posts=rows.num_rows, short=short[split]) for split, rows in corpus.splits.items()},
        duplicates=_repeats(found, splits),
        conflicts=_conflicts(found, [*corpus.labels, *corpus.auxiliary]),
        authors=_authors(posts, splits),
        pairs=_pairs(found),
    )
