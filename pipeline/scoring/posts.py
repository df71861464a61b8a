"""Rows to posts that can be scored, or the reason why not."""

import json
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, NamedTuple

from pipeline.records import BrokenRow, Row
from pipeline.scoring.options import Options

BATCH_POSTS = 4096
BATCH_CHARS = 4 * 2**20


class Post(NamedTuple):
    """What is scored."""

    id: str
    text: str
    kept: tuple[str | None, ...]


def refusal(identifier: object, text: object, options: Options) -> str | None:
    """Say why a post with these cannot be scored; None when it can."""
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        return "id missing or neither string nor integer"
    if not isinstance(text, str):
        return "text is null" if text is None else "text is no string"
    if len(text) > options.max_chars:
        if options.over_long == "reject":
            return f"text is longer than {options.max_chars} characters"
        text = text[: options.max_chars]
    return "text is empty" if not text or text.isspace() else None


def as_string(value: Any) -> str | None:
    """A value of a kept column: strings and nulls as they are, dates by ISO 8601, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False, default=str)


def to_post(row: Row | BrokenRow, options: Options) -> Post | BrokenRow:
    """Make a post of a row, or say why it is none."""
    if isinstance(row, BrokenRow):
        return row
    identifier = row.fields.get(options.id_column)
    text: Any = row.fields.get(options.text_column)
    if reason := refusal(identifier, text, options):
        return BrokenRow(row.number, reason)
    try:
        kept = tuple([as_string(row.fields.get(name)) for name in options.keep])
    except RecursionError:  # what could just be read can be too deep to write
        return BrokenRow(row.number, "a column to keep is nested too deeply")
    return Post(str(identifier), text[: options.max_chars], kept)


def batches(rows: Iterable[Row | BrokenRow], options: Options) -> Iterator[tuple[list[Post], list[BrokenRow]]]:
    """Posts and rejects of consecutive rows, few enough to be held together."""
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
