"""The typed form of what a model's ``model.json`` must say."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.calibration import BALANCED


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True)  # other keys are allowed and not looked at


class _Label(_Lenient):
    name: str


class _Labels(_Lenient):
    labels: list[_Label]


class _Config(_Lenient):
    labels: _Labels


# Python's JSON has NaN and Infinity, and pydantic would take "0.5" and true for numbers.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]


class LabelCost(_Lenient):
    """What an operating point costs for one label, on held-out folds of train; None if that cannot be measured.

    `precision` and `recall` weigh posts as `thresholds.mix` does. `false_alarms` is the share of the ordinary posts that get the label.
    """

    recall: Share | None
    precision: Share | None
    false_alarms: Share | None


class OperatingPoint(_Lenient):
    """Thresholds to choose together, and what they cost on held-out folds of train.

    Attributes
    ----------
    thresholds : dict of str to float
        Threshold of each label.
    labels : dict of str to LabelCost
        Their cost, by label.
    false_alarms : float or None
        Share of the ordinary posts that get any label; None if there are no such posts.
    ordinary : int
        Number of ordinary posts, which have no label.
    """

    thresholds: dict[str, Number]
    labels: dict[str, LabelCost]
    false_alarms: Share | None
    ordinary: int


class Unknown(_Lenient):
    """The share of a post that is not in the vocabulary: its mean over the posts, and its nine deciles."""

    mean: Share
    deciles: list[Share] = Field(min_length=9, max_length=9)


class Reliability(_Lenient):
    """How far the held-out probabilities of a label can be relied on, in 20 bins of equal width from 0 to 1.

    Attributes
    ----------
    probabilities : list of float
        Mean probability in each bin; the middle of a bin without posts.
    positives : list of float
        Share of all posts that are in the bin and have the label.
    """

    probabilities: list[Share] = Field(min_length=20, max_length=20)
    positives: list[Share] = Field(min_length=20, max_length=20)


class Reference(_Lenient):
    """The labelled training posts in numbers, for comparison with the posts that the model reads later (`models.reference`).

    Attributes
    ----------
    posts : int
        Number of posts.
    length_edges : list of int
        The smallest number of tokens in each bin of `lengths`; the last bin has no upper end.
    lengths : list of float
        Share of the posts in each bin.
    unknown_words : Unknown
        Shares of tokens that are not in the vocabulary. An n-gram counts as known only if it would be in the vocabulary even without the
        post's author.
    unknown_characters : Unknown or None
        The same for character n-grams; None for a model without them.
    probabilities : dict of str to list of float
        For each label, share of the posts whose held-out probability lies in each of 20 bins of equal width from 0 to 1.
    reliability : dict of str to Reliability or None
        For each label, how far these probabilities can be relied on. Models from earlier releases lack this.
    """

    posts: int = Field(gt=0)
    length_edges: list[int]
    lengths: list[Share]
    unknown_words: Unknown
    unknown_characters: Unknown | None
    probabilities: dict[str, Annotated[list[Share], Field(min_length=20, max_length=20)]]
    reliability: dict[str, Reliability] | None = None

    @model_validator(mode="after")
    def _matches(self) -> Self:
        if len(self.lengths) != len(self.length_edges):
            raise ValueError("lengths and length_edges have different lengths")
        return self


class Description(_Lenient):
    """What every ``model.json`` says: the config, of which only the labels are checked here, and two numbers for each label.

    Attributes
    ----------
    config : mapping
        The model's config; `models.config.ModelConfig` reads all of it.
    thresholds, prior : dict of str to float
        Threshold and share among the training posts of each label.
    normaliser : int
        Version of the normaliser that read the training posts (`models.text.NORMALISER`).
    operating_points : dict of str to OperatingPoint
        Operating points by name. ``balanced`` has the thresholds in `thresholds`. Models from earlier releases have none.
    reference : Reference or None
        The training posts in numbers. Models from earlier releases have none.
    """

    config: _Config
    thresholds: dict[str, Number]
    prior: dict[str, Share]
    normaliser: int = 1
    operating_points: dict[str, OperatingPoint] = {}
    reference: Reference | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        points = [numbers for point in self.operating_points.values() for numbers in (point.thresholds, point.labels)]
        shares = [self.reference.probabilities, self.reference.reliability or self.prior] if self.reference else []
        if any(label not in numbers for label in self.labels for numbers in (self.thresholds, self.prior, *points, *shares)):
            raise ValueError("a label has no number")
        return self

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the probabilities."""
        return [label.name for label in self.config.labels.labels]

    @property
    def thresholds_at(self) -> dict[str, dict[str, float]]:
        """The thresholds of each operating point by label, in the order of the probabilities; ``balanced`` is always among them."""
        found = {BALANCED: self.thresholds} | {name: point.thresholds for name, point in self.operating_points.items() if name != BALANCED}
        return {name: {label: thresholds[label] for label in self.labels} for name, thresholds in found.items()}
