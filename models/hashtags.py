"""Put the words of a hashtag beside it: "#TimesUp" becomes "#timesup times up"."""

import re

from models.spelling import THRICE, read_word, spelled
from models.words import ranks, words_in

TAG = re.compile(r"#(\w+)")
MARK = "\x00"  # around words that stand beside a hashtag, until it is known whether they follow it anyway

_TAG_AND_WORDS = re.compile(r"#(\w+)((?: [\w']+)+)")
_CAPITALS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_WHOLE_TAGS = {"metoo"}
_BESIDE = re.compile("\x00([^\x00]*)\x00")


def with_words(found: re.Match[str]) -> str:
    """Return a hashtag that `TAG` found, followed by its words between two `MARK`; it is divided at capitals, or else into known words."""
    tag = found[1]
    lower = tag.lower()
    if not lower.isalpha() and any(map(str.isdigit, lower)) and (word := spelled(lower)):
        return f"#{word}"
    if lower.strip("_") in _WHOLE_TAGS or not tag.isascii() or THRICE.search(lower):
        return f"#{lower}"
    parts = [part.lower() for part in _CAPITALS.findall(tag)]
    if len(parts) < 2 or "".join(parts) != lower.replace("_", ""):
        parts = [lower] if lower in ranks() or not lower.isalpha() else list(words_in(lower))
    words = " ".join(map(read_word, parts))
    meant = words.replace(" ", "").replace("'", "")
    if meant != "".join(parts):  # "#GrapedByHim"
        lower = meant
    several = words and words != lower and lower.replace("_", "").isalpha()
    return f"#{lower} {MARK}{words}{MARK} " if several else f"#{lower}"


def place_hashtag_words(text: str) -> str:
    """Put the marked words of a hashtag beside it, unless they already follow it."""
    if MARK in text:
        text = " ".join(_BESIDE.sub(lambda found: "" if _follows(text, found) else found[1], text).split())
    return text


def _follows(text: str, beside: re.Match[str]) -> bool:
    """Return whether the words of a hashtag already stand after it, however they are divided."""
    at = beside.end()
    for letter in beside[1]:
        if letter not in " '":
            while text[at : at + 1] in {" ", "'"}:
                at += 1
            if text[at : at + 1] != letter:
                return False
            at += 1
    return not text[at : at + 1].isalnum()


def without_hashtag_words(text: str) -> str:
    """Return a normalised text without the words that `place_hashtag_words` puts beside hashtags.

    Examples
    --------
    >>> without_hashtag_words("#ibelieveyou i believe you all")
    '#ibelieveyou all'
    """
    return _TAG_AND_WORDS.sub(_only_tag, text)


def _only_tag(found: re.Match[str]) -> str:
    tag, words = found[1].replace("_", ""), found[2].split()
    for count in range(1, len(words) + 1):
        together = "".join(words[:count]).replace("'", "")
        if together == tag:
            return " ".join([f"#{found[1]}", *words[count:]])
        if len(together) > len(tag):
            break
    return found[0]
