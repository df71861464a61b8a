"""Read letters that only look like English ones: styled, enclosed, marked, from other scripts, or in reverse order.

The tables come from Unicode's own data: names of characters (`unicodedata`) and confusables (UTS #39, package confusable-homoglyphs).
"""

import re
import unicodedata
from functools import cache

import emoji

from models.words import ranks

_FOREIGN = re.compile(r"[^\W\x00-\u02ff]")
_MAYBE_ENCLOSED = re.compile("[\u249c-\u24b5\U0001f100-\U0001f1ff]")
_ENCLOSED = "[\u249c-\u24b5\U0001f110-\U0001f12b\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189]\ufe0f?"
_REGIONAL = "[\U0001f1e6-\U0001f1ff]"
_ENCLOSED_RUN = re.compile(rf"(?:{_ENCLOSED}(?: ?{_ENCLOSED})+|(?<=[a-zA-Z]){_ENCLOSED}|{_ENCLOSED}(?=[a-zA-Z]))")
_REGIONAL_RUN = re.compile(rf"{_REGIONAL}+")

# RIGHT-TO-LEFT OVERRIDE shows what follows in reverse order, up to the end of the line or POP DIRECTIONAL FORMATTING.
_OVERRIDE = re.compile("\u202e([^\u202a-\u202e\n\u2028\u2029]*)\u202c?")

_OVERLAY = re.compile("[\u0335\u0336]+|(?<=[a-zA-Z])[\u0334-\u0338\u20d0-\u20f0]+")
_ZALGO = re.compile("(?<=[a-zA-Z])[\u0300-\u036f\u0483-\u0489]{2,}")
_MAYBE_STYLED = re.compile("[\u0262-\u029f\u0300-\u0489\u1d00-\u1d22\u20d0-\u20f0\ua730-\ua7af]")
_STYLE = r"LATIN (?:CAPITAL |SMALL )?LETTER (?:SMALL CAPITAL |TURNED |REVERSED |SCRIPT |OPEN |INSULAR |CLOSED |SIDEWAYS |DOTLESS |LONG )*"
_LATIN_NAME = re.compile(rf"{_STYLE}(?P<letter>[A-Z])(?: WITH [A-Z -]+)?")
_SMALL_CAPITAL = re.compile("[\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\u1d00-\u1d22\ua730\ua731\ua7af]")
_WORD = re.compile("[^\\W\\d_]+(?:[\u0300-\u036f]+[^\\W\\d_]*)*")
_MARKS = re.compile("(?<=[a-zA-Z])[\u0300-\u036f]+")
_ODD_LETTER = re.compile("[^\\W\x00-\x7f]|[\u0300-\u036f]")

_SYLLABICS = "ᗩᗷᑕᗪᖴᕼᒍᒪᗰᑎᑭᑫᖇᔕᑌᐯᗯ᙭ᘔ"  # letters that generators of fancy text use

_SHORTEST = 3  # shorter words may belong to another language, so they must be everyday English words
_KNOWN = 45_000  # least common rank of a word that odd letters may stand for
_USUAL = 20_000
_EVERYDAY = 150  # words up to this rank show that a text is English ("the", "was", "me")


