"""The part of a configuration that, with the training posts, determines a model; it is saved with the model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def find_file(path: str) -> Path:
    """Find a file that a config names: at the path itself if it exists, otherwise relative to the repository's root."""
    return Path(path) if Path(path).exists() else ROOT / path


def _plain(value: Any) -> Any:
    """Return a parameter's value with numpy's scalars and arrays turned into Python's numbers and lists, and tuples into lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class Section(BaseModel):
    """The keys of a YAML file, or of a section of one; unknown keys and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _label_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789") or "label_1"
        raise ValueError(f"{name!r} must be lower-case letters, digits and _; write {plain!r} (in the data, spaces or hyphens are fine)")
    return name


class Label(Section):
    """One label and what it means."""

    name: Annotated[str, AfterValidator(_label_name)]
    definition: str


class LabelSet(Section):
    """The labels in the order used in every output, and other labels that the data may contain.

    The model learns from `auxiliary` labels, if the data has any, to tell the labels from similar ones, but returns no probability
    for them. It ignores the `ignored` labels. `support` names the labels that report no harm; they do not count as "any disclosure".
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
            raise ValueError(f"{', '.join(repeated)} listed twice; list each label once")
        if unknown := [name for name in self.support if name not in self.names]:
            raise ValueError(f"support: {unknown[0]!r} is not one of the labels {', '.join(self.names)}")
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
    """Which n-grams are counted."""

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
    """A small convolutional network alongside the linear model, and the file of teachers' answers that it learns from."""

    lessons: str
    dimensions: Annotated[int, Field(ge=1, le=512)] = 48
    # Larger matrix products would be spread over threads, and their last bits would depend on the number of threads.
    filters: Annotated[int, Field(ge=1, le=512)] = 128
    width: Literal[1, 3, 5, 7] = 5
    hidden: Annotated[int, Field(ge=1, le=512)] = 128
    epochs: Annotated[int, Field(ge=1)] = 8


class Model(Section):
    """Which estimator to use, and how strongly to regularise it."""

    type: Literal["blend", "svm", "nbsvm", "logistic", "most_frequent"] = "blend"
    C: Annotated[float, Field(gt=0)] = 0.15
    network: Network | None = None
    openings: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _reads_posts(self) -> "Model":
        if self.network and self.type == "most_frequent":
            raise ValueError("type most_frequent, the baseline, cannot have a network; choose another type, or set network: null")
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
    mix: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    cautious: Annotated[float, Field(gt=0, lt=1)] | None = 0.01
    ordinary: Annotated[list[str], Field(min_length=1)] | None = None
    sensitive: Annotated[float, Field(gt=0, lt=1)] | None = 0.9
    together: bool = False

    @model_validator(mode="after")
    def _target_where_needed(self) -> "Thresholds":
        if (self.objective in ("precision", "recall")) != (self.target is not None):
            raise ValueError(
                "the objectives precision and recall need a target; f1 and accuracy must not have one "
                "(target: null in a config, target=None in Python)"
            )
        return self


_PARAMETERS = {"method": "calibration", "name": "label_set", "labels": "label_set"}  # keys that a parameter calls by another name


class ModelConfig(Section):
    """Everything that, with the training posts, determines a model; it is stored with the model."""

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
            raise ValueError(
                "model.network needs calibration.method: stacked, which blends its scores with those of the linear model "
                "(in Python, network and calibration='stacked')"
            )
        return self

    def to_parameters(self) -> dict[str, Any]:
        """Return the parameters of `models.Classifier` that correspond to this config."""
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
            All parameters by name; ``label_set`` may be a list of names, and numbers may be numpy's.

        Raises
        ------
        InputError
            When a parameter has a value that is not allowed.
        """
        given = {name: _plain(value) for name, value in parameters.items()}
        labels = given["label_set"]
        if isinstance(labels, str):
            raise InputError(f'label_set must be a list of names, but got one string; put it in a list: ["{labels}"]')
        try:
            if not isinstance(labels, LabelSet):
                labels = LabelSet(name="labels", labels=[Label(name=name, definition=str(name).replace("_", " ")) for name in labels])
            sections: dict[str, type[Section]] = {"text": Text, "features": Features, "model": Model, "thresholds": Thresholds}
            made = {name: section(**{key: given[key] for key in section.model_fields}) for name, section in sections.items()}
            return cls(
                labels=labels,
                calibration=Calibration(method=given["calibration"], folds=given["folds"]),
                seed=given["seed"],
                **made,  # type: ignore[arg-type]  # each value belongs to its own section
            )
        except ValidationError as error:
            first = error.errors()[0]
            place, *inner = map(str, first["loc"] or [""])
            place, reason = ".".join([_PARAMETERS.get(place, place), *inner]), first["msg"].removeprefix("Value error, ")
            raise InputError(f"Classifier: {place}: got {first['input']!r}; {reason}" if place else f"Classifier: {reason}") from None
