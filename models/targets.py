"""Convert texts, labels and authors from common formats into the arrays that fitting takes."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np

from models.arrays import Int64s, Labels
from models.errors import InputError

# What exports write where a post has no author, without brackets, dots and dashes around it.
_NOBODY = frozenset(["", "deleted", "removed", "na", "n/a", "n.a", "nan", "nat", "none", "null", "nil", "unknown", "anonymous"])
_WHOLE_NUMBER = re.compile(r"(?<=\d)\.0+$")


def check_texts(texts: Iterable[Any]) -> list[str]:
    """Return a list of texts, or raise an error if they are a single string, a table or not all strings.

    Parameters
    ----------
    texts : iterable of str
        For example a list, an array or a pandas Series.

    Raises
    ------
    TypeError
        The message gives the position and the type of the first item that is not a string.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of strings, but got a single string; put it in a list: [text]")
    if isinstance(texts, bytes | bytearray):
        raise TypeError("texts must be a sequence of strings, but got bytes; decode them, and put the text in a list: [data.decode()]")
    if hasattr(texts, "columns") or hasattr(texts, "column_names") or isinstance(texts, Mapping):
        raise TypeError("texts must be a sequence of strings, but got a table; choose its column of texts, as in frame['text']")
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a sequence of strings, but got {type(texts).__name__}; put the posts in a list: [text]")
    if (dimensions := getattr(texts, "ndim", 1)) != 1:
        raise TypeError(
            f"texts must be a one-dimensional sequence of strings, but got {type(texts).__name__} with {dimensions} dimensions; "
            "pass one column of strings, not features, which the model computes itself"
        )
    found = list(texts)
    for position, text in enumerate(found):
        if not isinstance(text, str):
            missing = text is None or isinstance(text, float | np.floating) or type(text).__name__ in ("NAType", "NaTType")
            fix = "drop or fill missing texts first" if missing else "give each post one string"
            raise TypeError(f"texts[{position}] must be a string, but got {type(text).__name__}; {fix}")
    return found


def _lists_of_names(Y: Any) -> list[Any] | None:
    """Return the rows of `Y` if they hold names, or are all empty, or None if they hold numbers."""
    if getattr(Y, "ndim", 1) != 1:
        return None
    if not isinstance(Y, Iterable):
        raise InputError(f"Y must hold the labels of every post, but got {type(Y).__name__}; give each post a list of names")
    rows = Y.tolist() if hasattr(Y, "tolist") else list(Y)
    if any(isinstance(row, str) for row in rows):
        raise InputError("Y holds strings; give each post a list of names, as in [text.split(';') if text else [] for text in Y]")
    lists = [list(row) if isinstance(row, Iterable) else None for row in rows]
    if not any(isinstance(name, str) for row in lists for name in row or ()) and any(row != [] for row in lists):
        return None
    for position, row in enumerate(lists):
        if row is None or not all(isinstance(name, str) for name in row):
            raise InputError(f"Y[{position}] must be a list of names, but got {rows[position]!r}; for a post without labels use []")
    return lists


def _from_names(rows: Sequence[Any], names: Sequence[str] | None) -> tuple[list[str], Labels]:
    sets = [set(row) for row in rows]
    found = sorted(set().union(*sets))
    if names is None:
        names = found
    elif unknown := [name for name in found if name not in names]:
        raise InputError(f"Y contains the label {unknown[0]!r}, but the label set has only {', '.join(names)}")
    return list(names), np.array([[name in row for name in names] for row in sets], np.int8).reshape(len(rows), len(names))


def _from_frame(frame: Any, names: Sequence[str] | None) -> tuple[Sequence[str] | None, Any]:
    if all(isinstance(column, int | np.integer) for column in frame.columns):  # numbers do not name labels
        return names, frame.to_numpy()
    columns = {str(column): column for column in frame.columns}
    names = list(columns if names is None else names)
    if missing := [name for name in names if name not in columns]:
        raise InputError(f"Y has no column {missing[0]!r}; its columns are {', '.join(columns)}")
    return names, frame[[columns[name] for name in names]].to_numpy()


def _check_zeros_and_ones(values: Any, names: Sequence[str]) -> None:
    if values.dtype == object:  # its cells may be lists, or pandas.NA, which is neither true nor false
        right = np.array([[isinstance(cell, Number | np.bool_) and cell in (0, 1) for cell in row] for row in values], bool)
    else:
        right = np.isin(values, (0, 1))
    if not right.all():
        row, column = np.argwhere(~right)[0]
        cell = values[row, column]
        got = str(cell) if isinstance(cell, Number) else type(cell).__name__
        fix = (
            "pass the column itself, as in frame['labels']"
            if isinstance(cell, list | tuple | set | np.ndarray)
            else "replace missing values"
        )
        raise InputError(f"Y must contain only 0 and 1, but column {names[column]!r} has {got} in row {row}; {fix}")


