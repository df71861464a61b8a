"""Read words as they were meant: elongated, spelled with digits, symbols, asterisks or single letters, or run together.

The first column shows what is written, and the second how it is read:

==========================  ==========================================================================
``groooped``, ``soooo``     the commonest known word, for a letter three times or more in a row
``gr0ped``, ``r@p3d``       letters for digits and symbols: ``0 o``, ``1 i l``, ``3 e``, ``4 a``, ``5 s``, ``7 t``, ``@ a``,
                            ``$ s``, ``! i``, ``| i l``, ``+ t``, ``€ e``, ``£ l``, ``¡ i``
``r**ed``, ``r-pe``         a word of `lexicon/masked.txt`, for ``*``, ``-``, ``.``, ``#``
``rxpe``                    a word of `lexicon/masked.txt`, for ``x``
``ra-ped``, ``r.a.p.e``     the word, for letters set apart
``me_too``, ``me|too``      spaces, for other characters
``dont``, ``didn;t``        the apostrophe, for a missing or wrong one
``graped``, ``sa'd``        what `lexicon/algospeak.csv` says, with a source for each line
==========================  ==========================================================================
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.resources import files
from itertools import combinations, product

from models.masks import USER
from models.words import masked_words, ranks, words_in

_SUBSTITUTES = {
    **{"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t"},
    **{"@": "a", "$": "s", "!": "i", "|": "il", "+": "t", "€": "e", "£": "l", "¡": "i"},
}
_WILDCARDS = "*#.-–_"
_SYMBOLS = re.escape("".join(_SUBSTITUTES)) + "*"
_SUBSTITUTED = re.compile(rf"[{_SYMBOLS}]*[a-z][a-z{_SYMBOLS}]*")
# A letter or symbol, and a wildcard somewhere after it. Written without repeats of repeats, whose time would be exponential.
_WILD = re.compile(rf"[a-z{_SYMBOLS}][a-z{_SYMBOLS}*#.\-–_]*[*#.\-–_][a-z{_SYMBOLS}*#.\-–_]*")
_SEPARATORS = re.compile(r"[-.*|!+~/\\'_]+")
_MOST_READINGS = 64
_LONGEST = 24  # letters of a word that may be spelled oddly

THRICE = re.compile(r"(.)\1\1")
_STRETCHED_LETTERS = re.compile(r"([^\W\d_])\1{2,}")
STRETCHED = re.compile(r"([^\W\d]|[^\w\s])\1{3,}")
_SHORTENED = 50  # a word with one letter less must be this many times as common ("too", not "to")

_NEGATED = "are|ca|could|did|do|does|had|has|have|is|might|must|need|should|was|were|would|ai"
_BEFORE = {  # words after which a missing apostrophe is certain, by what follows the apostrophe
    **{"m": "i", "s": "he she that what there where who how here", "d": "you they", "ll": "you they", "re": "you they"},
    "ve": "i you they we who could would should might must",
}
_NO_APOSTROPHE = {f"{verb}nt": f"{verb}n't" for verb in _NEGATED.split("|")} | {
    word + end: f"{word}'{end}" for end, words in _BEFORE.items() for word in words.split()
}
_WRONG_APOSTROPHE = re.compile(rf"({_NEGATED}|wo)(?:n[;,\"?*^´`]+t|nt'|n''+t)|(i|you|we|they|he|she)[;\"^´`]+(m|ve|re|ll|d|s)")
_APART = re.compile(
    rf"(?<![^\W_])(?:(?P<verb>{_NEGATED}|wo)(?:n ?'? |n ')t|(?P<i>i) (?P<m>m|ve|ll)|(?P<you>you|we|they) (?P<re>re|ve|ll))(?![\w'])"
)
_MAYBE_APART = re.compile(r" (?:\w(?:[.]? | - )\w|[-] \w|'?t|m|ve|ll|re)(?!\w)")
_LETTERS_APART = re.compile(r"(?<![^\s\"'(#])[^\W\d_](?:(?:[.]? | - )[^\W\d_]){2,}(?![^\s.,!?;:)\"'])")

_SINGLES = re.compile(r"[a-z]([-.|*~/\\+•·_])[a-z](?:\1[a-z])+\1?")
_JOINED = re.compile(r"[^\W\d_]+([.~+\\•·])[^\W\d_]+(?:\1[^\W\d_]+)+")
_BETWEEN = re.compile(r"[.~+\\•·]+")
RUN = re.compile(rf"[\w{_SYMBOLS}'’\-]+")
EDGES = ".,!?;:\"'()[]{}…"


@cache
def listed_spellings() -> dict[str, str]:
    """Return the spellings that stand for other words as a whole: algospeak, and "x" for vowels in words that people mask."""
    table = {}
    for word in reversed(masked_words()):
        vowels = [place for place, letter in enumerate(word) if letter in "aeiou"]
        for places in (places for count in range(1, len(vowels) + 1) for places in combinations(vowels, count)):
            spelling = "".join("x" if place in places else letter for place, letter in enumerate(word))
            if len(word) > 3 and spelling not in ranks():
                table[spelling] = word
    return table | {spelling: meaning for spelling, meaning in algospeak() if " " not in spelling}


@cache
def meanings() -> dict[str, str]:
    """Return the spellings that `read_word` reads as other words."""
    return listed_spellings() | _NO_APOSTROPHE


@cache
def algospeak() -> tuple[tuple[str, str], ...]:
    """Return the spellings of `lexicon/algospeak.csv` with their meanings."""
    table = (files("models") / "lexicon" / "algospeak.csv").read_text(encoding="utf-8")
    return tuple((row["spelling"], row["meaning"]) for row in csv.DictReader(table.splitlines()))


@cache
def _phrases() -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern for algospeak with spaces or emoji, which `normalise` sets off by spaces, and the meanings."""
    meanings = {spelling.replace(" 🍇", "🍇"): meaning for spelling, meaning in algospeak() if "🍇" in spelling or " " in spelling}
    spellings = "|".join(re.escape(spelling).replace("🍇", " ?🍇 ?") for spelling in sorted(meanings, reverse=True))
    return re.compile(rf"(?<!\w)(?:{spellings})(?!\w)"), meanings


