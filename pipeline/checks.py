"""Checks of a labelled corpus: repeats, authors in several splits, conflicting and likely wrong labels; never a text unless shown."""

import csv
import json
import re
import sys
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from pipeline import terminal
from pipeline.corpora import Corpus
from pipeline.errors import InputError
from pipeline.folders import new_folder
from pipeline.text import EMAIL, PHONE, URL, USER, normalise

CHECKS, DUPLICATES, LABEL_ERRORS = "checks.json", "duplicates.csv", "label_errors.csv"

NEAR = 0.8  # Jaccard similarity of two posts' shingles from which they are near-duplicates
MIN_WORDS = 5  # of shorter posts only exact repeats are looked for: many people write "me too"
_SHINGLE = 5  # characters
# Bands and rows of the index: misses one pair in 4,500 of similarity 0.8; what it proposes is verified, so proposing much is cheap.
_BANDS, _ROWS = 16, 4

_MOST = 10  # near-duplicates in each split that a text is paired with: a text that was filled in a thousand ways makes no million pairs

_MASKED = re.compile("|".join((URL, EMAIL, USER, PHONE)))
_WORD = re.compile(r"\w+")

_PAIR = ("kind", "similarity", "split", "id", "labels", "other_split", "other_id", "other_labels", "conflict")
_SUSPECT = ("split", "id", "label", "given", "probability", "quality")


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
    """Words of a normalised text, without punctuation, emoji, links, handles and the like."""
    return _WORD.findall(_MASKED.sub(" ", text).casefold())


@lru_cache(maxsize=4096)
def _shingles(words: str) -> frozenset[bytes]:
    """Each run of five characters: a word changed in a post of twenty leaves enough of them, of word triples it does not."""
    return frozenset(words[start : start + _SHINGLE].encode() for start in range(max(1, len(words) - _SHINGLE + 1)))


def _similarity(one: str, other: str) -> float:
    """Jaccard similarity of two posts' shingles."""
    shared = len(_shingles(one) & _shingles(other))
    return shared / (len(_shingles(one)) + len(_shingles(other)) - shared)


def _near(texts: Sequence[str], where: Sequence[Collection[str]]) -> list[tuple[int, int, float]]:
    """Pairs of texts that are near-duplicates, as indices i < j and their similarity, given the splits that each text is in.

    Candidates come from MinHash signatures in a banded index (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
    3.4; datasketch); the similarity given is exact. Each text is paired with the first ten of every split that are near it.
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
    """Posts by text: `groups` holds the posts of each distinct text, `near` pairs of groups, `first` each group's first post by split."""

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


def _repeats(found: _Found, splits: Sequence[str]) -> list[dict[str, Any]]:
    """For each split and each split it could repeat, its posts with an equal text there, else with a near-equal one."""
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for one, other, _ in found.near:
        neighbours[one].append(other)
        neighbours[other].append(one)
    counts: Counter[tuple[str, str, str]] = Counter()
    for number, group in enumerate(found.groups):
        for post, there in product(group, splits):
            here = found.posts[post].split
            # Within a split a post repeats an earlier one, so that the first of them is not counted.
            before = post if here == there else len(found.posts)
            if found.first[number].get(there, before) < before:
                counts[here, there, "exact"] += 1
            elif any(found.first[near].get(there, before) < before for near in neighbours[number]):
                counts[here, there, "near"] += 1
    return [
        {"split": here, "other": there, **{kind: counts[here, there, kind] for kind in ("exact", "near")}}
        for here, there in product(splits, splits)
    ]


def _conflicts(found: _Found, names: Sequence[str]) -> dict[str, Any]:
    """Texts with several sets of labels, and pairs of near-equal texts whose sets differ."""
    given = [{found.posts[number].labels for number in group} for group in found.groups]
    texts = [number for number, sets in enumerate(given) if len(sets) > 1]
    pairs = [(one, other) for one, other, _ in found.near if given[one] != given[other]]
    exact, near = [given[number] for number in texts], [given[one] | given[other] for one, other in pairs]

    def posts(numbers: Iterable[int]) -> int:
        return sum(len(found.groups[number]) for number in set(numbers))

    def disputed(cases: Iterable[set[frozenset[str]]], name: str) -> int:
        return sum(len({name in labels for labels in sets}) > 1 for sets in cases)

    return {
        "exact": {"texts": len(texts), "posts": posts(texts)},
        "near": {"pairs": len(pairs), "posts": posts(chain.from_iterable(pairs))},
        "labels": {name: {"exact": disputed(exact, name), "near": disputed(near, name)} for name in names},
    }


def _authors(posts: Sequence[_Post], splits: Sequence[str]) -> dict[str, Any]:
    """Authors in more than one split, and their posts; counts only."""
    where: defaultdict[str, set[str]] = defaultdict(set)
    for post in posts:
        if post.author:
            where[post.author].add(post.split)
    shared = {author for author, found in where.items() if len(found) > 1}
    concerned = Counter(post.split for post in posts if post.author in shared)
    return {"known": len(where), "in_several_splits": len(shared), "posts": {split: concerned[split] for split in splits}}


