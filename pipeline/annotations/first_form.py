"""The normaliser of the first form of annotations (``hash_v1``), as it was when they were made.

Nothing else uses it, and it must never change, so that whoever holds annotations of that form can still join them.
"""

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

import emoji

URL, EMAIL, USER, PHONE = "<url>", "<email>", "@user", "<phone>"

_ROUNDS = 8  # maximum number of rounds of repair

# Whatever ftfy considers mojibake contains one of these. Its own check is ten times slower.
_MOJIBAKE = re.compile("[\x80-\x9f]|[^\x00-\x7f]{2}|[\u0152\u0153\u00c2\u00c3]")
_STRAIGHT = (
    dict.fromkeys("`\u00b4\u02bb\u02bc‘’‚‛′‹›", "'") | dict.fromkeys("“”„‟«»″〝〞", '"') | dict.fromkeys("\u2010\u2011‒–—―\u2212", "-")
)
_CURLY = re.compile(f"[{''.join(_STRAIGHT)}]")
# Control characters except white space; format characters and Default_Ignorable_Code_Points except ZERO WIDTH JOINER.
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MAYBE_MARKS = re.compile("[\u0300-\U0001efff]{31}")  # more in a row than stream-safe text has (UAX #15)
_FOREIGN = re.compile(r"[^\W\x00-\u02ff]")
_MIXED_WORD = re.compile(rf"\b(?=\w*[a-zA-Z])\w*{_FOREIGN.pattern}\w*\b")


def _ranges(characters: Iterable[str]) -> str:
    """Return the characters as ranges for a regular expression: as few as possible, because `re` tries each range beyond U+FFFF."""
    parts = []
    for _, pairs in groupby(enumerate(sorted(characters)), lambda pair: ord(pair[1]) - pair[0]):
        run = [character for _, character in pairs]
        parts.append(f"{run[0]}-{run[-1]}")
    return "".join(parts)


_SINGLE = _ranges(found for found in emoji.EMOJI_DATA if len(found) == 1)
_NEAR_EMOJI = "[\u00a9\u00ae\u200d-\u3299\U0001f000-\U0001faff]"  # a fast first check: most characters are not in it
_JOINER = "\u200d"
EMOJI = (
    r"(?:[0-9#*]\u20e3|[\U0001f1e6-\U0001f1ff]{2}"  # keycaps, flags
    rf"|(?={_NEAR_EMOJI})[{_SINGLE}][\U0001f3fb-\U0001f3ff]?(?:{_JOINER}[{_SINGLE}][\U0001f3fb-\U0001f3ff]?)*)"  # skin tones, joins
)
_MAYBE_EMOJI = re.compile(_NEAR_EMOJI)
_EMOJI_OR_JOINER = re.compile(f"({EMOJI})|{_JOINER}")

_RUN = re.compile(r"(.)\1\1\1")  # faster than {3}
_ELONGATED = re.compile(r"([^\W\d]|[^\w\s])\1{3,}")

PLACEHOLDER = re.compile(f"{URL}|{EMAIL}|{PHONE}")
_MAYBE_LINK = re.compile(r"\.\w|:/")
_LINK = re.compile(
    r"(?:https?|ftp)://[^\s<>]+|(?<!\w)www\.\w[^\s<>]*"
    r"|(?P<email>(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.\w[\w-]*)+)"
    r"|(?<![\w@-])(?<!\w\.)(?:[\w-]+\.)+(?:[a-z]{2,6}/[^\s<>]*"
    r"|(?:com|org|net|edu|gov|info|io|ly|me|tv|co|uk|ca|us|be|gl)(?:\.[a-z]{2})?(?:[:?#]\w[^\s<>]*|(?![\w@-]|\.\w)))"
)
# After a letter, "@" more likely means "a" (h@rass), unless a hashtag comes before it or what follows cannot be part of such a word.
_HANDLE = re.compile(r"(#\w+)(?:@\w+)+|@(?:(?<!\w@)\w+|\w{10,}|\w*_\w*)(?:@\w+)*")
_YEARS = r"(?:19|20)\d\d ?- ?(?:19|20)\d\d\b"
_PHONE = re.compile(rf"[+(]{{0,2}}(?<!\d)(?!{_YEARS})\d(?:[ ().-]{{0,2}}\d){{6,}}")
_MAYBE_PHONE = re.compile(r"\d(?:[ ().-]{0,2}\d){6}")


@cache
def _look_alikes() -> dict[int, str]:
    """Return the letters of other scripts that look like an ASCII letter (Unicode TR39 confusables), each with the ASCII letter."""
    from confusable_homoglyphs.confusables import confusables_data

    table: dict[int, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for entry in confusables_data[letter]:
            look_alike = entry["c"]
            if len(look_alike) == 1 and look_alike.isalpha() and ord(look_alike) > 0x2FF:
                table.setdefault(ord(look_alike), letter)
    return table


@cache
def _many_marks() -> re.Pattern[str]:
    """Return a pattern for thirty combining marks and all that follow; NFKC takes quadratic time to sort marks."""
    marks = _ranges(filter(unicodedata.combining, map(chr, range(0x300, 0x1F000))))
    return re.compile(f"([{marks}]{{30}})[{marks}]+")


def _is_plain(text: str) -> bool:
    """Return whether `_repair` would leave a text unchanged."""
    return text.isascii() and text.isprintable() and ("&" not in text or html.unescape(text) == text)


def _repair(text: str) -> str:
    """Do steps 1 to 4 of `normalise` once."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = html.unescape(text)
    text = _CURLY.sub(lambda found: _STRAIGHT[found[0]], text)
    if _MAYBE_MARKS.search(text):
        text = _many_marks().sub(r"\1", text)
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    if _FOREIGN.search(text):
        text = _MIXED_WORD.sub(lambda word: word[0].translate(_look_alikes()), text)
    if _MAYBE_EMOJI.search(text):
        text = _EMOJI_OR_JOINER.sub(lambda found: f" {found[1]} " if found[1] else "", text)
    return text


def _mask(text: str) -> str:
    """Do step 7 of `normalise`."""
    before = text
    if "<" in text:
        text = PLACEHOLDER.sub(r" \g<0> ", text)
    if _MAYBE_LINK.search(text):
        text = _LINK.sub(lambda found: f" {EMAIL if found['email'] else URL} ", text)
    if "@" in text:
        text = _HANDLE.sub(rf"\1 {USER} ", text)
    if _MAYBE_PHONE.search(text):
        text = _PHONE.sub(f" {PHONE} ", text)
    return text if text is before else " ".join(text.split())


def _finish(text: str) -> str:
    """Do steps 5 to 7 of `normalise`."""
    text = " ".join(text.lower().replace("`", "'").split())
    if _RUN.search(text):
        text = _ELONGATED.sub(r"\1\1\1", text)
    # A mask can expose the beginning of another match. Each pass leaves less unmasked text, so this ends.
    while (masked := _mask(text)) != text:
        text = masked
    return text


def normalise_1(text: str) -> str:
    """Return a post as version 1 of the normaliser did.

    Parameters
    ----------
    text : str
        A raw post.
    """
    if _is_plain(text) and _is_plain(text := _finish(text)):
        return text
    finished = False
    for _ in range(_ROUNDS):
        repaired = _repair(text)
        if finished and " ".join(repaired.split()) == text:
            return text
        text, finished = _finish(repaired), True
        if _is_plain(text):
            return text
    return _finish(text.encode("ascii", "ignore").decode().replace("&", ""))
