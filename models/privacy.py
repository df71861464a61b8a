"""Decide what a vocabulary may reveal about the people who wrote the posts, and about those they wrote about.

Posts are lower-cased, so we recognise a name by how the word is usually written in English. spaCy's word probabilities (package
spacy-lookups-data, from comments on Reddit) distinguish capitals. Names of people come from the US census of 1990 (package names). Names of
places, employers, months and the like count as names, too, because they can also identify somebody. Most abbreviations of such names
("NYC", "UCLA", "NHS") are usually written in capitals. We hide every word that is usually written in capitals, except for the abbreviations
that `lexicon/abbreviations.csv` allows. The file also lists some abbreviations that cannot be recognised by their capitals.
"""

import csv
import math
import re
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from models.errors import InputError
from models.text import EMAIL, PHONE, URL, USER

_MASKS = (URL, EMAIL, USER, PHONE)  # they show that there was a link or a handle, but not which
_NUMBER = re.compile(r"(?!(?<=<)3)\d")  # "<3" is a heart
_LINK = re.compile(r"https?|www|://|\w[.&]\w")  # also matches initials and companies such as "H&M"
_WORD = re.compile(r"[^\W\d_]+")

# A word counts as a name if more than this share of its occurrences is capitalised: the first value is for words that the census
# lists as names, the second for all others. Ordinary words are capitalised at the beginning of a sentence: "church" in 25% of its
# occurrences, "grace" and "mark" in 32%.
_OFTEN_LISTED, _OFTEN = 1 / 3, 1 / 2
_ABBREVIATION = 1 / 2  # a word counts as an abbreviation if more than this share of its occurrences is in capitals
# Ordinary words that mostly begin a sentence, or that the lists count without their contractions. The same is true of some of
# spaCy's stop words.
_OPENERS = frozenset(
    """
    additionally agreed ah ahh ahhh alas alternatively amen aw aww awww cheers congrats congratulations dang dear ditto
    dont duh firstly fortunately furthermore gee god goodnight gotcha ha hah hahaha hahahaha heck heh hello hey hi hm hmm
    hmmm holy huh hush jeez kudos lastly lets likewise luckily merry mmm nah nevermind nope oh ohh ohhh ok ooh oops ouch
    secondly thank thankfully thanks thats ugh uh uhh um umm unfortunately welcome welp whoa whoops wow yah yay yea yeah
    yep yes yo yuck yup
    """.split()  # noqa: SIM905 - a list would take one line per word
)

_RAREST = -18.5  # words with a lower log probability, one occurrence in a hundred million, count as unknown
_GLUED = -3.0  # an unknown word counts as known words written together from this log probability per letter
_LONGEST = 24  # maximum number of letters of one of these words


@cache
def _listed() -> frozenset[str]:
    """Return the first and last names of the census."""
    import names

    listed = set[str]()
    for path in names.FILES.values():
        with open(path, encoding="ascii") as lines:  # noqa: PTH123 - `names` provides a str
            listed.update(line.split()[0].lower() for line in lines)
    return frozenset(listed)


@cache
def _abbreviations() -> dict[str, bool]:
    """Return the abbreviations of `lexicon/abbreviations.csv`, and whether each may be shown."""
    table = (files("models") / "lexicon" / "abbreviations.csv").read_text(encoding="utf-8")
    return {row["abbreviation"]: row["shown"] == "yes" for row in csv.DictReader(table.splitlines())}


class _Use(NamedTuple):
    """How a word is written: its log probability in small letters or title case, the share of title case in it, and that of capitals."""

    log_probability: float
    titled: float
    capitals: float


