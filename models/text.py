"""Normalise raw posts: repair their text, read disguised words, and mask links, handles and other addresses."""

import html
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby

import emoji

from models.chunks import read_chunk
from models.hashtags import MARK, place_hashtag_words
from models.letters import read_look_alikes, read_styled_letters
from models.markup import maybe_markup, strip_markup
from models.masks import EMAIL, PHONE, PLACEHOLDER, URL, USER, mask_phones, set_off_placeholders, without_edge_masks
from models.spelling import read_across

__all__ = [
    "EMAIL",
    "EMOJI",
    "MAX_CHARS",
    "NORMALISER",
    "PHONE",
    "PLACEHOLDER",
    "URL",
    "USER",
    "is_blank",
    "normalise",
    "without_edge_masks",
]

NORMALISER = 2  # version of what `normalise` and `without_edge_masks` do; a model says which one it was trained with

MAX_CHARS = 100_000  # maximum length of a post, unless a job sets another

_MOST_CHUNKS, _MOST_CHARACTERS = 200_000, 20_000_000
_JOINING = re.compile(rf"[\d{MARK}🍇]|(?:^| )[\"'(#]?(?:[^\W\d_ai]|ll|re|ve)(?!\w)")  # see `mask_phones` and `read_across`
_ROUNDS = 8  # maximum number of rounds of repair

_STRAIGHT = (
    dict.fromkeys("`\u00b4\u02bb\u02bc‘’‚‛′‹›", "'") | dict.fromkeys("“”„‟«»″〝〞", '"') | dict.fromkeys("\u2010\u2011‒–—―\u2212", "-")
)
_CURLY = re.compile(f"[{''.join(_STRAIGHT)}]")
_BLANK = "\u2800"  # a Braille cell without dots
_LINE_ENDS = dict.fromkeys(map(ord, "\n\r\t"), " ")
_USUAL = [(mark, _STRAIGHT[mark]) for mark in "’‘“”–—"] + [("…", "..."), ("\u00a0", " "), (_BLANK, " ")]
# Control characters except white space; format characters and Default_Ignorable_Code_Points except ZERO WIDTH JOINER.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
_SEEN = re.compile(f"[^\\s{_BLANK}{_INVISIBLE}]")
_MOST_MARKS = 30  # in a row, as in stream-safe text (UAX #15)
_MAYBE_MARKS = re.compile("[\u0300-\U0001efff]{31}")


def _ranges(characters: Iterable[str]) -> str:
    """Return the characters as ranges for a regular expression: as few as possible, because `re` tries each range beyond U+FFFF."""
    parts = []
    for _, pairs in groupby(enumerate(sorted(characters)), lambda pair: ord(pair[1]) - pair[0]):
        run = [character for _, character in pairs]
        parts.append(f"{run[0]}-{run[-1]}")
    return "".join(parts)


# Whatever ftfy considers mojibake contains one of these. Its own check is ten times slower, and merely importing ftfy takes 70 ms.
# ftfy's rules name "ƒ", "Î" and "Ð" together with small letters.
_LETTERS = [letter for letter in map(chr, range(0xC0, 0x530)) if unicodedata.category(letter) in {"Lu", "Ll"} and letter not in "ƒÎÐ"]
_USUAL_PAIR = f".…|[{_ranges(_LETTERS)}][{_ranges(filter(str.islower, _LETTERS))}]"  # in texts of other languages
_MOJIBAKE = re.compile(f"[\x80-\x9fŒœÂÃ]|(?!{_USUAL_PAIR})[\x80-\u052f\u2010-\u25ff\ufb00-\ufb06\uf8ff\ufffd]{{2}}")

_SINGLE = _ranges(found for found in emoji.EMOJI_DATA if len(found) == 1)
_NEAR_EMOJI = "[\u00a9\u00ae\u200d-\u3299\U0001f000-\U0001faff]"  # a fast first check: most characters are not in it
_JOINER = "\u200d"
EMOJI = (
    r"(?:[0-9#*]\u20e3|[\U0001f1e6-\U0001f1ff]{2}"  # keycaps, flags
    rf"|(?={_NEAR_EMOJI})[{_SINGLE}][\U0001f3fb-\U0001f3ff]?(?:{_JOINER}[{_SINGLE}][\U0001f3fb-\U0001f3ff]?)*)"  # skin tones, joins
)
_MAYBE_EMOJI = re.compile(_NEAR_EMOJI)
_EMOJI_OR_JOINER = re.compile(f"({EMOJI})|{_JOINER}")
# Characters that are only set off, or stay as they are: no emoji that stands for a letter ("🅰") or a word ("🍇"), or that NFKC replaces.
_PLAIN_EMOJI = (found for found in emoji.EMOJI_DATA if len(found) == 1 and not (found < "\u2600" or "\U0001f100" <= found <= "\U0001f1ff"))
_EASY = frozenset(found for found in _PLAIN_EMOJI if found != "🍇" and unicodedata.is_normalized("NFKC", found)) | {_JOINER, "•"}
_BEYOND_ASCII = re.compile(r"([^\x00-\x7f]+)")


def _set_off_emoji(text: str) -> str:
    """Set off emoji by spaces, and remove joiners that join none."""
    if not _MAYBE_EMOJI.search(text):
        return text
    return _EMOJI_OR_JOINER.sub(lambda found: f" {found[1]} " if found[1] else "", text)