def _pair(one: _Post, other: _Post, similarity: float, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "similarity": round(similarity, 4),
        "split": one.split,
        "id": one.id,
        "labels": sorted(one.labels),
        "other_split": other.split,
        "other_id": other.id,
        "other_labels": sorted(other.labels),
        "conflict": one.labels != other.labels,
    }


def _pairs(found: _Found) -> list[dict[str, Any]]:
    """Pairs to look at, those across splits first, then the most similar; thousands of equal posts make no millions of pairs."""
    pairs: dict[tuple[int, int], tuple[float, str]] = {}
    for group, first in zip(found.groups, found.first, strict=True):
        pairs |= {(min(i, j), max(i, j)): (1.0, "exact") for i, j in product(first.values(), group) if i != j}
    for one, other, similarity in found.near:
        between = product(found.first[one].values(), found.first[other].values())
        pairs |= {(min(i, j), max(i, j)): (similarity, "near") for i, j in between}
    posts = found.posts
    ranked = sorted(pairs.items(), key=lambda pair: (posts[pair[0][0]].split == posts[pair[0][1]].split, -pair[1][0], pair[0]))
    return [_pair(posts[i], posts[j], *what) for (i, j), what in ranked]


def check_splits(corpus: Corpus) -> dict[str, Any]:
    """Look for what a corpus repeats, who stands in several splits, and which labels contradict each other.

    Texts are equal if they are after `normalise`. They are near-duplicates if, of the runs of five characters of their
    words (punctuation, emoji, links and handles left out), four in five are shared; posts of fewer than five words are
    compared exactly only. Of more than ten near-duplicates in a split a text is paired with the first ten.

    Parameters
    ----------
    corpus : Corpus
        Loaded with ``data.drop_overlap`` off, or what train shared with other splits is gone already.

    Returns
    -------
    dict
        ``near_from`` (similarity); ``splits``: for each its ``posts`` and the ``short`` ones among them;
        ``duplicates``: for each split and each other (or itself) the posts that repeat it, ``exact`` or else ``near``
        (within a split: an earlier post); ``conflicts``: ``exact`` (``texts``, ``posts``), ``near`` (``pairs`` of
        texts, ``posts``) and both by label in ``labels``; ``authors``: ``known``, ``in_several_splits``, and ``posts``
        of theirs by split; ``pairs``: rows to look at, each post with the first of every split that has its text, and
        such first ones of near-equal texts, those across splits first, then the most similar.
    """
    posts, splits = _posts(corpus), list(corpus.splits)
    found = _Found.among(posts)
    short = Counter(post.split for post in posts if len(_words(post.text)) < MIN_WORDS)
    return {
        "near_from": NEAR,
        "splits": {split: {"posts": rows.num_rows, "short": short[split]} for split, rows in corpus.splits.items()},
        "duplicates": _repeats(found, splits),
        "conflicts": _conflicts(found, [*corpus.labels, *corpus.auxiliary]),
        "authors": _authors(posts, splits),
        "pairs": _pairs(found),
    }


