"""Turn rows into posts that can be scored, or into reasons why they cannot."""

import json
from collections.abc import Iterable, Iterator
from datetime import date, time
from decimal import Decimal
from typing import Any, NamedTuple

from models.text import is_blank
from pipeline.records import BrokenRow, Row
from pipeline.scoring.options import Options

BATCH_POSTS = 4096
BATCH_CHARS = 4 * 2**20
# The only key of an object in Twitter's streams that is not a post.
_NOTICES = {"delete", "disconnect", "limit", "scrub_geo", "status_withheld", "user_withheld", "warning"}


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
    return "text is empty" if is_blank(text) else None


def _written(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_string(value: Any) -> str | None:
    """Return a value of a kept column as a string.

    Strings and null stay as they are, dates and times become ISO 8601, decimals keep their digits, and other values become JSON.

    Examples
    --------
    >>> as_string(["a", date(2017, 10, 15)]), as_string(Decimal("1.50")), as_string(True)
    ('["a", "2017-10-15"]', '1.50', 'true')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date | time | Decimal | bytes):
        return _written(value)
    return json.dumps(value, ensure_ascii=False, default=_written)


def identifier_of(row: Row, options: Options, origin: str) -> Any:
    """Return the id of a row, which may be unusable; rows without an id column are numbered.

    Parameters
    ----------
    row : Row
        A row of an input file.
    options : Options
        Names the column, or none.
    origin : str
        The file, as it was given; empty for a table in memory.

    Examples
    --------
    >>> identifier_of(Row(7, {"text": "x"}), Options(id_column=None), "october/posts.csv")
    'october/posts.csv:7'
    """
    if options.id_column is not None:
        return row.fields.get(options.id_column)
    name = origin.encode("utf-8", "backslashreplace").decode()  # a path may hold bytes that are not UTF-8
    return f"{name}:{row.number}" if name else str(row.number)


def notice(row: Row) -> str | None:
    """Return why a row is not a post at all, or None if it may be one."""
    name = next(iter(row.fields), None) if len(row.fields) == 1 else None
    return f"is a notice ({name}), not a post" if name in _NOTICES else None


def reject(row: Row, reason: str, options: Options) -> BrokenRow:
    """Return a row as one that cannot be scored, with its id if it has one."""
    identifier = row.fields.get(options.id_column) if options.id_column is not None else None
    return BrokenRow(row.number, reason, id=str(identifier) if refusal(identifier, "any", options) is None else None)


def to_post(row: Row | BrokenRow, options: Options, origin: str = "") -> Post | BrokenRow:
    """Make a post from a row, or say why that is not possible.

    Parameters
    ----------
    row : Row or BrokenRow
        A row of an input file; a broken one is returned unchanged.
    options : Options
        Names the columns and limits the length of the text.
    origin : str
        The file, as it was given.
    """
    if isinstance(row, BrokenRow):
        return row
    identifier = identifier_of(row, options, origin)
    text: Any = row.fields.get(options.text_column)
    if reason := refusal(identifier, text, options):
        return reject(row, notice(row) or reason, options)
    try:
        kept = tuple([as_string(row.fields.get(name)) for name in options.keep])
    except RecursionError:  # JSON that can just be read may be nested too deeply to write
        return reject(row, "a column to keep is nested too deeply", options)
    return Post(str(identifier), text[: options.max_chars], kept)


def batches(
    rows: Iterable[Row | BrokenRow], options: Options, origin: str = "", most: int = BATCH_POSTS
) -> Iterator[tuple[list[Post], list[BrokenRow]]]:
    """Yield the posts and rejects of consecutive rows in batches that fit into memory.

    Parameters
    ----------
    rows : iterable of Row or BrokenRow
        Rows of an input file.
    options : Options
        As in `to_post`.
    origin : str
        As in `to_post`.
    most : int
        Maximum number of rows of a batch.
    """
    posts: list[Post] = []
    broken: list[BrokenRow] = []
    chars = 0
    for row in rows:
        post = to_post(row, options, origin)
        if isinstance(post, Post):
            posts.append(post)
            chars += len(post.id) + len(post.text)
            if post.kept:
                chars += sum(map(len, filter(None, post.kept)))
        else:
            broken.append(post)
        if len(posts) + len(broken) >= most or chars >= BATCH_CHARS:
            yield posts, broken
            posts, broken, chars = [], [], 0
    if posts or broken:
        yield posts, broken
