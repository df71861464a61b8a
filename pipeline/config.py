"""The configuration of a run: the model's part, and the settings for data, evaluation and tracking."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.config import ModelConfig, Section

Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0)]


def mask_password(text: str) -> str:
    """Replace the passwords in all URIs of a text by ``***``.

    Examples
    --------
    >>> mask_password("https://me:secret@mlflow.example.org")
    'https://me:***@mlflow.example.org'
    """
    # As SQLAlchemy reads them: a name may hold @, and a password blanks and, as in the second alternative, slashes.
    masked = re.sub(r"(://[^:/\s]*):(?:(?!\s)[^/\n]*@|[^@\s]+@)", r"\1:***@", text)
    return re.sub(r"([?&]\w*(?:password|passwd|pwd)=)[^&\s]+", r"\1***", masked, flags=re.IGNORECASE)  # as in a database's URI


class Columns(Section):
    """Which column of a file holds which field of a record; null if there is none."""

    id: str | None = "id"
    text: str = "text"
    # Either a column that lists names, or one column per label that says yes or no.
    labels: str | dict[str, str] = "labels"
    author: str | None = "author"
    created_at: str | None = "created_at"
    source: str | None = "source"
    # How much a post counts in training, and whether its labels can be read either way.
    weight: str | None = "weight"
    unsure: str | None = "unsure"


class Split(Section):
    """Which share of the posts goes into each split, by author, if the data has no splits."""

    validation: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def _leaves_train(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing for train; their sum must be below 1")
        return self


class Data(Section):
    """Where the posts come from."""

    sources: Annotated[list[str], Field(min_length=1)]
    columns: Columns = Columns()
    # How much the posts of each source count in training; those from other sources count 1.
    weights: dict[str, Weight] = Field(default_factory=dict)
    # How much a post counts if its column `unsure` is true.
    unsure: Weight = 1.0
    drop_overlap: bool = True
    swaps: bool = False
    split: Split = Split()


class Natural(Section):
    """How to recognise the rows that were drawn at random."""

    column: str
    values: Annotated[list[str], Field(min_length=1)]


class Evaluation(Section):
    """Which split training reports on, and how evaluate.py measures a model."""

    split: Literal["validation", "test"] = "validation"
    rounds: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    slices: list[str] = Field(default_factory=list)
    min_positives: Annotated[int, Field(ge=1)] = 10
    natural: Literal["all"] | Natural | None = None
    behaviour: str | None = "data/behaviour/cases.csv"
    swaps: str | None = "data/swaps"
    recall: Annotated[float, Field(gt=0, lt=1)] | dict[str, Annotated[float, Field(gt=0, lt=1)]] = 0.9
    guarantee: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    together: bool = False

    @model_validator(mode="after")
    def _distinct_slices(self) -> "Evaluation":
        if repeated := sorted({name for name in self.slices if self.slices.count(name) > 1}):
            raise ValueError(f"slices: {', '.join(repeated)} listed twice; list each column once")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that evaluation needs in the data, in addition to the fields of a record."""
        return list(dict.fromkeys([*self.slices, *([self.natural.column] if isinstance(self.natural, Natural) else [])]))


class Promotion(Section):
    """What a model must achieve before evaluate.py makes it the champion."""

    max_ece: Annotated[float, Field(gt=0, le=1)] = 0.05
    max_seen: Annotated[float, Field(ge=0, le=1)] = 0.01
    behaviour_floor: Annotated[float, Field(ge=0, le=1)] = 0.3
    behaviour_floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=lambda: {"help_and_resources": 0.1})
    max_swap_shift: Annotated[float, Field(ge=0, le=1)] | None = None
    max_swap_changes: Annotated[float, Field(ge=0, le=1)] | None = None


class Watch(Section):
    """When ``disclosure watch`` raises an alarm."""

    level: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    psi: Annotated[float, Field(gt=0)] = 0.2
    js: Annotated[float, Field(gt=0, le=1)] = 0.2
    auc: Annotated[float, Field(gt=0.5, le=1)] = 0.65
    min_posts: Annotated[int, Field(ge=50)] = 300
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    min_f1: Annotated[float, Field(ge=0, le=1)] | dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None


class Tracking(Section):
    """Where MLflow stores the runs."""

    uri: str | None = None
    experiment: str | None = None


def check_config(config: object) -> None:
    """Raise an error if this is not a `Config` but, for example, a path or a dict.

    Raises
    ------
    TypeError
        The message says how to make one.
    """
    if not isinstance(config, Config):
        raise TypeError(
            f"config must be a Config, as load_config([PATH], settings=['model.C=0.3']) returns, but got {type(config).__name__}"
        )


class Config(ModelConfig):
    """Everything that determines a training run."""

    data: Data
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()
    watch: Watch = Watch()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _slices_show_nobody(self) -> "Config":
        private = {self.data.columns.id, self.data.columns.text, self.data.columns.author}
        if shown := [column for column in self.evaluation.columns if column in private]:
            key = "evaluation.slices" if shown[0] in self.evaluation.slices else "evaluation.natural.column"
            raise ValueError(f"{key}: column {shown[0]!r} would reveal in the report who wrote what; choose another column")
        return self

    def shown(self) -> dict[str, Any]:
        """Return the whole config as a tree to print or log, with the password in the tracking URI masked."""
        tree = self.model_dump(mode="json")
        tree["tracking"]["uri"] = self.tracking.uri and mask_password(self.tracking.uri)
        return tree

    def reading(self, source: str) -> "Config":
        """Return the config with this source of posts as its only one."""
        return self.model_copy(update={"data": self.data.model_copy(update={"sources": [source]})})

    def of_model(self) -> ModelConfig:
        """Return the part that is stored with the model."""
        return ModelConfig.model_validate({name: getattr(self, name) for name in ModelConfig.model_fields})