def _with_fewer_marks(text: str) -> str:
    """Return a text with at most thirty combining marks in a row; NFKC takes quadratic time to sort marks."""
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def is_plain(text: str) -> bool:
    """Return whether `_repair` would leave a text unchanged."""
    if not (text.isascii() and text.isprintable()):
        return False
    return ("&" not in text or html.unescape(text) == text) and ("<" not in text or not maybe_markup(text))


def easily_repaired(text: str) -> str | None:
    """Return what `_repair` returns for a post that needs little repair, or else None.

    Almost all posts need only the usual quotes, dashes, dots, spaces, line ends, bullets and emoji repaired. What is returned may differ
    from what `_repair` returns in white space, and in "`", which `_finish` replaces.
    """
    if not text.isascii():
        for mark, plain in _USUAL:
            text = text.replace(mark, plain)
    if not text.isprintable():
        text = text.translate(_LINE_ENDS)
    if text.isascii():
        return text if is_plain(text) else None
    parts = _BEYOND_ASCII.split(text.replace("\ufe0f", ""))
    if not (all(map(_EASY.issuperset, parts[1::2])) and is_plain(" ".join(parts[::2]))):
        return None
    parts[1::2] = map(_set_off_emoji, parts[1::2])
    return "".join(parts)


def _repair(text: str) -> str:
    """Do steps 1 to 4 of `normalise` once."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = strip_markup(html.unescape(text))
    text = _CURLY.sub(lambda found: _STRAIGHT[found[0]], text.replace(_BLANK, " "))
    if _MAYBE_MARKS.search(text):
        text = _with_fewer_marks(text)
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", read_styled_letters(text))).replace("İ", "i\u0307")
    text = read_look_alikes(text)
    return _set_off_emoji(text)


class _Chunks(dict[str, str]):
    """What `read_chunk` returned for the chunks seen so far, of which it keeps only a limited number.

    Attributes
    ----------
    joining : set of str
        The chunks among them whose reading may depend on the chunks beside them.
    characters : int
        Their length: in scripts without spaces, a chunk may be a whole post.
    """

    def __init__(self) -> None:
        self.joining = set[str]()
        self.characters = 0

    def __missing__(self, chunk: str) -> str:
        read = read_chunk(chunk)
        if not (read.isalpha() and len(read) > 2) and _JOINING.search(read):
            self.joining.add(chunk)
        self[chunk] = read  # only now, because another thread that finds the chunk looks into `joining`
        self.characters += len(chunk)
        return read


_chunks = _Chunks()


def _known_chunks() -> _Chunks:
    """Return what is known about chunks; if that is too much, begin anew."""
    global _chunks  # noqa: PLW0603 - replaced instead of emptied, because other threads may be in the middle of a post
    if len(_chunks) >= _MOST_CHUNKS or _chunks.characters > _MOST_CHARACTERS:
        _chunks = _Chunks()
    return _chunks


def _finish(text: str) -> str:
    """Do steps 5 to 7 of `normalise`, until nothing changes."""
    for _ in range(_ROUNDS):
        before, known = text, _known_chunks()
        chunks = set_off_placeholders(text).replace("`", "'").split()
        text = " ".join(filter(None, map(known.__getitem__, chunks)))
        if known.joining.isdisjoint(chunks):
            break
        words = place_hashtag_words(text)
        text = mask_phones(read_across(words))
        if text in {words, before}:
            break
    return text


def normalise(text: str) -> str:
    """Normalise a post; every later step works on the result.

    1. Repair: lone surrogates become U+FFFD, mojibake is decoded again (ftfy), HTML entities are unescaped, and HTML is removed
       (``models/markup.py``).
    2. Unicode: quotes and dashes become ASCII, overridden directions are applied, at most thirty combining marks in a row are kept,
       NFKC is applied, and zero-width, bidirectional and control characters are removed.
    3. Letters that only look like English ones are read (``models/letters.py``).
    4. Emoji are set off by spaces, a joined sequence as one emoji; joiners are removed everywhere else.
    5. Links become ``<url>``, e-mail addresses ``<email>``, handles ``@user``, and phone numbers and other runs of seven or more
       digits except dates ``<phone>`` (``models/masks.py``).
    6. The text is lower-cased, and white space becomes single spaces.
    7. Words are read as they were meant (``models/spelling.py``), and the words of a hashtag are put beside it (``models/hashtags.py``).

    These steps repeat until nothing changes. Text that still changes after eight rounds was made to confuse; it is reduced to ASCII
    without ampersands and tags.

    Parameters
    ----------
    text : str
        A raw post.

    Returns
    -------
    str
        The normalised text, without leading or trailing space; ``normalise(normalise(t)) == normalise(t)``.

    Examples
    --------
    >>> normalise("@somebody I BELIEVE youuuuu &amp; stand with you https://example.org/a")
    '@user i believe you & stand with you <url>'
    """
    if (easy := easily_repaired(text)) is not None and easily_repaired(easy := _finish(easy)) is not None:
        return easy
    finished = False
    for _ in range(_ROUNDS):
        repaired = _repair(text)
        if finished and " ".join(repaired.split()) == text:
            return text
        text, finished = _finish(repaired), True
        if is_plain(text):
            return text
    return _finish(text.encode("ascii", "ignore").decode().translate({ord(mark): None for mark in "&<"}))


def is_blank(text: str) -> bool:
    """Return whether a raw post has nothing visible in it, so that there is nothing to score.

    Examples
    --------
    >>> is_blank(chr(0x200B)), is_blank("<p></p>"), is_blank("&nbsp;"), is_blank(".")
    (True, True, True, False)
    """
    first = _SEEN.search(text)
    return not first or (first[0] in "<&" and not normalise(text))  # what begins otherwise is no mere markup
