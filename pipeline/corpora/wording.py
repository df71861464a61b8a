"""The words that all copies of a post share, however it was passed on, and a hash of them."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from models.hashtags import without_hashtag_words
from models.text import EMAIL, PHONE, URL, USER, normalise

# The published annotations have a form of their own (`pipeline.annotations.form`), which must stay as it is.
FORM = 1  # version of `wording` and `fingerprint`: increase it when either changes, also through `normalise`
SHORT = 5  # minimum number of words: many people write the same shorter posts, such as "me too"

_PASSED_ON = re.compile(rf"\b(?:rt|mt|qt|via)\b[\s:]*{USER}")
_MASKED = re.compile("|".join((URL, EMAIL, PHONE, USER)))
_WORD = re.compile(r"#?\w+")
# Scripts that put no space between words. On average, a word takes two characters of the first and three letters of the others.
_HAN_OR_KANA = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = f"{_HAN_OR_KANA}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_CHARACTERS = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")
_OF_HAN_OR_KANA, _OF_UNSPACED = re.compile(f"[{_HAN_OR_KANA}]"), re.compile(f"[{_UNSPACED}]")
_GAP = re.compile(f"(?<=[{_UNSPACED}]) (?=[{_UNSPACED}])")


def _without_marks(text: str) -> str:
    """Remove accents and vowel signs, which a regular expression takes for the end of a word."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.category(letter).startswith("M"))


def wording(text: str, *, normalised: bool = False) -> list[str]:
    """Return the words of a post without what is added when it is passed on.

    Case, accents, punctuation, emoji, links, handles, "RT @someone:", and hashtags at the beginning and at the end do not count.
    In scripts without spaces (Chinese, Japanese, Thai and so on), each character counts as a word.

    Parameters
    ----------
    text : str
        The post.
    normalised : bool
        Whether `text` has already gone through `normalise`; this saves time and makes no other difference.

    Examples
    --------
    >>> wording("RT @someone: “My boss would not STOP.” #MeToo https://example.org/a")
    ['my', 'boss', 'would', 'not', 'stop']
    """
    text = without_hashtag_words(text if normalised else normalise(text))
    bare = _MASKED.sub(" ", _PASSED_ON.sub(" ", text)).casefold()
    plain = bare.isascii()
    found = _WORD.findall(bare if plain else _without_marks(bare))
    first, last = (0, len(found))
    while first < last and (found[first][0] == "#" or found[first] == "rt"):
        first += 1
    while first < last and found[last - 1][0] == "#":
        last -= 1
    words = [word.removeprefix("#") for word in (found[first:last] or found)]
    return words if plain else [part for word in words for part in _CHARACTERS.findall(word)]


def count_words(words: Sequence[str]) -> float:
    """Return how many words a wording has; two Chinese characters or three Thai letters, for example, count as one word."""
    joined = "".join(words)
    if joined.isascii():
        return len(words)
    unspaced, han = len(_OF_UNSPACED.findall(joined)), len(_OF_HAN_OR_KANA.findall(joined))
    return len(words) - unspaced + han / 2 + (unspaced - han) / 3


def outline(words: Sequence[str]) -> str:
    """Return a wording as a text whose runs of characters can be compared.

    A Chinese character is written three times: it says as much as three letters, so a run of five is about a word in any script.
    """
    joined = " ".join(words)
    return joined if joined.isascii() else _OF_HAN_OR_KANA.sub(lambda found: found[0] * 3, _GAP.sub("", joined))


def fingerprint(words: Sequence[str]) -> str | None:
    """Return 16 hexadecimal digits of the BLAKE2 hash of a wording, or None if it has fewer than five words.

    Examples
    --------
    >>> fingerprint(wording("RT @someone: My boss would not stop!")) == fingerprint(wording("my boss would not stop #MeToo"))
    True
    >>> fingerprint(wording("Me too."))
    """
    return None if count_words(words) < SHORT else hashlib.blake2b(" ".join(words).encode(), digest_size=8).hexdigest()
