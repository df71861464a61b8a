"""Swap genders and first names in posts, so that a model can learn that they do not matter.

The words are in ``swaps.csv``: gendered words chosen by hand, and first names that are frequent in the US census of 1990 (package names)
or common elsewhere. Names that are also words, such as Mark or Grace, are left out.
"""

import csv
import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

_KEPT = r"(?:https?://|www\.)\S+|[@#]\w+"  # links, handles and hashtags stay as they are
_TOKEN = re.compile(rf"(?P<kept>{_KEPT})|(?P<word>[^\W_]+)")
_SURNAME = re.compile(r" [A-Z][a-z]")  # a person with a surname may be a public figure
_FOLLOWING = re.compile(r"[ \t]+([a-z']+)", re.IGNORECASE)
# "Her" and "his" belong to the word that follows, unless it is one of these: "I told her that" becomes "I told him that".
_NO_NOUN = frozenset(
    """
    a about after again all alone also always am an and any are around as at away back be because been before but by can could did do does
    down even every everything for from had has have he her here hers herself him himself his how i if in into is it its just later like me
    my never no not nothing now of off on once one only or our out over right she should so some still than that the their them then there
    these they this those though through to today together too twice under until up us was we were what when where which while who why will
    with without would yesterday yet you your
    """.split()  # noqa: SIM905 - a list would take one line per word
)


@cache
def _table() -> tuple[dict[str, str], list[str], list[str]]:
    """Return each gendered word with its counterpart, and the feminine and masculine names. Of a word's rows, the first counts."""
    words: dict[str, str] = {}
    names: tuple[list[str], list[str]] = ([], [])
    rows = (files("pipeline.corpora") / "swaps.csv").read_text(encoding="utf-8").splitlines()  # also readable in a zip file
    for kind, *pair in csv.reader(rows[1:]):
        if kind == "name":
            for kept, name in zip(names, pair, strict=True):
                kept.append(name)
        else:
            for one, other in (pair, reversed(pair)):
                words.setdefault(one, other)
    return words, *names


def _pronoun(word: str, following: str) -> str | None:
    """Return the counterpart of a pronoun whose form depends on what follows; None for other words."""
    owns = following.startswith(" ") and following.strip() not in _NO_NOUN
    return {"her": "his" if owns else "him", "his": "her" if owns else "hers", "him": "her", "hers": "his"}.get(word)


def _cased(word: str, like: str) -> str | None:
    """Write a word with the capitals of another; None if the other is not in lower, title or upper case."""
    return next((change(word) for change in (str.lower, str.title, str.upper) if change(like) == like), None)


def _pieces(text: str, names: Mapping[str, str]) -> Iterator[str]:
    words, _, _ = _table()
    end = 0
    for token in _TOKEN.finditer(text):
        yield text[end : token.start()]
        end = token.end()
        word = token[0].lower()
        after = _FOLLOWING.match(text, end)
        counterpart = (
            None if token["kept"] or not word.isascii() else _pronoun(word, f" {after[1].lower()}" if after else "") or words.get(word)
        )
        if token[0] in names:
            yield token[0] if _SURNAME.match(text, end) else names[token[0]]
        else:
            yield (counterpart and _cased(counterpart, token[0])) or token[0]
    yield text[end:]


def swapped(text: str, seed: int | str) -> str:
    """Return a post with the other gender and other first names throughout.

    Links, handles, hashtags, names that are followed by a surname, and everything else stay as they are. With the same seed, swapping twice
    gives the original, except where a word has two counterparts: ``mum`` and ``mom`` both become ``dad``.

    Parameters
    ----------
    text : str
        A post in English.
    seed : int or str
        Chooses the names; a name always becomes the same one with the same seed.

    Examples
    --------
    >>> swapped("My boss put his hand on her knee. She told her husband.", 0)
    'My boss put her hand on his knee. He told his wife.'
    """
    _, feminine, masculine = _table()
    drawn = random.Random(seed).sample(masculine, len(masculine))  # noqa: S311 - no secret
    pairs = dict(zip(feminine, drawn, strict=True))
    return "".join(_pieces(text, pairs | {name: other for other, name in pairs.items()}))
