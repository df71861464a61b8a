"""Reads the posts that a batch is chosen from, and leaves out what is labelled and what repeats."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models import Classifier
from models.arrays import Int64s, Probabilities
from models.config import LabelSet
from models.errors import InputError
from models.folders import check_local
from models.targets import author_numbers
from pipeline.config import Columns
from pipeline.corpora.reader import Reader
from pipeline.corpora.sources import records_of
from pipeline.corpora.wording import wording
from pipeline.records import BrokenRow, Tell, read_rows
from pipeline.review.batch import BATCH_FILE, read_batch, read_texts
from pipeline.review.choosing import entropy
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.inputs import check_inputs, find_inputs
from pipeline.scoring.options import Options
from pipeline.scoring.posts import batches

_SHORTLIST = 10_000  # posts kept of each kind, so that the search for near-duplicates ends soon, however many posts there are


@dataclass(frozen=True)
class Labelled:
    """What is known about the posts that are labelled, or that an earlier batch holds."""

    ids: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()


@dataclass
class Pool:
    """Posts to choose from.

    Attributes
    ----------
    ids, texts : list of str, length n_posts
    authors : list of str or None, length n_posts
    kept : list of dict, length n_posts
        Values of the columns to hand over.
    labelled : list of str
        Texts of labelled posts.
    left_out : Counter of str
        How many rows were left out, by reason.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
    order : ndarray of int
        Posts that were drawn at random from all that were read, in random order.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    authors: list[str | None] = field(default_factory=list)
    kept: list[dict[str, str | None]] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    probabilities: Probabilities = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    order: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))

    def take(self, posts: Int64s) -> "Pool":
        """Return some of the posts, in ascending order; those in `order` must be among them."""
        chosen = posts.tolist()
        return replace(
            self,
            ids=[self.ids[post] for post in chosen],
            texts=[self.texts[post] for post in chosen],
            authors=[self.authors[post] for post in chosen],
            kept=[self.kept[post] for post in chosen],
            probabilities=self.probabilities[posts],
            order=np.searchsorted(posts, self.order),
        )

    def author_numbers(self) -> Int64s:
        """Return the author of each post as a number; a post without an author gets a number of its own."""
        return author_numbers(self.authors, len(self.ids))


def read_labelled(sources: Sequence[str], labels: LabelSet, columns: Columns) -> Labelled:
    """Read which posts are labelled already.

    Parameters
    ----------
    sources : sequence of str
        Labelled posts in any form that training takes, and folders of earlier batches.
    labels : LabelSet
        Labels that they may have.
    columns : Columns
        Which column holds what.

    Raises
    ------
    InputError
        If a source cannot be read.
    """
    ids, texts = set[str](), list[str]()
    for source in sources:
        if (Path(source) / BATCH_FILE).is_file():
            ids.update(read_batch(Path(source)))
            texts += read_texts(Path(source))
            continue
        for records in records_of(source, Reader(labels, columns, ()), []).values():
            if columns.id is not None:
                ids.update(record.id for record in records)
            texts += [record.text for record in records]
    return Labelled(frozenset(ids), tuple(texts))


def read_pool(inputs: Sequence[str], options: Options, author: str | None, labelled: Labelled, out: Path, tell: Tell) -> Pool:
    """Read posts; of those with the same words, the first one is kept.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and globs.
    options : Options
        Names the columns of id and text, and those to hand over.
    author : str or None
        Column with the author, which rows may lack.
    labelled : Labelled
        Posts to leave out, by id; their texts are kept, so that near-duplicates can be left out later.
    out : Path
        Folder that will be written, which must not hold the inputs.
    tell : callable
        As in `pipeline.records.read_rows`.

    Raises
    ------
    InputError
        If a file cannot be read, or there is no post to choose.
    """
    for name in inputs:
        check_local(name)
    files, known = find_inputs(inputs), set[str]()
    check_inputs(files, options, out, tell)
    pool, keep = Pool(labelled=list(labelled.texts)), dict.fromkeys([*options.keep, *([author] if author else [])])
    wanted = replace(options, keep=tuple(keep))
    words = {tuple(wording(text)) for text in labelled.texts}
    for path in files:
        for posts, broken in batches(read_rows(path, options.needed, tell=tell), wanted, str(path)):
            pool.left_out.update(row.reason for row in broken if isinstance(row, BrokenRow))
            for post in posts:
                values, said = dict(zip(wanted.keep, post.kept, strict=True)), tuple(wording(post.text))
                is_labelled, is_known = post.id in labelled.ids, post.id in known
                if is_labelled:
                    pool.labelled.append(post.text)
                if is_labelled or is_known or said in words:
                    reason = "labelled or in an earlier batch" if is_labelled else "id used before" if is_known else "words seen before"
                    pool.left_out[reason] += 1
                else:
                    pool.ids.append(post.id)
                    pool.texts.append(post.text)
                    pool.authors.append(values.get(author) if author else None)
                    pool.kept.append({name: values[name] for name in options.keep})
                known.add(post.id)
                words.add(said)
    if not pool.ids:
        why = ", ".join(f"{reason}: {count:,}" for reason, count in pool.left_out.items()) or "the files are empty"
        raise InputError(f"there is no post to choose ({why}); give files with posts that are not labelled")
    return pool


def shortlist(pool: Pool, model: Classifier, size: int, seed: int, progress: Callable[[str], None]) -> Pool:
    """Score a pool, and keep at most some ten thousand posts of each kind: the most uncertain, those for each label, and random ones.

    Parameters
    ----------
    pool : Pool
    model : Classifier
    size : int
        Number of posts to choose in the end.
    seed : int
        Random seed.
    progress : callable
        Called with the name of the step.
    """
    progress(f"scoring {len(pool.ids):,} posts")
    scorer, most = DistinctScorer(model), max(_SHORTLIST, 50 * size)
    parts = [scorer.score(pool.texts[start : start + 4096]) for start in range(0, len(pool.texts), 4096)]
    pool.probabilities = np.concatenate(parts)
    pool.order = np.random.default_rng(seed).permutation(len(pool.ids))[:most]
    unsure = entropy(pool.probabilities)
    best = [np.argsort(-values, kind="stable")[:most] for values in (*unsure.T, unsure.sum(axis=1))]
    return pool.take(np.unique(np.concatenate([*best, pool.order])))
