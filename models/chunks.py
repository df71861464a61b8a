"""Read what stands between spaces: links and handles are masked, hashtags divided, and words read as they were meant."""

import re

from models.hashtags import MARK, TAG, with_words
from models.masks import EMAIL, PHONE, URL, USER, mask_handles, mask_links
from models.spelling import EDGES, RUN, STRETCHED, listed_spellings, read_piece, read_word, spelled, unmask

# Most chunks are like this; the others take ten times as long.
_ORDINARY = re.compile(r"""(["'(]?)([A-Za-z]+(?:'[A-Za-z]+)?|\d+)((?:[.,!?;:)"]|(?<![nN][tT])'){0,3})""")
_COMPOUND = re.compile(
    r"""[-"'(\[.]{0,3}[a-z]{3,}(?:'[a-z]{1,2})?(?:(?:[-/,;:&="()]{1,3}|\.\.\.?)[a-z]{3,}(?:'[a-z]{1,2})?)*(?:[-/.,!?;:)"\]]|(?<!nt)'){0,3}"""
    r"|\(?\d{1,4}(?:[.,:/-]\d{1,4})*(?:st|nd|rd|th|s|am|pm)?[).,:;!?%/]{0,2}"
)
_LETTERS = re.compile("[a-z]{3,}")
_ONLY_LINK = re.compile(r"https?://[\w/?=&%~+-]+(?:\.[\w/?=&%~+-]+)+", re.ASCII)
_ONLY_HANDLE = re.compile(r"([.\"(]?)@(?!ss|bu)\w+([:,!?)\"]{0,3}|\.)")
_ONLY_TAG = re.compile(r"#(\w+)([.,!?;:)\"]{0,3})")

_SENTENCE = re.compile(r"\w[^\w\s#]_\w")  # underscores, and a punctuation mark before one of them

_MASKS = {URL, EMAIL, USER, PHONE}
_ROUNDS = 8  # maximum number of times that a chunk is read again


def read_chunk(chunk: str) -> str:
    """Normalise a piece of a post that stands between spaces: mask its links and handles, lower-case it and read its words.

    Parameters
    ----------
    chunk : str
        Characters without white space.

    Returns
    -------
    str
        The words, which may be several or none; words beside a hashtag are marked for `models.hashtags.place_hashtag_words`.
    """
    if chunk.isalpha() and chunk.isascii():
        return read_word(chunk.lower())
    if chunk[:1] == "#" and (tag := _ONLY_TAG.fullmatch(chunk)):
        return " ".join(f"{with_words(tag)}{tag[2]}".split())
    if ordinary := _ORDINARY.fullmatch(chunk):
        before, word, after = ordinary.groups()
        word = word.lower()
        return before + (read_word(word) if word.isalpha() else listed_spellings().get(word, word)) + after
    if _ONLY_LINK.fullmatch(chunk):
        return URL
    if handle := _ONLY_HANDLE.fullmatch(chunk):
        return f"{handle[1]} {USER} {handle[2]}".strip()
    lower = chunk.lower()
    return lower if _is_compound(lower) else _read_odd(chunk)


def _is_compound(lower: str) -> bool:
    """Return whether a chunk is ordinary words or numbers with punctuation between them ("he/she", "self-esteem,")."""
    if not _COMPOUND.fullmatch(lower) or ":/" in lower:
        return False
    core = lower.strip(EDGES)
    return all(read_word(part) == part for part in _LETTERS.findall(lower)) and (core.isalpha() or not unmask(core))


def _read_odd(chunk: str) -> str:
    """Read a chunk, and the pieces that it falls into, until nothing changes."""
    lower = chunk.lower()
    read = _read_once(chunk)
    for _ in range(_ROUNDS):
        if lower == read:
            break
        lower, read = read, " ".join(filter(None, map(_read_again, read.split())))
    return read


def _read_again(piece: str) -> str:
    if piece in _MASKS or MARK in piece or piece.isalpha():
        return piece
    if TAG.search(piece) and _plain_tag(piece) == piece:  # the hashtag's words stand beside it already
        return " ".join(mask_handles(mask_links(piece)).split())
    return _read_once(piece)


def _plain_tag(piece: str) -> str:
    """Return "#raped" for "#r@ped", and any other piece as it is."""
    if piece[0] == "#" and not _ONLY_TAG.fullmatch(piece):
        word = read_piece(piece[1:].lower())
        if word.strip(EDGES).isalpha():
            return f"#{word}"
    return piece


def _spaced(text: str) -> str:
    """Put spaces for underscores and vertical bars between the words of a sentence; a single word between them is left to a later step."""
    if "_" in text:
        text = text.replace("_", " ") if "@" not in text and _SENTENCE.search(text) else text.replace("_#", " #")
    if "|" in text and ("|#" in text or sum(len(part) > 1 and part[:1].isalnum() for part in text.split("|")) > 2):
        return text.replace("|", " ")
    return text


def _read_once(chunk: str) -> str:
    text = _spaced(_plain_tag(mask_links(chunk)))
    if "#" in text:
        text = TAG.sub(with_words, text)
    text = text.lower()
    if "@" in text:  # "@" may stand for a letter, or begin a handle
        text = RUN.sub(lambda run: (spelled(run[0]) if "@" in run[0] else None) or run[0], text)
    text = mask_handles(text)
    pieces = [piece if piece[0] in "#<@\x00" or MARK in piece else read_piece(piece) for piece in text.split()]
    return " ".join(STRETCHED.sub(r"\1\1\1", " ".join(pieces)).split())