def _readings(word: str) -> Iterator[str]:
    """Yield the ways to read a word in which digits and symbols stand for letters."""
    if word.isalpha():
        yield word
        return
    choices = [_SUBSTITUTES.get(character, character) for character in word]
    count = 1
    for options in choices:
        count *= len(options)
    if count <= _MOST_READINGS:
        yield from map("".join, product(*choices))


def _commonest(words: Iterator[str]) -> str | None:
    known = ranks()
    return min((word for word in words if word in known), key=known.__getitem__, default=None)


@cache
def _masked(length: int, beginning: str) -> tuple[str, ...]:
    return tuple(word for word in masked_words() if len(word) == length and word.startswith(beginning))


def unmask(run: str) -> str | None:
    """Return the masked word that a run of letters and wildcards hides."""
    if len(run) > _LONGEST:
        return None
    for word in _masked(len(run), run[0] if "a" <= run[0] <= "z" else ""):
        if all(
            character == letter or character in _WILDCARDS or letter in _SUBSTITUTES.get(character, "")
            for character, letter in zip(run, word, strict=True)
        ):
            return word
    together = _SEPARATORS.sub("", run)
    return _masked_among(_readings(together)) if len(together) > 3 else None


def _masked_among(readings: Iterable[str]) -> str | None:
    masked = masked_words()
    return min((word for word in readings if word in masked), key=masked.__getitem__, default=None)


def spelled(run: str) -> str | None:
    """Return the word that is meant by letters with digits, symbols or wildcards among them, or None.

    Parameters
    ----------
    run : str
        Lower-case characters without spaces, such as ``gr0ped``.

    Examples
    --------
    >>> spelled("gr0ped"), spelled("r**ed"), spelled("covid19")
    ('groped', 'raped', None)
    """
    if len(run) > _LONGEST:
        return None
    if "'" in run:
        word, _, end = run.partition("'")
        return f"{meaning}'{end}" if end.isalpha() and (meaning := spelled(word)) else None
    if not _SUBSTITUTED.fullmatch(run):
        return unmask(run) if _WILD.fullmatch(run) and any(map(str.isalpha, run)) else None
    if "*" in run:
        return unmask(run) if run[0] != "*" and run.rstrip("*") not in ranks() else None
    readings = list(_readings(run))
    if masked := _masked_among(readings):
        return masked
    # A number before or after a word is more likely a number.
    certain = run[0].isalpha() and not run[-1].isdigit() and len(run) > (4 if run.isalnum() else 3)
    return _commonest(iter(readings)) if certain else None


def _shorten(word: str) -> str:
    """Return the known word that was stretched, or the word with letters three times in a row at most."""
    runs = list(_STRETCHED_LETTERS.finditer(word))
    if runs and len(runs) <= 4 and runs[0][0] != word and len(word) <= 200 and word.strip("ivx"):  # "viii" is a number
        best, least = "", float("inf")
        for lengths in product((2, 1), repeat=len(runs)):
            short, at = "", 0
            for run, length in zip(runs, lengths, strict=True):
                short += word[at : run.start()] + run[1] * length
                at = run.end()
            short += word[at:]
            rank = 0 if short in masked_words() else ranks().get(short, float("inf"))
            cost = rank * _SHORTENED ** lengths.count(1)
            if cost < least:
                best, least = short, cost
        if best:
            return best
    return STRETCHED.sub(r"\1\1\1", word)


