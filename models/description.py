"""The typed form of what a model's ``model.json`` must say."""

from pydantic import BaseModel, ConfigDict, model_validator


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True)  # other keys are allowed and not looked at


class _Label(_Lenient):
    name: str


class _Labels(_Lenient):
    labels: list[_Label]


class _Config(_Lenient):
    labels: _Labels


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
    """

    config: _Config
    thresholds: dict[str, float]
    prior: dict[str, float]
    normaliser: int = 1

    @model_validator(mode="after")
    def _complete(self) -> "Description":
        if any(label not in numbers for label in self.labels for numbers in (self.thresholds, self.prior)):
            raise ValueError("a label has no number")
        return self

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the probabilities."""
        return [label.name for label in self.config.labels.labels]
