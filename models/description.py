"""The typed form of what a model's ``model.json`` must say."""

from pydantic import BaseModel, ConfigDict, model_validator

from models.calibration import BALANCED


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True)  # other keys are allowed and not looked at


class _Label(_Lenient):
    name: str


class _Labels(_Lenient):
    labels: list[_Label]


class _Config(_Lenient):
    labels: _Labels


class LabelCost(_Lenient):
    """What an operating point costs for one label, on held-out folds of train; None if that cannot be measured.

    `precision` and `recall` weigh posts as `thresholds.mix` does. `false_alarms` is the share of the ordinary posts that get the label.
    """

    recall: float | None
    precision: float | None
    false_alarms: float | None


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

    thresholds: dict[str, float]
    labels: dict[str, LabelCost]
    false_alarms: float | None
    ordinary: int


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
        Operating points by name. ``balanced`` is that of `thresholds`, measured. Models of earlier releases have none.
    """

    config: _Config
    thresholds: dict[str, float]
    prior: dict[str, float]
    normaliser: int = 1
    operating_points: dict[str, OperatingPoint] = {}

    @model_validator(mode="after")
    def _complete(self) -> "Description":
        points = [numbers for point in self.operating_points.values() for numbers in (point.thresholds, point.labels)]
        if any(label not in numbers for label in self.labels for numbers in (self.thresholds, self.prior, *points)):
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
