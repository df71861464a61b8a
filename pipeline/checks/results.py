"""What checks of a corpus find: counts, pairs and suspects; ids and labels, never a text or an author."""

from typing import Literal

from pipeline.results import Result


class SplitCounts(Result):
    """Posts of a split, and those among them that are too short to look for near-duplicates."""

    posts: int
    short: int


class Repeats(Result):
    """Posts of a split whose text stands in another split, or earlier in the same, exactly or else nearly."""

    split: str
    other: str
    exact: int
    near: int


class ExactConflicts(Result):
    """Texts that stand with several sets of labels, and their posts."""

    texts: int
    posts: int


class NearConflicts(Result):
    """Pairs of near-equal texts whose sets of labels differ, and their posts."""

    pairs: int
    posts: int


class LabelConflicts(Result):
    """Equal texts, and pairs of near-equal ones, that differ in one label."""

    exact: int
    near: int


class Conflicts(Result):
    """Where labels contradict each other, in all and by label."""

    exact: ExactConflicts
    near: NearConflicts
    labels: dict[str, LabelConflicts]


class SharedAuthors(Result):
    """Authors known and in several splits, and the posts of the latter by split."""

    known: int
    in_several_splits: int
    posts: dict[str, int]


class Pair(Result):
    """Two posts with the same or nearly the same text; `conflict` says whether their labels differ."""

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
    """Values of a label in a split, and how many of them are likely wrong; None where all posts have one value."""

    posts: int
    given: int
    wrongly_given: int | None = None
    wrongly_missing: int | None = None


class Suspect(Result):
    """A likely wrong value of a label: whether it is given (1) or not (0), and its quality from 0 (surely wrong) to 1."""

    split: str
    id: str
    label: str
    given: int
    probability: float
    quality: float


class SplitChecks(Result):
    """What a corpus repeats, who stands in several splits, and which labels contradict each other.

    `near_from` is the similarity from which posts are near-duplicates. `pairs` are those to look at: each post with the first of
    every split that has its text, and such first ones of near-equal texts; those across splits first, then the most similar.
    """

    near_from: float
    splits: dict[str, SplitCounts]
    duplicates: list[Repeats]
    conflicts: Conflicts
    authors: SharedAuthors
    pairs: list[Pair]


class LabelChecks(Result):
    """Likely wrong labels: counts by split and label, and each suspect, the worst first."""

    label_errors: dict[str, dict[str, LabelErrors]]
    suspects: list[Suspect]
