"""Turn rows into posts that can be scored, or into reasons why they cannot."""

import json
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, NamedTuple

from pipeline.records import BrokenRow, Row
from pipeline.scoring.options import Options

BATCH_POSTS = 4096
BATCH_CHARS = 4 * 2**20


class Post(NamedTuple):
    """A post to score: its id, its text and the values of the columns to keep."""

    id: str
    text: str
    kept: tuple[str | None, ...]


def refusal(identifier: object, text: object, options: Options) -> str | None:
    """Say why a post cannot be scored.

    Parameters
    ----------
    identifier, text : object
        The values of the id column and the text column.
    options : Options
        Limits the length of the text.

    Returns
    -------
    str or None
        The reason, or None if the post can be scored.

    Examples
    --------
    >>> refusal("1", "I believe you.", Options()), refusal("2", 7, Options())
    (None, 'text is not a string')
    """
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        return "id is missing, or is neither a string nor an integer"
    if not isinstance(text, str):
        return "text is null" if text is None else "text is not a string"
    if len(text) > options.max_chars:
        if options.over_long == "reject":
            return f"text is longer than {options.max_chars} characters"
        text = text[: options.max_chars]
    return "text is empty" if not text or text.isspace() else None


def as_string(value: Any) -> str | None:
    """Return a value of a kept column as it is if it is a string or null, as ISO 8601 if it is a date, and otherwise as JSON."""
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False, default=str)


def to_post(row: Row | BrokenRow, options: Options) -> Post | BrokenRow:
    """Make a post from a row, or say why that is not possible.

    Parameters
    ----------
    row : Row or BrokenRow
        A row of an input file; a broken one is returned unchanged.
    options : Options
        Names the columns and limits the length of the text.
    """
    if isinstance(row, BrokenRow):
        return row
    identifier = row.fields.get(options.id_column)
    text: Any = row.fields.get(options.text_column)
    if reason := refusal(identifier, text, options):
        return BrokenRow(row.number, reason)
    try:
        kept = tuple([as_string(row.fields.get(name)) for name in options.keep])
    except RecursionError:  # JSON that can just be read may be nested too deeply to write
        return BrokenRow(row.number, "a column to keep is nested too deeply")
    return Post(str(identifier), text[: options.max_chars], kept)


def batches(rows: Iterable[Row | BrokenRow], options: Options) -> Iterator[tuple[list[Post], list[BrokenRow]]]:
    """Yield the posts and rejects of consecutive rows in batches that fit into memory.

    Parameters
    ----------
    rows : iterable of Row or BrokenRow
        Rows of an input file.
    options : Options
        As in `to_post`.
    """
    posts: list[Post] = []
    broken: list[BrokenRow] = []
    chars = 0
    for row in rows:
        post = to_post(row, options)
        if isinstance(post, Post):
            posts.append(post)
            chars += len(post.id) + len(post.text)
            if post.kept:
                chars += sum(map(len, filter(None, post.kept)))
        else:
            broken.append(post)
        if len(posts) + len(broken) >= BATCH_POSTS or chars >= BATCH_CHARS:
            yield posts, broken
            posts, broken, chars = [], [], 0
    if posts or broken:
        yield posts, broken
