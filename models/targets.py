"""Texts, labels and authors as people have them, brought into the arrays that fitting takes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from models.arrays import Int64s, Labels
from models.errors import InputError


def check_texts(texts: Iterable[str]) -> list[str]:
    """A list of texts; one string, or anything in it that is not a string, is refused.

    Parameters
    ----------
    texts : iterable of str
        A list, an array, a pandas Series.

    Raises
    ------
    TypeError
        Naming the position and what was found there.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of strings, got one string; put it in a list: [text]")
    found = list(texts)
    for position, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] must be a string, got {type(text).__name__}; drop or fill missing texts first")
    return found


def _from_names(rows: Sequence[Any], names: Sequence[str] | None) -> tuple[list[str], Labels]:
    sets = [set(row) for row in rows]
    found = sorted(set().union(*sets))
    if names is None:
        names = found
    elif unknown := [name for name in found if name not in names]:
        raise InputError(f"Y holds the label {unknown[0]!r}; the label set has {', '.join(names)}")
    return list(names), np.array([[name in row for name in names] for row in sets], np.int8).reshape(len(rows), len(names))


def _from_frame(frame: Any, names: Sequence[str] | None) -> tuple[list[str], Any]:
    columns = [str(column) for column in frame.columns]
    names = columns if names is None else list(names)
    if missing := [name for name in names if name not in columns]:
        raise InputError(f"Y has no column {missing[0]!r}; its columns are {', '.join(columns)}")
    return names, frame[names].to_numpy()


def label_matrix(Y: Any, names: Sequence[str] | None = None) -> tuple[list[str], Labels]:
    """Labels as 0 and 1, and their names.

    Parameters
    ----------
    Y : DataFrame, array, sparse matrix, or sequence of collections of str
        One column of 0 and 1 a label, named by the columns of a DataFrame; or the names of each post's labels.
    names : sequence of str, optional
        The labels, in the order wanted. By default those of `Y`: the columns of a DataFrame, the names found in lists, sorted,
        or ``label_0``, ``label_1`` and so on.

    Returns
    -------
    names : list of str
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)

    Raises
    ------
    InputError
        When `Y` is of another shape or holds other values.

    Examples
    --------
    >>> names, Y = label_matrix([["assault"], [], ["assault", "support"]])
    >>> names, Y.tolist()
    (['assault', 'support'], [[1, 0], [0, 0], [1, 1]])
    """
    if hasattr(Y, "columns"):
        names, values = _from_frame(Y, names)
    elif hasattr(Y, "toarray"):
        values = Y.toarray()
    elif not hasattr(Y, "ndim") and any(isinstance(name, str) for row in Y if not isinstance(row, str) for name in row):
        return _from_names(Y, names)
    else:
        values = np.asarray(Y)
    if values.ndim != 2:
        raise InputError(f"Y must have one column a label, got {values.ndim} dimension(s); for a single label use Y.reshape(-1, 1)")
    if names is None:
        names = [f"label_{number}" for number in range(values.shape[1])]
    elif values.shape[1] != len(names):
        raise InputError(f"Y has {values.shape[1]} columns; the label set has {len(names)}: {', '.join(names)}")
    if not np.isin(values, (0, 1)).all():
        raise InputError("Y must hold 0 and 1 only; replace missing values first")
    return list(names), values.astype(np.int8)


def author_numbers(groups: Iterable[Any] | None, posts: int) -> Int64s:
    """Authors as numbers; without `groups`, and where one is None, each post has an author of its own.

    Parameters
    ----------
    groups : iterable of hashable or None, length n_posts, optional
    posts : int

    Raises
    ------
    InputError
        When there are more or fewer authors than posts.
    """
    authors = [None] * posts if groups is None else list(groups)
    if len(authors) != posts:
        raise InputError(f"groups names {len(authors)} authors for {posts} posts; give one for each post")
    keys = [(number, None) if author is None else (-1, author) for number, author in enumerate(authors)]
    index: dict[tuple[int, Any], int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)
