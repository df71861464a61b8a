"""Results of watching, which hold numbers and the names of labels, columns and groups, but no text."""

from typing import ClassVar

from pipeline.result_base import Interval, Result


class Drift(Result):
    """How much one measure of the posts differs from the reference.

    Attributes
    ----------
    psi : float
        Population stability index.
    js : float
        Jensen-Shannon distance, from 0 to 1.
    p : float
        Probability of such a difference by chance, corrected for all comparisons (Holm).
    alarm : bool
        Whether the difference is real at the level set, and past a limit.
    """

    psi: float
    js: float
    p: float
    alarm: bool


class TwoSample(Result):
    """How well a classifier tells the posts from those of the reference: area under its curve on posts that it was not fitted on."""

    auc: float
    p: float
    alarm: bool


class Estimate(Result):
    """An expected value with its band; None where nothing can be said."""

    value: float | None
    band: Interval | None


class Expected(Result):
    """What can be expected of a label without knowing which posts have it.

    Attributes
    ----------
    given : float
        Share of the posts that were given the label.
    share : Estimate
        Share of the posts that have the label.
    precision, recall, f1 : Estimate
    """

    given: float
    share: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate


class Group(Result):
    """Posts that are looked at together: all of them, or those with one value in a column.

    Attributes
    ----------
    column, value : str or None
        The column and its value, or the day; None for all posts.
    posts, distinct : int
        Number of posts, and of different ones.
    means : dict of str to float
        Mean number of tokens and masks, and mean shares of unknown words and n-grams; the share of unfamiliar posts.
        Empty if the posts were scored without ``--unfamiliar``.
    drift : dict of str to Drift
        By measure.
    two_sample : TwoSample or None
        None without scores to compare with.
    expected : dict of str to Expected
        By label.
    void : bool
        Whether what is expected is void, because the posts differ from those on which the probabilities were calibrated.
    alarms : list of str
        What is past a limit, one line each.
    """

    column: str | None
    value: str | None
    posts: int
    distinct: int
    means: dict[str, float]
    drift: dict[str, Drift]
    two_sample: TwoSample | None
    expected: dict[str, Expected]
    void: bool
    alarms: list[str]

    @property
    def name(self) -> str:
        """What the posts are called."""
        return "all posts" if self.column is None else f"{self.column} {self.value}"

    @property
    def most_changed(self) -> tuple[str, Drift]:
        """The measure that differs most from the reference, by its stability index."""
        return max(self.drift.items(), key=lambda item: item[1].psi)

    @property
    def repeats(self) -> float:
        """Share of the posts that repeat another one."""
        return 1 - self.distinct / self.posts


class Watched(Result):
    """What ``watch.json`` holds.

    Attributes
    ----------
    model : str
        The model's digest.
    scores : list of str
        Names of the folders of scores.
    reference : str
        What the posts were compared with.
    reference_posts : int
        Number of different posts in it.
    limits : dict of str to Any
        The section ``watch`` of the config.
    calibration_counted : bool
        Whether the bands also allow for the uncertainty of the calibration, which models of earlier releases did not record.
    groups : list of Group
        All posts, and then the groups.
    too_small : int
        Number of groups that were too small to look at.
    notes : list of str
        What a user should know about how the scores were read.
    """

    model: str
    scores: list[str]
    reference: str
    reference_posts: int
    limits: dict[str, float | int | dict[str, float] | None]
    calibration_counted: bool
    groups: list[Group]
    too_small: int
    notes: list[str]
    absent: ClassVar[frozenset[str]] = frozenset()

    @property
    def alarms(self) -> list[str]:
        """All alarms, with the names of the groups."""
        return [f"{group.name}: {alarm}" for group in self.groups for alarm in group.alarms]
