"""What a vocabulary may show of the people who wrote the posts, and of those whom they wrote about.

Posts are lower-cased, so a name is told by how English writes the word elsewhere: spaCy's word probabilities (package
spacy-lookups-data, from comments on Reddit) tell capitals apart, and names of people are those of the US census of 1990
(package names). Names of places, employers, months and the like are names too: they give somebody away as well.
"""

import math
import re
from functools import cache
from typing import Any

from models.errors import InputError
from models.text import EMAIL, PHONE, URL, USER

_MASKS = (URL, EMAIL, USER, PHONE)  # they say that there was one, not which
_NUMBER = re.compile(r"(?!(?<=<)3)\d")  # "<3" is a heart
_LINK = re.compile(r"https?|www|://|\w\.\w")  # or initials
_WORD = re.compile(r"[^\W\d_]+")

# Shares of a word's places that have a capital, from which on it is a name: of one that the census lists as a name, and
# of any other. Ordinary words have one at the beginning of a sentence: "church" in 25% of its places, "grace" and "mark" in 32%.
_OFTEN_LISTED, _OFTEN = 1 / 3, 1 / 2
# Ordinary words that mostly stand at the beginning of a sentence, or that the lists count without their contractions. Some of
# spaCy's stop words do too.
_OPENERS = frozenset(
    """
    additionally agreed ah ahh ahhh alas alternatively amen aw aww awww cheers congrats congratulations dang dear ditto
    dont duh firstly fortunately furthermore gee god goodnight gotcha ha hah hahaha hahahaha heck heh hello hey hi hm hmm
    hmmm holy huh hush jeez kudos lastly lets likewise luckily merry mmm nah nevermind nope oh ohh ohhh ok ooh oops ouch
    secondly thank thankfully thanks thats ugh uh uhh um umm unfortunately welcome welp whoa whoops wow yah yay yea yeah
    yep yes yo yuck yup
    """.split()  # noqa: SIM905 - a list would have a line for each
)

_RAREST = -18.5  # log probability under which words count as unknown: one place in a hundred million
_GLUED = -3.0  # log probability a letter, from which on an unknown word counts as known ones without a space
_LONGEST = 24  # letters of a part of it


@cache
def _listed() -> frozenset[str]:
    """First and last names of the census."""
    import names

    listed = set[str]()
    for path in names.FILES.values():
        with open(path, encoding="ascii") as lines:  # noqa: PTH123 - a path as `names` gives it
            listed.update(line.split()[0].lower() for line in lines)
    return frozenset(listed)


@cache
def _usage() -> dict[str, tuple[float, float]]:
    """Log probability of each word that is not too rare, and the share of its places that have a capital and small letters."""
    try:
        import names  # noqa: F401 - both are needed
        import spacy_lookups_data
    except ImportError:
        raise InputError(
            "features.private: drop needs lists of names and words, which are not installed; install the extra: pip install -e '.[names]'"
        ) from None
    from spacy.util import load_language_data

    spellings: Any = load_language_data(spacy_lookups_data.en["lexeme_prob"])
    small, capital = dict[str, float](), dict[str, float]()
    for spelling, log_probability in spellings.items():
        if spelling.isalpha():
            if spelling.islower():
                small[spelling] = math.exp(log_probability)
            elif spelling.istitle():
                capital[spelling.lower()] = math.exp(log_probability)
    usage = {}
    for word in small.keys() | capital.keys():
        total = small.get(word, 0.0) + capital.get(word, 0.0)
        if total >= math.exp(_RAREST):
            usage[word] = (math.log(total), capital.get(word, 0.0) / total)
    return usage


def _parts(word: str) -> list[str]:
    """Divide an unknown word into the known ones that most likely make it up (Viterbi); none where nothing is likely."""
    usage = _usage()
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(word) + 1):
        found = (-math.inf, 0)
        for start in range(max(0, stop - _LONGEST), stop):
            known = usage.get(word[start:stop])
            if known and (stop - start > 1 or word[start] in "ai"):
                found = max(found, (best[start][0] + known[0], start))
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
    """Whether a known word of small letters is one that English writes with a capital."""
    from spacy.lang.en.stop_words import STOP_WORDS

    if len(word) == 1 or word in _OPENERS or word in STOP_WORDS:
        return False
    return _usage()[word][1] > (_OFTEN_LISTED if word in _listed() else _OFTEN)


@cache
def _may_show_word(word: str) -> bool:
    if len(word) == 1:
        return True
    if word in _usage():
        return not _is_name(word)
    # Names of people who are not famous are unknown words; so are hashtags, which are judged by their words.
    parts = [] if word in _listed() else _parts(word)
    return bool(parts) and not any(_is_name(part) for part in parts)


def may_show_token(token: str) -> bool:
    """Whether a token tells nothing of anybody.

    It does if it looks like a name, a handle, a link, an e-mail address or a number, or holds one; or if it holds a word
    that is neither known English nor made of known words, as ``#metoo`` is. What `models.text.normalise` puts in the
    place of handles and the like may be shown, and so may signs, emoji and single letters.

    Parameters
    ----------
    token : str
        Of a normalised post.

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
    """Whether all tokens of a word n-gram, joined by spaces, may be shown: see `may_show_token`."""
    return all(may_show_token(token) for token in ngram.split(" "))


def may_show_characters(ngram: str) -> bool:
    """Whether a character n-gram, with a space where its token begins or ends, tells nothing of anybody.

    A whole token is judged as one. A part of one must not hold a digit, "@" (but that of ``@user``) or a piece of a link, nor be,
    from four letters on, a listed name: shorter ones stand in ordinary words everywhere ("ted" in "wanted").
    """
    text = ngram.strip(" ")
    if len(text) == len(ngram) - 2:
        return may_show_token(text)
    if any(ngram in f" {mask} " for mask in _MASKS) and not text.isalpha():
        return True
    if "@" in text or _NUMBER.search(text) or _LINK.search(text):
        return False
    return not any(len(word) >= 4 and word in _usage() and word in _listed() and _is_name(word) for word in _WORD.findall(text))