def _suspects(y: NDArray[np.int8], probabilities: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices of likely wrong values of one label, the worst first, and the quality of each value."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    both = np.stack([1 - probabilities, probabilities], axis=1).astype(np.float64)
    with warnings.catch_warnings():  # of few posts it says that nothing is certain
        warnings.simplefilter("ignore", UserWarning)
        wrong = find_label_issues(y.astype(np.int64), both, n_jobs=1)
        quality = get_label_quality_scores(y.astype(np.int64), both)
    indices = np.flatnonzero(wrong)
    return indices[np.argsort(quality[indices], kind="stable")], quality


def check_labels(corpus: Corpus, probabilities: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, Any]:
    """Look for likely wrong labels by confident learning (Northcutt, Jiang & Chuang 2021; cleanlab), each label by itself.

    Parameters
    ----------
    corpus : Corpus
        As the model was trained on.
    probabilities : dict of str to ndarray of float, each of shape (n_posts, n_labels)
        By split, of ``corpus.labels``, from models that did not see the post: held-out folds for train.

    Returns
    -------
    dict
        ``label_errors``: by split, then label: ``posts``, ``given``, and of these values the likely wrong ones,
        ``wrongly_given`` and ``wrongly_missing``, both None where all posts of the split have one value. ``suspects``: a
        row for each of them, the worst first: ``split``, ``id``, ``label``, whether it is ``given``, its ``probability``,
        and the ``quality`` of what is given, from 0 (surely wrong) to 1.
    """
    counts: dict[str, dict[str, Any]] = {}
    suspects = []
    for split, scores in probabilities.items():
        ids, Y = corpus.splits[split]["id"], corpus.targets(split, corpus.labels)
        counts[split] = {}
        for label, y, p in zip(corpus.labels, Y.T, scores.T, strict=True):
            counts[split][label] = {"posts": len(y), "given": int(y.sum()), "wrongly_given": None, "wrongly_missing": None}
            if not y.any() or y.all():
                continue
            wrong, quality = _suspects(y, p)
            given = int(y[wrong].sum())
            counts[split][label] |= {"wrongly_given": given, "wrongly_missing": len(wrong) - given}
            for number in wrong.tolist():
                values = split, ids[number], label, int(y[number]), round(float(p[number]), 4), round(float(quality[number]), 4)
                suspects.append(dict(zip(_SUSPECT, values, strict=True)))
    suspects.sort(key=lambda row: row["quality"])
    return {"label_errors": counts, "suspects": suspects}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: ";".join(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows)


def write_checks(result: Mapping[str, Any], folder: Path) -> None:
    """Write ``checks.json`` (counts), ``duplicates.csv`` and ``label_errors.csv`` (ids, labels and numbers; no text, no author).

    Parameters
    ----------
    result : dict
        Of `check_splits`, with or without that of `check_labels`.
    folder : Path
        Earlier checks there are replaced.

    Raises
    ------
    InputError
        When the folder holds something else or cannot be written.
    """
    counts = {name: value for name, value in result.items() if name not in ("pairs", "suspects")}
    with new_folder(folder, CHECKS) as fresh:
        (fresh / CHECKS).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        _write_csv(fresh / DUPLICATES, _PAIR, result["pairs"])
        if "suspects" in result:
            _write_csv(fresh / LABEL_ERRORS, _SUSPECT, result["suspects"])


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str | int | None]], names: int = 1) -> Table:
    """A table whose first `names` columns are words, the others counts."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < names else "right")
    for row in rows:
        table.add_row(*("–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return table


def checks_tables(result: Mapping[str, Any]) -> list[Table]:
    """Counts of `check_splits`, and of `check_labels` where they are there, as tables."""
    splits, authors, conflicts = result["splits"], result["authors"], result["conflicts"]
    title = f"Splits ({authors['in_several_splits']:,} of {authors['known']:,} authors known stand in several)"
    rows = [(name, split["posts"], split["short"], authors["posts"][name]) for name, split in splits.items()]
    tables = [_table(title, ("split", "posts", f"under {MIN_WORDS} words", "by authors of other splits"), rows)]

    repeats = [(row["split"], row["other"], row["exact"], row["near"]) for row in result["duplicates"]]
    title = f"Repeats (near: {result['near_from']} similar, from {MIN_WORDS} words on)"
    tables.append(_table(title, ("posts of", "with the text of one in", "exact", "near"), repeats, names=2))

    disputed = [(label, found["exact"], found["near"]) for label, found in conflicts["labels"].items()]
    disputed.append(("any", conflicts["exact"]["texts"], conflicts["near"]["pairs"]))
    tables.append(_table("Conflicting labels", ("label", "equal texts", "pairs of near-equal texts"), disputed))

    if "label_errors" in result:
        errors = [
            (split, label, found["posts"], found["given"], found["wrongly_given"], found["wrongly_missing"])
            for split, labels in result["label_errors"].items()
            for label, found in labels.items()
        ]
        headings = ("split", "label", "posts", "given", "likely wrongly given", "likely missing")
        tables.append(_table("Likely label errors", headings, errors, names=2))
    return tables


def check_terminal() -> None:
    """Fail unless standard output is a terminal: posts must not end up in a log.

    Raises
    ------
    InputError
    """
    if not sys.stdout.isatty():
        raise InputError("--show-texts: standard output is no terminal, and posts must not end up in a log; run it without a pipe")


def show_texts(result: Mapping[str, Any], corpus: Corpus, top: int = 20) -> None:
    """Print the first pairs and suspects with their texts, normalised, on a terminal.

    Parameters
    ----------
    result : dict
        Of `check_splits`, with or without that of `check_labels`.
    corpus : Corpus
        That `check_splits` was given.
    top : int
        How many of each.

    Raises
    ------
    InputError
        When standard output is no terminal.
    """
    check_terminal()
    texts = {identifier: text for rows in corpus.splits.values() for identifier, text in zip(rows["id"], rows["text"], strict=True)}
    lines = []
    for row in result["pairs"][:top]:
        lines.append(f"{row['kind']} {row['similarity']:.2f}{', conflicting labels' if row['conflict'] else ''}")
        for split, identifier, labels in (("split", "id", "labels"), ("other_split", "other_id", "other_labels")):
            lines.append(f"  {row[split]} {row[identifier]!r} [{', '.join(row[labels])}]  {normalise(texts[row[identifier]])}")
    for row in result.get("suspects", [])[:top]:
        given = "given" if row["given"] else "not given"
        lines.append(f"{row['label']} {given}, probability {row['probability']:.2f}")
        lines.append(f"  {row['split']} {row['id']!r}  {normalise(texts[row['id']])}")
    terminal.output().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
