"""Makes stand-off annotations from labelled posts."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from models.text import URL, normalise
from pipeline.annotations.form import LONG, SHORT, Annotation, canonical_words, fingerprint
from pipeline.corpora import SPLITS, Corpus

_CUT_OFF = re.compile(rf"\.\.\.(?: {URL})*$")


def _cut_off_at(text: str, words: Sequence[str]) -> str | None:
    length = sum(map(len, words))
    return str(length) if length >= LONG and _CUT_OFF.search(normalise(text)) else None


def _grouped(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Replace authors by numbers, and drop those with a single post: publishing them would group nothing."""
    posts = Counter(annotation.author for annotation in annotations if annotation.author)
    numbers: dict[str, str] = {}
    for annotation in annotations:
        if annotation.author and posts[annotation.author] > 1:
            numbers.setdefault(annotation.author, str(len(numbers) + 1))
    return [replace(annotation, author=numbers.get(annotation.author or "")) for annotation in annotations]


def annotate(corpus: Corpus) -> tuple[list[Annotation], dict[str, int]]:
    """Make the stand-off annotations of a corpus.

    Parameters
    ----------
    corpus : Corpus
        Loaded with the further columns ``experiencer``, ``stratum`` and ``unsure``.

    Returns
    -------
    annotations : list of Annotation
        One per text, sorted by hash.
    counts : dict of str to int
        ``posts`` counts all posts. ``merged`` ones have the same words and labels as another post, and a held-out one is kept if there is
        one. ``conflicting`` ones share their words with a post that has other labels, and are left out, as are ``wordless`` ones. ``short``
        counts the annotations of short texts.
    """
    counts = Counter(posts=0, merged=0, conflicting=0, wordless=0, short=0)
    found: dict[str, list[Annotation]] = defaultdict(list)
    short = set()
    for split in (name for name in reversed(SPLITS) if name in corpus.splits):
        rows = corpus.splits[split]
        further = (corpus.column(split, name) for name in ("experiencer", "stratum", "unsure"))
        for text, labels, source, author, experiencer, stratum, unsure in zip(
            rows["text"][:], rows["labels"][:], rows["source"][:], rows["author"][:], *further, strict=True
        ):
            counts["posts"] += 1
            if not (words := canonical_words(text)):
                counts["wordless"] += 1
                continue
            annotation = Annotation(
                fingerprint(words), split, tuple(labels), experiencer, source, stratum, unsure, author, _cut_off_at(text, words)
            )
            if len(words) < SHORT:
                short.add(annotation.hash)
                annotation = replace(annotation, experiencer=None, author=None)
            found[annotation.hash].append(annotation)
    kept = []
    for _, same in sorted(found.items()):
        if len({annotation.labels for annotation in same}) > 1:
            counts["conflicting"] += len(same)
        else:
            counts["merged"] += len(same) - 1
            kept.append(same[0])
    counts["short"] = sum(annotation.hash in short for annotation in kept)
    return _grouped(kept), dict(counts)
