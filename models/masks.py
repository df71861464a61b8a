"""Mask links, e-mail addresses, handles and phone numbers."""

import re
from functools import cache

from models.words import ranks

URL, EMAIL, USER, PHONE = "<url>", "<email>", "@user", "<phone>"
PLACEHOLDER = re.compile(f"{URL}|{EMAIL}|{PHONE}")

_TOP_LEVEL = "com|org|net|edu|gov|info|io|ly|me|tv|co|uk|ca|us|be|gl|app|xyz|dev|eu|de|fr|nl|es|pl|ru|jp|nz|au|ch|ie|gg"
_NO_TOP_LEVEL = "(?:and|but|he|her|him|his|she|that|the|then|they|this|was|we|you|your)"  # "he hit me.he/she"
_IN_LOCAL = ".+'%&=~$*-"  # what the part of an address before the "@" may hold besides letters, digits and "_"
_IN_LINK = '[^\\s<>"\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]'  # scripts without spaces may follow a link
_LINK = re.compile(
    rf"(?:https?|ftp)://[^\s<>]{_IN_LINK}*|(?<!\w)www\.\w{_IN_LINK}*"
    rf"|(?P<email>(?<![\w{_IN_LOCAL}])(?P<before>['%&=~$*]*+)@?(?P<local>[\w{_IN_LOCAL}]+)(?:@|[(\[]at[)\]])[\w-]+(?:\.(?P<top>\w[\w-]*))+)"
    rf"|(?<![\w@-])(?<![\w-]\.)(?:[\w-]+\.)+(?:(?!{_NO_TOP_LEVEL}/)[a-z]{{2,6}}/{_IN_LINK}*"
    rf"|(?:{_TOP_LEVEL})(?:\.[a-z]{{2}})?(?:[:?#]\w{_IN_LINK}*|(?![a-z0-9@-]|_\w|\.\w)))",
    re.IGNORECASE,
)
_MAYBE_LINK = re.compile(r"\.\w|:/")
_SENTENCE_GOES_ON = re.compile(r",(?P<word>[a-z]+)[.,;:!?'*]*$", re.IGNORECASE)
_CERTAIN = re.compile(rf"{_TOP_LEVEL}|[a-z]{{2}}", re.IGNORECASE)
_EVERYDAY = 500  # words up to this rank are not people's names
_COMMON = 2_000  # words up to this rank may follow a link after a comma and no space

# Words that, after a full stop without a space, begin a new sentence rather than continue a handle.
_NEXT = r"(?!(?:a|and|but|he|her|his|i|in|is|it|my|no|not|she|so|that|the|then|they|this|to|was|we|you|your)\b(?![.-]\w))"
_HANDLE = re.compile(rf"@\w+(?:[.-]{_NEXT}\w+)*(?:@[\w-]+(?:\.[\w-]+)*)*")
_REDDIT = re.compile(r"(?<![^\W_])(?<![/@])/?u/(?P<name>[\w-]{3,})")
_YEARS = r"(?:19|20)\d\d ?- ?(?:19|20)\d\d\b"
_DATE = r"(?<!\d)(?:(?:19|20)\d\d([.-])[01]?\d\1[0-3]?\d|[0-3]?\d([.-])[0-3]?\d\2(?:19|20)\d\d)(?![.-]?\d)"
_BETWEEN_DIGITS = "(?:[ ().•·-]{0,2}| - )"
_DATE_OR_PHONE = re.compile(rf"{_DATE}|(?P<phone>[+(]{{0,2}}(?<!\d)(?!{_YEARS})\d(?:{_BETWEEN_DIGITS}\d){{6,}})")
_MAYBE_PHONE = re.compile(rf"\d(?:{_BETWEEN_DIGITS}\d){{6}}")

_EDGE = f"(?:{USER}|{URL}|{EMAIL}|{PHONE})"
LEADING = re.compile(rf"(?:[.(\"]? ?(?:(?:rt|mt|via|cc) )?{_EDGE} ?[:,;)]* ?)+")
TRAILING = re.compile(rf"(?:(?: (?:via|cc|h/t))? ?{_EDGE}(?: ?[.,;:!?)\"])*)+")


@cache
def _common() -> frozenset[str]:
    return frozenset(word for word, rank in ranks().items() if rank <= _COMMON)


def _mask_link(found: re.Match[str]) -> str:
    link, after = found[0], ""
    if found["email"]:
        if link.startswith(f"{found['before']}@"):
            return f"{found['before']} {USER} "
        # A word and a handle that are glued together look like an address, too.
        glued = not _CERTAIN.fullmatch(found["top"]) and found["local"].lower() in ranks()
        return f"{found['before']} {found['local']} {USER} " if glued else f"{found['before']} {EMAIL} "
    if ends := _SENTENCE_GOES_ON.search(link):
        after = ends[0] if ends["word"].lower() in _common() else ""
    else:
        after = link[len(link.rstrip(".,;:!?'*]" if "(" in link else ".,;:!?'*])")) :]
    return f" {URL} {after} "


def set_off_placeholders(text: str) -> str:
    """Set off ``<url>``, ``<email>`` and ``<phone>`` by spaces."""
    if "<" in text:
        for placeholder in (URL, EMAIL, PHONE):
            text = text.replace(placeholder, f" {placeholder} ")
    return text


def mask_links(text: str) -> str:
    """Replace links by ``<url>`` and e-mail addresses by ``<email>``, set off by spaces.

    Examples
    --------
    >>> mask_links("https://t.co/abc,he said").split()
    ['<url>', ',he', 'said']
    """
    text = set_off_placeholders(text)
    return _LINK.sub(_mask_link, text) if _MAYBE_LINK.search(text) else text


def _mask_redditor(found: re.Match[str]) -> str:
    is_word = ranks().get(found["name"], _EVERYDAY) < _EVERYDAY  # "thank u/him"
    return found[0] if is_word else f" {USER} "


def mask_handles(text: str) -> str:
    """Replace handles by ``@user``, set off by spaces.

    Examples
    --------
    >>> mask_handles("he groped@bobby, said u/jane").split()
    ['he', 'groped', '@user', ',', 'said', '@user']
    """
    if "@" in text:
        text = _HANDLE.sub(f" {USER} ", text)
    return _REDDIT.sub(_mask_redditor, text) if "u/" in text else text


def mask_phones(text: str) -> str:
    """Replace phone numbers, and other runs of seven or more digits except dates, by ``<phone>``, set off by spaces."""
    if not _MAYBE_PHONE.search(text):
        return text
    return " ".join(_DATE_OR_PHONE.sub(lambda found: f" {PHONE} " if found["phone"] else found[0], text).split())


def without_edge_masks(text: str) -> str:
    """Remove the masks with which a normalised post begins and ends: they say to whom it was sent, not what happened.

    Examples
    --------
    >>> without_edge_masks("rt @user : @user i believe @user <url>")
    'i believe'
    """
    if USER in text or "<" in text:
        leading = LEADING.match(text)
        text = text[leading.end() :] if leading else text
        *_, last = [None, *TRAILING.finditer(text)]  # a search for the end of the text would take quadratic time
        if last and last.end() == len(text):
            text = text[: last.start()]
    return text
