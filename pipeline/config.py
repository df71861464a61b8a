"""The configuration schema, and how files and ``--set`` overrides become one."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / "configs" / "default.yaml"


def find_file(path: str) -> Path:
    """Where a file that a config names is: as the path says, or else below the repository's folder."""
    return Path(path) if Path(path).exists() else ROOT / path


Share = Annotated[float, Field(ge=0, lt=1)]


def mask_password(text: str) -> str:
    """Replace passwords in the URIs of a text."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)


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
    probability for them; `ignored` ones it leaves out altogether.
    """

    name: str
    labels: Annotated[list[Label], Field(min_length=1)]
    auxiliary: list[str] = []
    ignored: list[str] = []

    @model_validator(mode="after")
    def _distinct(self) -> "LabelSet":
        names = [*self.names, *self.auxiliary, *self.ignored]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(repeated)} listed twice")
        return self

    @property
    def names(self) -> list[str]:
        """Label names, in order."""
        return [label.name for label in self.labels]


class Columns(Section):
    """Which column of a file holds which field of a record; null where there is none."""

    id: str | None = "id"
    text: str = "text"
    # A column with a list of names (or names joined by ";"), or one 0/1 column a label.
    labels: str | dict[str, str] = "labels"
    author: str | None = "author"
    created_at: str | None = "created_at"
    source: str | None = "source"


class Split(Section):
    """Shares cut off, by author, from data that comes without splits."""

    validation: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def _leaves_train(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing for train")
        return self


class Data(Section):
    """Where posts come from."""

    sources: Annotated[list[str], Field(min_length=1)]
    columns: Columns = Columns()
    drop_overlap: bool = True
    split: Split = Split()


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

    method: Literal["stacked", "sigmoid", "isotonic"] = "stacked"
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


class Natural(Section):
    """How to tell the rows that were drawn at random."""

    column: str
    values: Annotated[list[str], Field(min_length=1)]


class Evaluation(Section):
    """What training reports on, and how evaluate.py looks at a model."""

    split: Literal["validation", "test"] = "validation"
    rounds: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    slices: list[str] = []
    min_positives: Annotated[int, Field(ge=1)] = 10
    natural: Natural | None = None
    behaviour: str | None = "data/behaviour/cases.csv"
    recall: Annotated[float, Field(gt=0, lt=1)] | dict[str, Annotated[float, Field(gt=0, lt=1)]] = 0.9
    guarantee: Annotated[float, Field(ge=0.5, lt=1)] = 0.9

    @model_validator(mode="after")
    def _distinct_slices(self) -> "Evaluation":
        if repeated := sorted({name for name in self.slices if self.slices.count(name) > 1}):
            raise ValueError(f"slices: {', '.join(repeated)} listed twice")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns of the data that evaluation needs beside those of a record."""
        return list(dict.fromkeys([*self.slices, *([self.natural.column] if self.natural else [])]))


class Promotion(Section):
    """What a model must show before evaluate.py makes it the champion."""

    max_ece: Annotated[float, Field(gt=0, le=1)] = 0.05
    behaviour_floor: Annotated[float, Field(ge=0, le=1)] = 0.3
    behaviour_floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = {"help_and_resources": 0.1}


class Tracking(Section):
    """Where MLflow keeps runs."""

    uri: str | None = None
    experiment: str = "disclosure"


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


class Config(ModelConfig):
    """Everything that decides a training run."""

    data: Data
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _slices_show_nobody(self) -> "Config":
        private = {self.data.columns.id, self.data.columns.text, self.data.columns.author}
        if shown := [column for column in self.evaluation.columns if column in private]:
            raise ValueError(f"evaluation.slices: column {shown[0]!r} tells who wrote what, and reports go round; choose another column")
        return self

    def shown(self) -> dict[str, Any]:
        """Return all of it as a tree to print or log, less a password in the tracking URI."""
        tree = self.model_dump(mode="json")
        tree["tracking"]["uri"] = self.tracking.uri and mask_password(self.tracking.uri)
        return tree

    def of_model(self) -> ModelConfig:
        """Return the part that is stored with the model."""
        return ModelConfig.model_validate({name: getattr(self, name) for name in ModelConfig.model_fields})


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats (1e-3 is a number, PyYAML takes it for text)."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789"))


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; ``labels`` in it may name a file beside it, which is read too.

    Raises
    ------
    InputError
        When the file cannot be read or holds something else.
    """
    try:
        loaded = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); shipped ones are in configs/") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = "not UTF-8" if isinstance(error, UnicodeError) else getattr(error, "problem", None) or "a value cannot be read"
        raise InputError(f"{place}: not valid YAML ({reason}); correct it, configs/default.yaml shows the form") from None
    if not isinstance(loaded, dict):
        got = "nothing" if loaded is None else f"a {type(loaded).__name__}"
        raise InputError(f"{path}: got {got}, expected a mapping of sections (see configs/default.yaml)")
    if isinstance(loaded.get("labels"), str):
        loaded["labels"] = read_yaml(path.parent / loaded["labels"])
    return loaded