@cache
def _usage() -> dict[str, _Use]:
    """Return how each word that is not too rare is written."""
    try:
        import names  # noqa: F401 - both packages are needed
        import spacy_lookups_data
    except ImportError:
        raise InputError(
            "private='drop' (features.private in a config) needs lists of names and words that are not installed; "
            "install them with pip install -e '.[names]'"
        ) from None
    from spacy.util import load_language_data

    spellings: Any = load_language_data(spacy_lookups_data.en["lexeme_prob"])
    written: dict[str, dict[str, float]] = {"small": {}, "title": {}, "capitals": {}}
    for spelling, log_probability in spellings.items():
        if spelling.isalpha():
            form = "small" if spelling.islower() else "title" if spelling.istitle() else "capitals" if spelling.isupper() else None
            if form:
                written[form][spelling.lower()] = math.exp(log_probability)
    usage, rarest = {}, math.exp(_RAREST)
    for word in set().union(*written.values()):
        small, title, capitals = (written[form].get(word, 0.0) for form in ("small", "title", "capitals"))
        total = small + title
        in_capitals = capitals / (total + capitals)
        if total >= rarest or (capitals >= rarest and in_capitals > _ABBREVIATION):
            usage[word] = _Use(math.log(max(total, rarest)), title / total if total else 0.0, in_capitals)
    return usage


def _parts(word: str) -> list[str]:
    """Divide an unknown word into the most likely sequence of known words (Viterbi); return none if no sequence is likely enough."""
    usage = _usage()
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(word) + 1):
        found = (-math.inf, 0)
        for start in range(max(0, stop - _LONGEST), stop):
            known = usage.get(word[start:stop])
            if known and (stop - start > 1 or word[start] in "ai"):
                found = max(found, (best[start][0] + known.log_probability, start))
        best.append(found)
    if best[-1][0] < _GLUED * len(word):
        return []
    parts, stop = list[str](), len(word)
    while stop:
        start = best[stop][1]
        parts.append(word[start:stop])
        stop = start
    return parts


def _is_name(word: str) -> bool:
    """Return whether a known word, given in lower case, is usually capitalised in English, or is an abbreviation that is not allowed."""
    from spacy.lang.en.stop_words import STOP_WORDS

    if len(word) == 1 or word in _OPENERS or word in STOP_WORDS:
        return False
    if (allowed := _abbreviations().get(word)) is not None:
        return not allowed
    use = _usage()[word]
    return use.capitals > _ABBREVIATION or use.titled > (_OFTEN_LISTED if word in _listed() else _OFTEN)


@cache
def _may_show_word(word: str) -> bool:
    if len(word) == 1:
        return True
    if word in _usage() or word in _abbreviations():
        return not _is_name(word)
    # Names of people who are not famous are unknown words. So are hashtags, which we judge by the words they contain.
    parts = [] if word in _listed() else _parts(word)
    return bool(parts) and not any(_is_name(part) for part in parts)


def may_show_token(token: str) -> bool:
    """Return whether a token may be shown because it identifies nobody.

    A token must not be shown if it looks like a name, an abbreviation that may stand for one, a handle, a link, an e-mail address or a
    number, or if it contains one. It must not contain a word that is neither a known English word nor made of known words (as ``#metoo``
    is). The placeholders of `models.text.normalise`, punctuation, emoji and single letters may be shown.

    Parameters
    ----------
    token : str
        A token of a normalised post.

    Raises
    ------
    InputError
        When the lists of names and words are not installed.
    """
    if token in _MASKS:
        return True
    if "@" in token or _NUMBER.search(token) or _LINK.search(token):
        return False
    return all(_may_show_word(word) for word in _WORD.findall(token))


def may_show_words(ngram: str) -> bool:
    """Return whether all tokens of a word n-gram, joined by spaces, may be shown; see `may_show_token`."""
    return all(may_show_token(token) for token in ngram.split(" "))


def may_show_characters(ngram: str) -> bool:
    """Return whether a character n-gram, with a space where its token begins or ends, may be shown because it identifies nobody.

    A whole token is judged by `may_show_token`. Part of a token must not contain a digit, an "@" (except that of ``@user``) or a piece
    of a link, nor a listed name of four or more letters. Shorter names occur in many ordinary words ("ted" in "wanted").
    """
    text = ngram.strip(" ")
    if len(text) == len(ngram) - 2:
        return may_show_token(text)
    if any(ngram in f" {mask} " for mask in _MASKS) and not text.isalpha():
        return True
    if "@" in text or _NUMBER.search(text) or _LINK.search(text):
        return False
    listed = (word for word in _WORD.findall(text) if len(word) >= 4 and word in _listed() and word in _usage())
    return all(_usage()[word].capitals > _ABBREVIATION or not _is_name(word) for word in listed)
