"""Put openings that must not matter in front of posts: who speaks, or how people of some place begin ("I'm a nurse.", "Y'all, listen.").

A model that also learns from such copies, with the labels unchanged, is swayed less by what authors say about themselves. This is
counterfactual data augmentation (Lu et al. 2020, "Gender bias in neural natural language processing").
"""

from functools import cache
from importlib.resources import files

import numpy as np

from models.arrays import Int64s
from models.tokens import TokenBatch


@cache
def openings() -> list[list[str]]:
    """Return the tokens of each opening in ``lexicon/openings.txt``."""
    lines = (files("models") / "lexicon" / "openings.txt").read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines]


def with_openings(posts: TokenBatch, share: float, seed: int) -> tuple[TokenBatch, Int64s]:
    """Return posts, followed by copies of some of them with an opening in front.

    Parameters
    ----------
    posts : TokenBatch
        Posts to learn from.
    share : float
        Share of the posts to copy, from 0 to 1.
    seed : int
        Chooses the posts and their openings.

    Returns
    -------
    posts : TokenBatch
        All posts, and then the copies.
    rows : ndarray of int64, shape (n_posts + n_copies,)
        Which of the given posts each one is, or is a copy of.

    Examples
    --------
    >>> posts, rows = with_openings(TokenBatch.from_lists([["hi"]]), 1, 0)
    >>> posts.to_lists()[0], posts.to_lists()[1][-1], rows.tolist()
    (['hi'], 'hi', [0, 0])
    """
    if not share:
        return posts, np.arange(len(posts))
    rng = np.random.default_rng(seed)
    copied = np.flatnonzero(rng.random(len(posts)) < share)
    drawn = rng.integers(len(openings()), size=len(copied)).tolist()
    lists = posts.to_lists()
    copies = [openings()[number] + lists[row] for number, row in zip(drawn, copied.tolist(), strict=True)]
    return TokenBatch.from_lists([*lists, *copies]), np.concatenate([np.arange(len(posts)), copied])
