"""Matrix products whose last bits do not depend on how many rows there are."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.float64)

_BLOCK = 8


def in_blocks(rows: NDArray[Number], weights: NDArray[Number], out: NDArray[Number] | None = None) -> NDArray[Number]:
    """Return ``rows @ weights``; a row's product is bit-for-bit the same whatever other rows there are.

    BLAS sums in another order when a matrix has another shape. Here it only ever multiplies blocks of the same shape, in which it sums
    each row in the same order, wherever the row stands. The blocks are too small to be spread over threads.

    Parameters
    ----------
    rows : ndarray of float, shape (n_rows, n_inner)
    weights : ndarray of float, shape (n_inner, n_columns)
        Of the same type as `rows`.
    out : ndarray of float, shape (n_rows, n_columns), optional
        Where to put the product; its rows must lie one after another in memory.

    Examples
    --------
    >>> in_blocks(np.ones((3, 2)), np.array([[1.0], [2.0]])).tolist()
    [[3.0], [3.0], [3.0]]
    """
    product = np.empty((len(rows), weights.shape[1]), rows.dtype) if out is None else out
    whole = len(rows) - len(rows) % _BLOCK
    blocks = rows[:whole].reshape(-1, _BLOCK, rows.shape[1])
    np.matmul(blocks, weights, out=product[:whole].reshape(-1, _BLOCK, product.shape[1]))
    if rest := len(rows) - whole:
        block = np.zeros((_BLOCK, rows.shape[1]), rows.dtype)
        block[:rest] = rows[whole:]
        product[whole:] = (block @ weights)[:rest]
    return product
