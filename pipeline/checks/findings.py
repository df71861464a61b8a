"""What the checks of a corpus find: counts, pairs of repeated posts, and labels likely to be wrong.

The results hold ids and labels, but never a text or an author.
"""

from typing import Literal

from pipeline.result_base import Result


class SplitCounts(Result):
    """Number of posts in a split, and of the posts among them that are too short to look for near-duplicates."""

    posts: int
    short: int


class Repeats(Result):
    """Number of posts in a split whose text occurs, exactly or nearly, in another split or earlier in the same one."""

    split: str
    other: str
    exact: int
    near: int


class ExactConflicts(Result):
    """Number of texts that occur with several sets of labels, and of the posts that have these texts."""

    texts: int
    posts: int


class NearConflicts(Result):
    """Number of pairs of nearly equal texts with different sets of labels, and of the posts that have these texts."""

    pairs: int
    posts: int


class LabelConflicts(Result):
    """Number of equal texts, and of pairs of nearly equal texts, that differ in one label."""

    exact: int
    near: int


class Conflicts(Result):
    """How often labels contradict each other, overall and by label."""

    exact: ExactConflicts
    near: NearConflicts
    labels: dict[str, LabelConflicts]


class SharedAuthors(Result):
    """Number of known authors, number of those who are in several splits, and how many posts of the latter are in each split."""

    known: int
    in_several_splits: int
    posts: dict[str, int]


class Pair(Result):
    """Two posts with the same or nearly the same text; `conflict` says whether their labels differ, unless one only quotes the other."""

    kind: Literal["exact", "near"]
    similarity: float
    split: str
    id: str
    labels: list[str]
    other_split: str
    other_id: str
    other_labels: list[str]
    conflict: bool


class LabelErrors(Result):
    """Number of posts in a split that have a label, and of values that are likely wrong; None if every post has the same value."""

    posts: int
    given: int
    wrongly_given: int | None = None
    wrongly_missing: int | None = None


class Suspect(Result):
    """A likely wrong value of a label: whether the label is given (1) or not (0), and its quality from 0 (surely wrong) to 1."""

    split: str
    id: str
    label: str
    given: int
    probability: float
    quality: float


class SplitChecks(Result):
    """Repeated posts, authors in several splits, and labels that contradict each other.

    `near_from` is the minimum similarity of near-duplicates, except where one contains the whole of the other. `pairs` lists the pairs that
    are worth looking at. Each post is paired with the first post in every split that has the same text. The first posts of nearly equal
    texts are paired with each other. Pairs across splits come first, then the most similar.
    """

    near_from: float
    splits: dict[str, SplitCounts]
    duplicates: list[Repeats]
    conflicts: Conflicts
    authors: SharedAuthors
    pairs: list[Pair]


class LabelChecks(Result):
    """Likely wrong labels: counts by split and label, and all suspects, worst first."""

    label_errors: dict[str, dict[str, LabelErrors]]
    suspects: list[Suspect]