_WHOLE = ("labels",)  # a label set is one thing: keys of another do not show through


def merge(base: Any, overlay: Any, *, whole: Iterable[str] = ()) -> Any:
    """Lay one mapping over another key by key; anything else, and the keys in `whole`, is replaced."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    merged = dict(base)
    for key, value in overlay.items():
        merged[key] = value if key in whole or key not in base else merge(base[key], value)
    return merged


def nest(key: str, value: Any) -> dict[str, Any]:
    """Make a tree that holds a value under a dotted key."""
    first, _, rest = key.partition(".")
    return {first: nest(rest, value) if rest else value}


def _assign(config: dict[str, Any], setting: str) -> dict[str, Any]:
    """Lay one ``--set`` over a config; a dotted key changes that key alone."""
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {setting}: expected section.key=value, for example model.C=0.2")
    try:
        tree: Any = _parse(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {setting}: {value!r} is not a YAML value; put text with special characters in quotes") from None
    if key == "labels" and isinstance(tree, str):
        tree = read_yaml(Path(tree))
    merged: dict[str, Any] = merge(config, nest(key, tree), whole=() if "." in key else _WHOLE)
    return merged


# Branches of unions, which pydantic puts into the place of an error.
_BRANCH = re.compile(r"str|constrained-float|dict\[.+\]|range|choices")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _known_keys(schema: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Keys allowed at `path` of a schema."""
    for part in path:
        if part in schema.model_fields:
            schema = next(_sections(schema.model_fields[str(part)].annotation), schema)
    return list(schema.model_fields)


def explain(error: ValidationError, origin: str, schema: type[BaseModel] = Config, example: str = "configs/default.yaml") -> str:
    """Say in one line what is wrong with a file, what was got, and what is allowed.

    Parameters
    ----------
    error : ValidationError
    origin : str
        The file or setting, which the line begins with.
    schema : type
        What was validated, to name the nearest of its keys.
    example : str
        File that shows how it is done.
    """
    errors = error.errors()
    # A misspelt key also makes the right one missing: say the former. Else the deepest, which is the right branch of a union.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), None) or max(errors, key=lambda each: len(each["loc"]))
    place = ".".join(str(part) for part in first["loc"] if not _BRANCH.fullmatch(str(part)))
    if first["type"] == "extra_forbidden":
        allowed = {key.lower(): key for key in _known_keys(schema, first["loc"][:-1])}
        nearest = difflib.get_close_matches(str(first["loc"][-1]).lower(), allowed, n=1, cutoff=0.5)
        hint = f"did you mean {allowed[nearest[0]]!r}?" if nearest else f"allowed are {', '.join(allowed.values())}"
        return f"{origin}: unknown key {place!r}; {hint}"
    if first["type"] == "missing":
        return f"{origin}: {place!r} is missing; {example} shows it with a comment"
    if first["type"] == "value_error":
        return f"{origin}: {place or 'config'}: {first['msg'].removeprefix('Value error, ')} (see {example})"
    value = first["input"]
    got = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    reason = "input should be a mapping of keys" if first["type"] in {"model_type", "dict_type"} else first["msg"]
    reason = (reason[:1].lower() + reason[1:]).replace(" after validation", "")
    return f"{origin}: {place or 'config'}: got {got}; {reason} (see {example})"


def load_config(overlays: Iterable[Path] = (), settings: Iterable[str] = (), sources: Sequence[str] = (), **top_level: Any) -> Config:
    """Resolve ``configs/default.yaml``, overlays, ``--set`` settings and sources into one validated config.

    Parameters
    ----------
    overlays : iterable of Path
        YAML files laid over the default in order; ``labels`` may name a file relative to the overlay.
    settings : iterable of str
        ``section.key=value`` with a YAML value.
    sources : sequence of str
        Replaces ``data.sources`` unless empty.
    **top_level
        Replaces top-level keys, for example ``seed=1``.

    Raises
    ------
    InputError
        For a file that cannot be read, an unknown key (with the nearest right one), or a wrong type or value.
    """
    overlays, settings = list(overlays), list(settings)
    tree: dict[str, Any] = {}
    for path in (DEFAULT, *overlays):
        tree = merge(tree, read_yaml(path), whole=_WHOLE)
    for setting in settings:
        tree = _assign(tree, setting)
    tree = merge(tree, {"data": {"sources": list(sources)}} if sources else {})
    tree = merge(tree, top_level, whole=_WHOLE)
    origin = ", ".join([str(path) for path in overlays] + [f"--set {setting}" for setting in settings]) or str(DEFAULT)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, origin)) from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a resolved config's leaves as ``section.key`` and text, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
