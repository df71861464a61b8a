"""Finds repeated posts, authors in several splits, and labels that contradict each other."""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from typing import Literal, Self

from models.text import EMAIL, PHONE, URL, USER, normalise
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

NEAR = 0.8  # minimum Jaccard similarity of near-duplicates' shingles
MIN_WORDS = 5  # shorter posts are compared exactly only: many people write "me too"
_SHINGLE = 5  # characters
# Bands and rows of the index. It misses one in 4,500 pairs with a similarity of 0.8. False candidates cost little: each is verified.
_BANDS, _ROWS = 16, 4

_MOST = 10  # near-duplicates per split that a text is paired with, so that a thousand variants of one text do not make a million pairs

_MASKED = re.compile("|".join((URL, EMAIL, USER, PHONE)))
_WORD = re.compile(r"\w+")


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


def _words(text: str) -> list[str]:
    """Return the words of a normalised text, without punctuation, emoji, links, handles and phone numbers."""
    return _WORD.findall(_MASKED.sub(" ", text).casefold())


@lru_cache(maxsize=4096)
def _shingles(words: str) -> frozenset[bytes]:
    """Return all runs of five characters: unlike word triples, enough of these survive when one word in twenty is changed."""
    return frozenset(words[start : start + _SHINGLE].encode() for start in range(max(1, len(words) - _SHINGLE + 1)))


def _similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two posts' shingles."""
    shared = len(_shingles(one) & _shingles(other))
    return shared / (len(_shingles(one)) + len(_shingles(other)) - shared)


def _near(texts: Sequence[str], where: Sequence[Collection[str]]) -> list[tuple[int, int, float]]:
    """Find pairs of near-duplicate texts, as indices i < j and their similarity, given the splits that each text is in.

    Candidates come from MinHash signatures in a banded index (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
    3.4; datasketch); the similarity is exact. Each text is paired with its first ten near-duplicates in every split.
    """
    from datasketch import MinHash, MinHashLSH

    joined = {number: " ".join(words) for number, text in enumerate(texts) if len(words := _words(text)) >= MIN_WORDS}
    signatures = MinHash.bulk(map(_shingles, joined.values()), num_perm=_BANDS * _ROWS, seed=0, hashfunc=zlib.crc32)
    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    for number, signature in zip(joined, signatures, strict=True):
        index.insert(number, signature, check_duplication=False)
    pairs: dict[tuple[int, int], float] = {}
    for number, signature in zip(joined, signatures, strict=True):
        taken: Counter[str] = Counter()
        for other in sorted(index.query(signature)):
            if other == number or all(taken[split] >= _MOST for split in where[other]):
                continue
            pair = min(number, other), max(number, other)
            similarity = pairs.get(pair) or _similarity(joined[number], joined[other])
            if similarity >= NEAR:
                pairs[pair] = similarity
                taken.update(where[other])
    return [(i, j, similarity) for (i, j), similarity in sorted(pairs.items())]


@dataclass(frozen=True, slots=True)
class _Found:
    """Posts grouped by text: `groups` lists the posts of each text, `near` pairs of groups, `first` each group's first post by split."""

    posts: list[_Post]
    groups: list[list[int]]
    near: list[tuple[int, int, float]]
    first: list[dict[str, int]]

    @classmethod
    def among(cls, posts: list[_Post]) -> Self:
        by_text: defaultdict[str, list[int]] = defaultdict(list)
        for number, post in enumerate(posts):
            by_text[post.text].append(number)
        groups = list(by_text.values())
        first = [{posts[number].split: number for number in reversed(group)} for group in groups]
        return cls(posts, groups, _near(list(by_text), first), first)


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
    pairs = [(one, other) for one, other, _ in found.near if given[one] != given[other]]
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
        conflict=one.labels != other.labels,
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

    Texts are equal if they are the same after `normalise`. They are near-duplicates if they share four in five of the runs of
    five characters in their words (ignoring punctuation, emoji, links and handles). Posts of fewer than five words are
    compared exactly only. A text with more than ten near-duplicates in a split is paired with the first ten.

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
    short = Counter(post.split for post in posts if len(_words(post.text)) < MIN_WORDS)
    return SplitChecks(
        near_from=NEAR,
        splits={split: SplitCounts(posts=rows.num_rows, short=short[split]) for split, rows in corpus.splits.items()},
        duplicates=_repeats(found, splits),
        conflicts=_conflicts(found, [*corpus.labels, *corpus.auxiliary]),
        authors=_authors(posts, splits),
        pairs=_pairs(found),
    )
