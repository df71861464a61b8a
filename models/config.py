"""The part of a configuration that decides what a model makes of its training posts, and is saved with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def find_file(path: str) -> Path:
    """Where a file that a config names is: as the path says, or else below the repository's folder."""
    return Path(path) if Path(path).exists() else ROOT / path


class Section(BaseModel):
    """Keys of a YAML file, or of a part of one: an unknown key is an error, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Label(Section):
    """One label and what it means."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    definition: str


class LabelSet(Section):
    """Labels in the order of every output, and others that data may hold.

    The model learns from `auxiliary` ones where data has them, to tell the labels from their neighbours, but gives no
    probability for them; `ignored` ones it leaves out altogether. `support` names the labels that tell of no harm: they are not
    counted where "any disclosure" is.
    """

    name: str
    labels: Annotated[list[Label], Field(min_length=1)]
    auxiliary: list[str] = []
    ignored: list[str] = []
    support: list[str] = []

    @model_validator(mode="after")
    def _distinct(self) -> "LabelSet":
        names = [*self.names, *self.auxiliary, *self.ignored]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(repeated)} listed twice")
        if unknown := [name for name in self.support if name not in self.names]:
            raise ValueError(f"support: {unknown[0]!r} is none of the labels {', '.join(self.names)}")
        return self

    @property
    def names(self) -> list[str]:
        """Label names, in order."""
        return [label.name for label in self.labels]


class Text(Section):
    """How posts become tokens."""

    spacy_pipeline: str = "blank"
    attribute: Literal["ORTH", "NORM", "LEMMA"] = "ORTH"


class Features(Section):
    """What is counted."""

    word_ngrams: Literal[1, 2] = 2
    char_ngrams: Annotated[list[int], Field(min_length=2, max_length=2)] | None = [2, 5]
    word_min_df: Annotated[int, Field(ge=1)] = 2
    char_min_df: Annotated[int, Field(ge=1)] = 3
    min_authors: Annotated[int, Field(ge=1)] = 1
    private: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _ordered(self) -> "Features":
        if self.char_ngrams and not 1 <= self.char_ngrams[0] <= self.char_ngrams[1] <= 5:
            raise ValueError("char_ngrams must be [low, high] with 1 <= low <= high <= 5")
        return self


class Network(Section):
    """A small convolutional network beside the linear model, and the slow teachers whose answers it learns from."""

    lessons: str
    dimensions: Annotated[int, Field(ge=1)] = 48
    # Greater products are spread over threads, and their last bits would depend on how many.
    filters: Annotated[int, Field(ge=1, le=512)] = 128
    width: Literal[1, 3, 5, 7] = 5
    hidden: Annotated[int, Field(ge=1, le=512)] = 128
    epochs: Annotated[int, Field(ge=1)] = 8


class Model(Section):
    """Which estimator, and how strongly it is regularised."""

    type: Literal["blend", "svm", "nbsvm", "logistic", "most_frequent"] = "blend"
    C: Annotated[float, Field(gt=0)] = 0.15
    network: Network | None = None

    @model_validator(mode="after")
    def _reads_posts(self) -> "Model":
        if self.network and self.type == "most_frequent":
            raise ValueError("type most_frequent, the baseline, reads no post and takes no network; choose another type, or network: null")
        return self


class Calibration(Section):
    """How scores become probabilities."""

    method: Literal["stacked", "sigmoid"] = "stacked"
    folds: Annotated[int, Field(ge=2)] = 5


class Thresholds(Section):
    """How probabilities become decisions."""

    objective: Literal["f1", "accuracy", "precision", "recall"] = "f1"
    target: Annotated[float, Field(gt=0, le=1)] | None = None
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.003

    @model_validator(mode="after")
    def _target_where_needed(self) -> "Thresholds":
        if (self.objective in ("precision", "recall")) != (self.target is not None):
            raise ValueError("the objectives precision and recall need a target, the others have none")
        return self


class ModelConfig(Section):
    """Everything that decides what a model makes of its training posts; stored with it."""

    labels: LabelSet
    text: Text = Text()
    features: Features = Features()
    model: Model = Model()
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _network_is_heard(self) -> "ModelConfig":
        if self.model.network and self.calibration.method != "stacked":
            raise ValueError("model.network needs calibration.method stacked, which blends its scores with the linear model's")
        return self

    def to_parameters(self) -> dict[str, Any]:
        """Parameters of `models.Classifier` that give this config."""
        sections = (self.text, self.features, self.model, self.thresholds)
        flat = {name: value for section in sections for name, value in section}
        return {
            "label_set": self.labels,
            **flat,
            "calibration": self.calibration.method,
            "folds": self.calibration.folds,
            "seed": self.seed,
        }

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Validate parameters of `models.Classifier`.

        Parameters
        ----------
        parameters : mapping
            All of them, by name; ``label_set`` may be a list of names.

        Raises
        ------
        InputError
            When one has a value that is not allowed.
        """
        labels, given = parameters["label_set"], dict(parameters)
        try:
            if not isinstance(labels, LabelSet):
                labels = LabelSet(name="labels", labels=[Label(name=name, definition=name.replace("_", " ")) for name in labels])
            if given["char_ngrams"] is not None:
                given["char_ngrams"] = list(given["char_ngrams"])
            sections: dict[str, type[Section]] = {"text": Text, "features": Features, "model": Model, "thresholds": Thresholds}
            made = {name: section(**{key: given[key] for key in section.model_fields}) for name, section in sections.items()}
            return cls(
                labels=labels,
                calibration=Calibration(method=given["calibration"], folds=given["folds"]),
                seed=given["seed"],
                **made,  # type: ignore[arg-type]  # each of its own section
            )
        except ValidationError as error:
            first = error.errors()[0]
            place, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            raise InputError(f"Classifier: {place}: got {first['input']!r}; {reason}" if place else f"Classifier: {reason}") from None