@cache
def _look_alikes() -> dict[int, str]:
    """Return the letters of other scripts that look like an ASCII letter, each with the ASCII letter."""
    from confusable_homoglyphs.confusables import confusables_data

    table: dict[int, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for entry in confusables_data[letter]:
            look_alike = entry["c"]
            if len(look_alike) == 1 and look_alike.isalpha() and ord(look_alike) > 0x2FF:
                table.setdefault(ord(look_alike), letter)
    return table | {ord(syllabic): letter for syllabic, letter in zip(_SYLLABICS, "abcdfhjlmnpqrsuvwxz", strict=True)}


@cache
def _plain_letters() -> dict[int, str]:
    """Return the Latin letters beyond ASCII, each with the ASCII letter that it is a form of, by its name."""
    from confusable_homoglyphs.confusables import confusables_data

    table = {}
    for code in (*range(0xC0, 0x2B0), *range(0x1D00, 0x1DC0), *range(0x1E00, 0x1F00), *range(0x2C60, 0x2C80), *range(0xA720, 0xA800)):
        if found := _LATIN_NAME.fullmatch(unicodedata.name(chr(code), "")):
            table[code] = found["letter"].lower()
    for letter in "abcdefghijklmnopqrstuvwxyz":
        for entry in confusables_data[letter]:
            if len(entry["c"]) == 1 and 0x7F < ord(entry["c"]) < 0x2B0:
                table.setdefault(ord(entry["c"]), letter)
    return table


def _enclosed(character: str) -> str:
    name = unicodedata.name(character, "")
    return name[-1].lower() if re.search(r"(?:LETTER|SYMBOL LETTER) [A-Z]$", name) else character


def _read_enclosed(found: re.Match[str]) -> str:
    return "".join(_enclosed(character) for character in found[0] if character != "\ufe0f")


def _read_regional(found: re.Match[str]) -> str:
    """Return flags as they are, and other runs of regional indicators as letters."""
    run = found[0]
    letters = "".join(map(_enclosed, run))
    pairs = [run[start : start + 2] for start in range(0, len(run), 2)]
    flags = all(pair in emoji.EMOJI_DATA for pair in pairs)
    return run if flags and not (len(run) > 2 and letters in ranks()) else letters


def read_styled_letters(text: str) -> str:
    r"""Return the text with directional overrides applied, and with enclosed, small capital and struck-out letters replaced by plain ones.

    This is done before compatibility characters are replaced (NFKC) and format characters removed.

    Examples
    --------
    >>> read_styled_letters(chr(0x202E) + "oot em" + chr(0x202C) + " ᴛᴏᴏ"), read_styled_letters("🇺🇸 🇹🇴🇴")
    ('me too too', '🇺🇸 too')
    """
    if "\u202e" in text:
        text = _OVERRIDE.sub(lambda found: found[1][::-1], text)
    if _MAYBE_ENCLOSED.search(text):
        text = _REGIONAL_RUN.sub(_read_regional, _ENCLOSED_RUN.sub(_read_enclosed, text))
    if _MAYBE_STYLED.search(text):
        text = _SMALL_CAPITAL.sub(lambda found: _plain_letters().get(ord(found[0]), found[0]), text)
        text = _ZALGO.sub("", _OVERLAY.sub("", unicodedata.normalize("NFC", text)))
    return text


def _bare(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(letter))


def _is_english(text: str) -> bool:
    """Return whether at least a quarter of the words of two letters or more are everyday English, or nearly all are known English words."""
    words = [ranks().get(word, _KNOWN) for word in _WORD.findall(_bare(text)) if len(word) > 1]
    everyday = sum(rank <= _EVERYDAY for rank in words) >= max(1, len(words) / 4)
    return everyday or (len(words) >= 4 and sum(rank < _USUAL for rank in words) >= 0.9 * len(words))


def _plain_word(word: str) -> str:
    """Return the known English word that a word looks like, or the word itself if it is known or looks like none."""
    lower = word.lower()
    if len(word) == 1 or not _ODD_LETTER.search(word) or lower in ranks():
        return word
    plain = _bare(word).translate(_plain_letters())
    if not plain.isascii():
        plain = word.translate(_look_alikes()).lower().translate(_plain_letters())
    return plain if ranks().get(plain, _KNOWN) < (_EVERYDAY if len(plain) < _SHORTEST else _KNOWN) else word


def read_look_alikes(text: str) -> str:
    """Return the text with words in odd letters replaced by the English words that they look like.

    In a word that contains a Latin letter, letters of other scripts become the Latin letter that they look like. A word with marks, or
    wholly in another script, is changed only if it is unknown and looks like a common English word in an English text.

    Examples
    --------
    >>> read_look_alikes("he tóuched me"), read_look_alikes("él está aquí")
    ('he touched me', 'él está aquí')
    """
    if not _ODD_LETTER.search(text):
        return text
    if _FOREIGN.search(text):
        text = _MIXED_WORD.sub(lambda word: word[0].translate(_look_alikes()), text)
    if not _is_english(text):
        return text
    marked = [word for word in _WORD.findall(text) if len(word) >= _SHORTEST and not word.isascii() and _bare(word) != word.lower()]
    if len(marked) >= _SHORTEST and sum(_plain_word(word) != word for word in marked) >= 0.7 * len(marked):
        text = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))  # "í", "you'ré": marks everywhere
    return _WORD.sub(lambda word: word[0] if word[0].isascii() else _plain_word(word[0]), text)


_MIXED_WORD = re.compile(rf"\b(?=\w*[a-zA-Z])\w*{_FOREIGN.pattern}\w*\b")
