"""Makes a batch of posts to label from files of unlabelled posts and a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np

from models import Classifier
from models.errors import InputError
from models.folders import check_output
from pipeline.config import Columns
from pipeline.corpora.wording import wording
from pipeline.records import Tell, ignore
from pipeline.review.batch import BatchSummary, ChosenPost, Planned, check_kept, summarise, write_batch
from pipeline.review.choosing import LABELLED, RANDOM, Choice, Shares, choose, group_repeats
from pipeline.review.pool import Pool, read_labelled, read_pool, shortlist
from pipeline.scoring.options import Options


@dataclass(frozen=True)
class Wanted:
    """What a batch should be like.

    Attributes
    ----------
    size : int
        Number of posts.
    shares : Shares
        Shares of the strata.
    blind : float
        Share of the posts, besides the random ones, whose prediction annotators do not see; random posts never show it.
    seed : int
        Random seed.

    Raises
    ------
    InputError
        If a value is not allowed.
    """

    size: int = 200
    shares: Shares = field(default_factory=Shares)
    blind: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"the size of a batch must be 1 or more, but got {self.size}; change --size")
        if not 0 <= self.blind <= 1:
            raise InputError(f"the share of blind posts must be from 0 to 1, but got {self.blind:g}; change --blind")


def _blind(chosen: Sequence[Choice], share: float, rng: np.random.Generator) -> set[int]:
    """Draw the posts to label blind: all random ones, and the share of every other stratum, by systematic sampling."""
    order = [chosen[place] for place in rng.permutation(len(chosen)).tolist()]
    others = sorted((choice for choice in order if choice.stratum != RANDOM), key=lambda choice: choice.stratum)
    drawn = np.diff(np.floor(np.arange(len(others) + 1) * share + rng.random())) > 0
    return {post for post, stratum in chosen if stratum == RANDOM} | {choice.post for choice in compress(others, drawn)}


def make_batch(pool: Pool, model: Classifier, wanted: Wanted) -> tuple[list[ChosenPost], int]:
    """Choose posts of a scored pool.

    Parameters
    ----------
    pool : Pool
        The result of `pipeline.review.pool.shortlist`.
    model : Classifier
        The model that scored it.
    wanted : Wanted
        What the batch should be like.

    Returns
    -------
    chosen : list of ChosenPost
        In random order, so that annotators do not meet many posts of one kind in a row.
    repeating : int
        Posts of the pool that repeat a labelled one.
    """
    rng = np.random.default_rng(wanted.seed)
    wordings = [wording(text) for text in pool.texts]
    labelled = [wording(text) for text in pool.labelled]
    groups = group_repeats(wordings, labelled)
    authors, size = pool.author_numbers(), wanted.size
    found = choose(pool.probabilities, model.labels, wordings, groups, authors, pool.order, size, wanted.shares, wanted.seed, labelled)
    blind, decided = _blind(found, wanted.blind, rng), model.decide(pool.probabilities)
    chosen = []
    for place in rng.permutation(len(found)).tolist():
        post, stratum = found[place]
        predicted = frozenset(name for name, given in zip(model.labels, decided[post].tolist(), strict=True) if given)
        probabilities = dict(zip(model.labels, pool.probabilities[post].tolist(), strict=True))
        planned = Planned(stratum, post not in blind, predicted)
        chosen.append(ChosenPost(pool.ids[post], pool.texts[post], planned, probabilities, pool.kept[post]))
    return chosen, int((groups == LABELLED).sum())


def label_next(
    inputs: Sequence[str],
    model: Classifier,
    out: Path,
    wanted: Wanted,
    options: Options | None = None,
    *,
    author: str | None = "author",
    labelled: Sequence[str] = (),
    columns: Columns | None = None,
    with_texts: bool = False,
    blur: bool = True,
    tell: Tell = ignore,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[BatchSummary, bool]:
    """Choose a batch of posts to label, and write its files.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and globs of unlabelled posts.
    model : Classifier
        The model whose uncertainty decides.
    out : Path
        Folder to write; it must be empty or not exist yet.
    wanted : Wanted
        What the batch should be like.
    options : Options, optional
        Names the columns of id and text, and those to hand over.
    author : str or None
        Column with the author, which rows may lack.
    labelled : sequence of str
        Posts to leave out: labelled ones in any form that training takes, and folders of earlier batches.
    columns : Columns, optional
        Columns of the labelled posts.
    with_texts : bool
        Whether to write the files with the posts' texts.
    blur : bool
        Whether Label Studio blurs a post until the annotator points at it.
    tell : callable
        Called with a file and how it was read, if that is unusual.
    progress : callable
        Called with the name of each step.

    Returns
    -------
    summary : BatchSummary
        Also written, as ``batch.json``.
    authored : bool
        Whether any post has an author.

    Raises
    ------
    InputError
        If a file or an option cannot be used; then nothing is written.
    """
    options, labels = options or Options(), model.config.labels
    check_output(out, ())
    check_kept(options.keep, labels)
    progress("reading labelled posts")
    known = read_labelled(labelled, labels, columns or Columns())
    progress("reading posts")
    pool = read_pool(inputs, options, author, known, out, tell)
    read, authored = len(pool.ids) + pool.left_out.total(), any(name is not None for name in pool.authors)
    short = shortlist(pool, model, wanted.size, wanted.seed, progress)
    progress(f"choosing {wanted.size:,} posts")
    chosen, repeating = make_batch(short, model, wanted)
    if repeating:
        pool.left_out["nearly repeats a labelled post"] += repeating
    summary = summarise(chosen, labels, read, pool.left_out, model.digest_, wanted.seed)
    if not chosen:
        raise InputError("there is no post to choose, because all of them nearly repeat labelled ones; give other posts")
    write_batch(chosen, labels, summary, out, with_texts=with_texts, blur=blur)
    return summary, authored