def read_word(word: str) -> str:
    """Return the meaning of a word that consists of letters only."""
    if THRICE.search(word):
        word = _shorten(word)
    return meanings().get(word, word)


def _read_run(found: re.Match[str]) -> str:
    run = found[0]
    word = run.strip("-!|+'’")
    if not word or word.isalpha():
        return run.replace(word, read_word(word)) if word else run
    if "'" in word or "’" in word:
        return run.replace(word, listed_spellings().get(word) or spelled(word) or word)
    meaning = None if word.isdigit() else spelled(word) or spelled(word.rstrip("$"))
    return run.replace(word, read_word(meaning)) if meaning else run


def _parted(core: str) -> str | None:
    """Return words that are joined by characters other than spaces."""
    if "#" in core:  # a hashtag is one word
        return None
    if "_" in core or "|" in core:
        parts = [part for part in re.split(r"[_|]+", core) if part]
        words = sum(len(part) > 1 and any(map(str.isalpha, part)) for part in parts)  # "^_^" and "o_o" have none
        if len(parts) > 1 and words and ("_" in core or len(parts) > 3 or all(part in ranks() for part in parts)):
            return " ".join(map(read_piece, parts))
    return " ".join(filter(None, map(read_piece, _BETWEEN.split(core)))) if _JOINED.fullmatch(core) else None


def _with_right_apostrophe(core: str) -> str | None:
    wrong = _WRONG_APOSTROPHE.fullmatch(core)
    return wrong and (f"{wrong[1]}n't" if wrong[1] else f"{wrong[2]}'{wrong[3]}")


# Each returns what a piece means if it is of its kind, or else None. The order matters: "r_a_p_e" is one word, "me_too" is two.
_READERS: tuple[Callable[[str], str | None], ...] = (
    lambda core: read_word(core) if core.isalpha() else None,
    lambda core: listed_spellings().get(core),
    _with_right_apostrophe,
    lambda core: (_together("".join(filter(str.isalpha, core))) or core) if _SINGLES.fullmatch(core) else None,
    _parted,
    lambda core: unmask(core) if "." in core or "#" in core else None,
    lambda core: RUN.sub(_read_run, core),
)


def read_piece(piece: str) -> str:
    """Read a piece of text without spaces, links, handles and hashtags."""
    core = piece.strip(EDGES)
    if not core or core == USER:
        return piece
    before, after = piece[: piece.index(core)], piece[piece.index(core) + len(core) :]
    if after[:1] == "'" and "'" not in before and _WRONG_APOSTROPHE.fullmatch(core + "'"):  # dont'
        core, after = core + "'", after[1:]
    return before + next(meaning for read in _READERS if (meaning := read(core)) is not None) + after


def _together(letters: str) -> str | None:
    """Return the word or words that single letters spell, or None; "a" and "i" at an end may be words of their own."""
    readings = [letters]
    for start, stop in ((1, None), (0, -1), (1, -1)):
        if all(edge in "ai" for edge in letters[:start] + (letters[stop:] if stop else "")):
            readings.append(" ".join(filter(None, (letters[:start], letters[start:stop], letters[stop:] if stop else ""))))
    longest = {reading: max(reading.split(" "), key=len) for reading in readings}
    for reading, word in longest.items():
        if word in masked_words():
            return reading
    known = [reading for reading, word in longest.items() if len(word) > 3 and word in ranks()]
    if known:
        return min(known, key=lambda reading: ranks()[longest[reading]])
    return " ".join(words_in(letters)) if len(letters) > 5 else None


def read_across(text: str) -> str:
    """Read what is written with spaces in it: the letters of one word, apostrophes, and algospeak of several words.

    Parameters
    ----------
    text : str
        Lower-case words with single spaces.
    """
    if _MAYBE_APART.search(text):
        text = _LETTERS_APART.sub(lambda found: _together(re.sub("[ .-]", "", found[0])) or found[0], text)
        text = _APART.sub(_bring_together, text)
    if "🍇" in text:
        pattern, meanings = _phrases()
        text = " ".join(pattern.sub(lambda found: f" {meanings[re.sub(' ?🍇 ?', '🍇', found[0])]} ", text).split())
    return text


def _bring_together(found: re.Match[str]) -> str:
    if found["verb"]:
        return f"{found['verb']}n't"
    return f"{found['i']}'{found['m']}" if found["i"] else f"{found['you']}'{found['re']}"
