"""Take HTML out of posts."""

import re

# Only names of HTML elements count as tags, so that "<3", "a < b" and "<url>" stay.
_INLINE = "|".join(
    """
    a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd label mark nobr q s samp small span strike strong sub sup tt u
    var wbr
    """.split()  # noqa: SIM905 - a list would take one line per name
)
_BLOCK = "|".join(
    """
    address article aside audio blockquote body br button center dd details div dl dt embed fieldset figcaption figure footer form
    h[1-6] head header hr html iframe img input legend li link main meta nav object ol option p picture pre section select source
    summary svg table tbody td textarea tfoot th thead title tr ul video
    """.split()  # noqa: SIM905
)
_TAG = re.compile(
    rf"<!--|-->|<!doctype\b[^<>]*>|<(?P<close>/?)\s*(?P<name>{_INLINE}|{_BLOCK}|script|style)(?P<rest>(?=[\s/>])[^<>]*)>", re.IGNORECASE
)
_IS_INLINE = re.compile(_INLINE, re.IGNORECASE)
_MAYBE_TAG = re.compile(r"<(?!url>|email>|phone>)[/!a-z]", re.IGNORECASE)
_HREF = re.compile(r"""\bhref\s*=\s*["']?([^\s"'>]+)""", re.IGNORECASE)
_UNREAD = {"script", "style", "<!--"}


def _link(words: str, target: str) -> str:
    """Return what a link stands for: a mention or hashtag as it was written, an address, or its words followed by the address."""
    shown = words.strip()
    is_shown = shown[:1] in {"@", "#"} or "://" in shown or shown.startswith("www.") or target == f"mailto:{shown}"
    if is_shown or not target.lower().startswith(("http", "www.", "mailto:")):
        return words
    return f"{words} {target.removeprefix('mailto:')} "


def maybe_markup(text: str) -> bool:
    """Take a quick look, and return whether a text may contain HTML."""
    return "<" in text and bool(_MAYBE_TAG.search(text))


def strip_markup(text: str) -> str:
    """Remove HTML: all tags, scripts, styles and comments; a tag that ends a line or paragraph becomes a space.

    Parameters
    ----------
    text : str
        Any text; one without HTML stays unchanged.

    Returns
    -------
    str
        The text that a browser would show, with the target of a link after its words, so that `mask_links` finds it.

    Examples
    --------
    >>> strip_markup("<p>I <3 her<br>and <b>believe</b> her</p>").split()
    ['I', '<3', 'her', 'and', 'believe', 'her']
    """
    if not maybe_markup(text):
        return text
    shown: list[str] = []
    unread, link, at = "", None, 0
    for tag in _TAG.finditer(text):
        name = (tag["name"] or tag[0]).lower()
        if unread:  # only its own end ends a script, a style or a comment
            if name == {"<!--": "-->"}.get(unread, unread) and (tag["close"] or name == "-->"):
                unread = ""
            at = tag.end()
            continue
        shown.append(text[at : tag.start()])
        at = tag.end()
        if name in _UNREAD and not tag["close"]:
            unread = name
        elif name == "a":
            if link is not None:
                begin, target = link
                shown[begin:] = [_link("".join(shown[begin:]), target)]
            found = None if tag["close"] else _HREF.search(tag["rest"])
            link = (len(shown), found[1]) if found else None
        elif not _IS_INLINE.fullmatch(name):
            shown.append(" ")
    if not unread:
        shown.append(text[at:])
    return "".join(shown)
