"""English words: how common each is, which of them people mask, and how a run of letters divides into words.

`lexicon/words.txt` holds the 60,000 commonest words of Reddit's comments (package spacy-lookups-data), the commonest first, and "metoo".
`lexicon/masked.txt` holds the words that people write with asterisks, digits or symbols so that a filter does not find them.
"""

import math
from functools import cache, lru_cache
from importlib.resources import files

_LEXICON = files("models") / "lexicon"  # also readable where the package is a zip file, as in Spark's executors
_MASKED = 20_000  # a masked word counts as at least so common
_COMMON = 5_000  # a word of one or two letters that is less common is not taken for part of a hashtag
_GLUED = 2.3  # maximum cost per letter of words that are written together
_LONGEST = 18  # maximum number of letters of one of these words
_LONGEST_TAG = 60
_BEGINNINGS = (4, 6)  # numbers of letters after which a search looks whether a known word begins with them


@cache
def ranks() -> dict[str, int]:
    """Return each known word with its rank, 1 for the commonest."""
    words = (_LEXICON / "words.txt").read_text(encoding="utf-8").split()
    known = {word: rank for rank, word in enumerate(words, 1)}
    return known | {word: min(known.get(word, _MASKED), _MASKED) for word in masked_words()}


@cache
def masked_words() -> dict[str, int]:
    """Return the words that people mask, with their ranks: the word that a mask hides most often comes first."""
    return {word: place for place, word in enumerate((_LEXICON / "masked.txt").read_text(encoding="utf-8").split())}


@cache
def _costs() -> dict[str, float]:
    """Return the negative log probability, by Zipf's law, of each known word that may be a part of a hashtag."""
    known = ranks()
    scale = math.log(len(known))
    costs = dict(zip(known, map(math.log, map(scale.__mul__, known.values())), strict=True))
    for word in [word for word in known if len(word) < 3]:
        if known[word] > _COMMON or (len(word) == 1 and word not in "ai"):
            del costs[word]
    return costs


@cache
def _beginnings() -> set[str]:
    """Return the first letters of each known word, as many as `_BEGINNINGS` says."""
    return {word[:letters] for letters in _BEGINNINGS for word in ranks()}


def words_in(letters: str) -> tuple[str, ...]:
    """Return the likeliest known words that are run together in lower-case letters (Viterbi), or none if they are unlikely.

    Examples
    --------
    >>> words_in("whyididntreport")
    ('why', 'i', 'didnt', 'report')
    """
    return _words_in(letters) if len(letters) <= _LONGEST_TAG else ()


@lru_cache(maxsize=20_000)
def _words_in(letters: str) -> tuple[str, ...]:
    costs, beginnings = _costs(), _beginnings()
    least = [0.0] + [math.inf] * len(letters)  # the least cost of the letters up to each place,
    begins = [0] * (len(letters) + 1)  # and where the last of their words begins
    for start, before in enumerate(least):
        if before == math.inf:
            continue
        for stop in range(start + 1, min(start + _LONGEST, len(letters)) + 1):
            word = letters[start:stop]
            if cost := costs.get(word):
                if before + cost < least[stop]:
                    least[stop], begins[stop] = before + cost, start
            elif stop - start in _BEGINNINGS and word not in beginnings:
                break
    if least[-1] > _GLUED * len(letters):
        return ()
    words, stop = list[str](), len(letters)
    while stop:
        start = begins[stop]
        words.append(letters[start:stop])
        stop = start
    return tuple(reversed(words))