def label_matrix(Y: Any, names: Sequence[str] | None = None, posts: int | None = None) -> tuple[list[str], Labels]:
    """Convert labels to 0 and 1, and return their names.

    Parameters
    ----------
    Y : DataFrame, array, sparse matrix, or sequence of collections of str
        Either one column of 0 and 1 per label, or the names of each post's labels, for example as a list, a pandas Series or an array of
        lists. The columns of a DataFrame are the labels' names, unless they are numbers.
    names : sequence of str, optional
        The labels, in the order to return them. By default, they are taken from `Y`: the columns of a DataFrame, the names found in
        lists, sorted, or else ``label_0``, ``label_1`` and so on.
    posts : int, optional
        Number of texts, which must be the number of rows.

    Returns
    -------
    names : list of str
        The labels.
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        Which post has which label.

    Raises
    ------
    InputError
        When `Y` has another shape, other labels or other values.

    Examples
    --------
    >>> names, Y = label_matrix([["assault"], [], ["assault", "support"]])
    >>> names, Y.tolist()
    (['assault', 'support'], [[1, 0], [0, 0], [1, 1]])
    """
    values: Any
    if posts == 0:
        raise InputError("there are no posts; give at least one")
    if hasattr(Y, "columns"):
        names, values = _from_frame(Y, names)
    elif hasattr(Y, "toarray"):
        values = Y.toarray()
    elif (lists := _lists_of_names(Y)) is not None:
        names, values = _from_names(lists, names)
    else:
        values = np.asarray(Y)
    if posts is not None and len(values) != posts:
        raise InputError(f"Y must have one row per text: got {posts} texts and {len(values)} rows of Y")
    if values.ndim != 2:
        fix = "; for a single label use np.reshape(Y, (-1, 1))" if values.ndim == 1 else ""
        raise InputError(f"Y must be two-dimensional, with one column per label, but its number of dimensions is {values.ndim}{fix}")
    if not values.shape[1]:
        raise InputError("Y gives no post a label; give some posts the names of their labels")
    if names is None:
        names = [f"label_{number}" for number in range(values.shape[1])]
    elif values.shape[1] != len(names):
        raise InputError(f"Y must have one column per label, but got {values.shape[1]} columns; the labels are {', '.join(names)}")
    _check_zeros_and_ones(values, names)
    return list(names), values.astype(np.int8)


def known_author(author: Any) -> Any:
    """Return a post's author in one spelling, or None if the value names nobody.

    It makes no difference how the name is capitalised or spaced, whether it has a leading ``@``, or whether a number was read as text or as
    a float. Exports write ``[deleted]``, ``NA``, ``None``, ``unknown`` and the like where an author is missing; these are not one person.

    Parameters
    ----------
    author : hashable or None
        Author as the data names it: a name or a number, or None, NaN or ``pandas.NA``.

    Returns
    -------
    hashable or None
        A string for a name or a number; other values are returned unchanged.

    Examples
    --------
    >>> [known_author(author) for author in ("@User1", "user1 ", 1000.0, "1000", "[deleted]", "N/A")]
    ['user1', 'user1', '1000', '1000', None, None]
    """
    try:
        if author is None or author != author:  # noqa: PLR0124  # true of NaN
            return None
    except TypeError:  # pandas.NA is neither true nor false
        return None
    if isinstance(author, int | float | Decimal | np.integer | np.floating) and math.isfinite(author):
        return str(int(author)) if author == int(author) else str(author)
    if not isinstance(author, str):
        return author
    name = _WHOLE_NUMBER.sub("", unicodedata.normalize("NFKC", author).casefold().strip().lstrip("@").strip())
    return None if name.strip("[]()<>{}'\". -") in _NOBODY else name


def author_numbers(groups: Iterable[Any] | None, posts: int) -> Int64s:
    """Number the authors; a post without an author gets a number of its own.

    Parameters
    ----------
    groups : iterable of hashable or None, length n_posts, optional
        Author of each post, in any spelling that `known_author` understands. By default, all are unknown.
    posts : int
        Number of posts.

    Raises
    ------
    InputError
        When there are more or fewer authors than posts.

    Examples
    --------
    >>> author_numbers(["ann", None, "ann", None], 4).tolist()
    [0, 1, 0, 2]
    """
    authors = [None] * posts if groups is None else list(groups)
    if len(authors) != posts:
        raise InputError(f"groups must name one author per post, but got {len(authors)} authors for {posts} posts")
    known = map(known_author, authors)
    keys = [(number, None) if author is None else (-1, author) for number, author in enumerate(known)]
    index: dict[tuple[int, Any], int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)


def source_names(sources: Iterable[str | None], posts: int) -> list[str]:
    """Return the name of each post's source, which is ``none`` for a post without a source.

    Parameters
    ----------
    sources : iterable of str or None, length n_posts
        Source of each post; an empty string or NaN stands for none.
    posts : int
        Number of posts.

    Raises
    ------
    InputError
        When there are more or fewer sources than posts.

    Examples
    --------
    >>> source_names(["tweets", None], 2)
    ['tweets', 'none']
    """
    found = [source if source and isinstance(source, str) else "none" for source in sources]
    if len(found) != posts:
        raise InputError(f"sources must name one source per post, but got {len(found)} sources for {posts} posts")
    return found
