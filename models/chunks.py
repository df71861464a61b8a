"""Read what stands between spaces: links and handles are masked, hashtags divided, and words read as they were meant."""

import re

from models.hashtags import MARK, TAG, with_words
from models.masks import EMAIL, PHONE, URL, USER, mask_handles, mask_links
from models.spelling import EDGES, RUN, STRETCHED, listed_spellings, read_piece, read_word, spelled, unmask

# What most chunks are; the others take ten times as long.
_ORDINARY = re.compile(r"""(["'(]?)([A-Za-z]+(?:'[A-Za-z]+)?|\d+)([.,!?;:)"']{0,3})""")
_COMPOUND = re.compile(
    r"""[-"'(\[.]{0,3}[a-z]{3,}(?:'[a-z]{1,2})?(?:(?:[-/,;:&="()]{1,3}|\.\.\.?)[a-z]{3,}(?:'[a-z]{1,2})?)*[-/.,!?;:)"'\]]{0,3}"""
    r"|\(?\d{1,4}(?:[.,:/-]\d{1,4})*(?:st|nd|rd|th|s|am|pm)?[).,:;!?%/]{0,2}"
)
_LETTERS = re.compile("[a-z]{3,}")
_ONLY_LINK = re.compile(r"https?://[\w/?=&%~+-]+(?:\.[\w/?=&%~+-]+)+", re.ASCII)
_ONLY_HANDLE = re.compile(r"([.\"(]?)@(?!ss|bu)\w+([:,!?)\"]{0,3}|\.)")
_ONLY_TAG = re.compile(r"#(\w+)([.,!?;:)\"]{0,3})")

_MASKS = {URL, EMAIL, USER, PHONE}
_SENTENCE = re.compile(r"\w[^\w\s]_|_[^\w\s]")  # underscores between words, of which one ends with a punctuation mark
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
    if ordinary := _ORDINARY.fullmatch(chunk):
        before, word, after = ordinary.groups()
        word = word.lower()
        return before + (read_word(word) if word.isalpha() else listed_spellings().get(word, word)) + after
    if _ONLY_LINK.fullmatch(chunk):
        return URL
    if handle := _ONLY_HANDLE.fullmatch(chunk):
        return f"{handle[1]} {USER} {handle[2]}".strip()
    if tag := _ONLY_TAG.fullmatch(chunk):
        return " ".join(f"{with_words(tag)}{tag[2]}".split())
    lower = chunk.lower()
    if _COMPOUND.fullmatch(lower) and all(read_word(part) == part for part in _LETTERS.findall(lower)) and not unmask(lower.strip(EDGES)):
        return lower
    read = _read_once(chunk)
    for _ in range(_ROUNDS):
        if lower == read:
            break
        pieces = (
            piece if piece in _MASKS or "#" in piece or MARK in piece or piece.isalpha() else _read_once(piece) for piece in read.split()
        )
        lower, read = read, " ".join(filter(None, pieces))
    return read


def _read_once(chunk: str) -> str:
    text = mask_links(chunk)
    if "_" in text and "@" not in text and _SENTENCE.search(text):
        text = text.replace("_", " ")
    if text[0] == "#" and (word := read_piece(text[1:].lower())).strip(EDGES).isalpha() and not TAG.fullmatch(text):
        text = f"#{word}"
    if "#" in text:
        text = TAG.sub(with_words, text)
    text = text.lower()
    if "@" in text:  # a letter, or the beginning of a handle
        text = RUN.sub(lambda run: (spelled(run[0]) if "@" in run[0] else None) or run[0], text)
    text = mask_handles(text)
    pieces = [piece if piece[0] in "#<@\x00" or MARK in piece else read_piece(piece) for piece in text.split()]
    return " ".join(STRETCHED.sub(r"\1\1\1", " ".join(pieces)).split())
