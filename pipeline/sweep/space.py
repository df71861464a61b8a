"""Reads a sweep from YAML: the metric to maximise and the space of configs to search."""

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from models.config import Calibration, Features, Model, Section, Text
from models.errors import InputError
from pipeline.config import Config
from pipeline.config_files import explain, load_config, merge, nest, read_yaml
from pipeline.sweep.trials import Metric, Values

EXAMPLE = "configs/sweeps/linear.yaml"

# Config keys that may vary, and their types. Excluded are those that would make trials incomparable (data, labels, folds, seed)
# and those that no metric depends on.
SWEPT: dict[str, Any] = {
    f"{section}.{key}": field.annotation
    for section, schema in (("text", Text), ("features", Features), ("model", Model))
    for key, field in schema.model_fields.items()
} | {"calibration.method": Calibration.model_fields["method"].annotation}


class Range(Section):
    """Numbers from `low` to `high`, both included; integers if the config key takes only these."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; low must be the smaller")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; with log: true it must be greater than 0")
        return self

    @property
    def ends(self) -> list[float]:
        """The lowest and the highest number, as int if they are integers."""
        return [int(end) if end.is_integer() else end for end in (self.low, self.high)]


def _distinct(choices: list[Any]) -> list[Any]:
    if len({json.dumps(choice, default=str) for choice in choices}) < len(choices):
        raise ValueError("a choice is listed twice")
    return choices


def _kind(wanted: Any) -> str | None:
    return "choices" if isinstance(wanted, list) else "range" if isinstance(wanted, dict | Range) else None


def _dotted(wanted: Any) -> Any:
    if isinstance(wanted, dict) and any(isinstance(value, dict | list) for value in wanted.values()):
        raise ValueError("must be a range or a list; write nested keys with dots, as in model.type: [svm, logistic]")
    return wanted


_Range = Annotated[Range, Tag("range")]
_Choices = Annotated[list[Any], Field(min_length=1), AfterValidator(_distinct), Tag("choices")]
_FORMS = "must be {low: …, high: …}, with log: true for a logarithmic scale, or a list of choices"
_Form = Annotated[_Range | _Choices, Discriminator(_kind, custom_error_type="form", custom_error_message=_FORMS)]
_Wanted = Annotated[_Form, BeforeValidator(_dotted)]


class Sweep(Section):
    """A sweep: the metric to maximise, and the space of configs to search.

    `metric` is computed on held-out, author-disjoint folds of train. `space` maps dotted config keys to a `Range` or a list of
    choices.
    """

    metric: Metric = "mean_average_precision"
    trials: Annotated[int, Field(ge=1)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    space: Annotated[dict[str, _Wanted], Field(min_length=1)]

    def start(self, config: Config) -> tuple[Values, Values]:
        """Split the config's own values, by dotted key, into values in the space (in the spelling used there) and values outside it."""
        inside: Values = {}
        outside: Values = {}
        for key, wanted in self.space.items():
            value: Any = reduce(getattr, key.split("."), config)
            if isinstance(wanted, Range):
                (inside if wanted.low <= value <= wanted.high else outside)[key] = value
            elif same := [choice for choice in wanted if lay_over(config, {key: choice}, f"space.{key}") == config]:
                inside[key] = same[0]
            else:
                outside[key] = value
        return inside, outside


def lay_over(config: Config, values: Values, origin: str) -> Config:
    """Return a config with some values replaced.

    Parameters
    ----------
    config : Config
    values : dict
        New values by dotted key.
    origin : str
        Where the values came from; error messages begin with it.

    Raises
    ------
    InputError
        If a key is unknown (the message names the nearest known one) or a value is not allowed.
    """
    tree = reduce(merge, (nest(key, value) for key, value in values.items()), config.model_dump(mode="json"))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, origin)) from None


def load_sweep(path: Path, config: Config) -> Sweep:
    """Read a sweep, and check that the config accepts each value of its space on its own.

    Parameters
    ----------
    path : Path
        YAML file, such as ``configs/sweeps/linear.yaml``.
    config : Config
        The config that trials will change.

    Raises
    ------
    InputError
        If the file cannot be read, a key is unknown or cannot be swept, or the config does not accept a range or choice.
    """
    try:
        sweep = Sweep.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(explain(error, str(path), Sweep, EXAMPLE)) from None
    for key, wanted in sweep.space.items():
        for value in wanted.ends if isinstance(wanted, Range) else wanted:
            lay_over(config, {key: value}, f"{path}: space")
        if key not in SWEPT:
            raise InputError(f"{path}: space.{key} cannot be swept; the keys that can are {', '.join(SWEPT)}")
        if isinstance(wanted, Range) and SWEPT[key] not in {int, float}:
            raise InputError(f"{path}: space.{key} cannot be a range; list its choices, as in [1, 2]")
    return sweep


def _differing(tree: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a tree that differs from `base`; a label set that differs is returned as a whole, not merged."""
    found = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "labels"
        if value != base.get(key):
            found[key] = _differing(value, base[key]) if inner else value
    return found


def overlay_of(config: Config, values: Values) -> dict[str, Any]:
    """Return what must be laid over configs/default.yaml to get this config.

    Parameters
    ----------
    config : Config
    values : dict
        Values by dotted key that the overlay holds even if they are the defaults.

    Returns
    -------
    dict
        A tree with `values` and everything that differs from the default, except passwords.
    """
    shown = config.shown()
    if config.tracking.uri != shown["tracking"]["uri"]:
        del shown["tracking"]["uri"]  # it holds a password, which must not be written to a file
    return reduce(merge, (nest(key, value) for key, value in values.items()), _differing(shown, load_config().shown()))
