"""What a sweep looks for and where: a space of configs, as YAML."""

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

# Config keys that may vary, and their types: not what trials are compared on (data, labels, folds, seed), nor what no metric here
# depends on.
SWEPT: dict[str, Any] = {
    f"{section}.{key}": field.annotation
    for section, schema in (("text", Text), ("features", Features), ("model", Model))
    for key, field in schema.model_fields.items()
} | {"calibration.method": Calibration.model_fields["method"].annotation}


class Range(Section):
    """Numbers from `low` to `high`, both included; whole ones where the config key takes only these."""

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
        """Lowest and highest, as whole numbers where they are."""
        return [int(end) if end.is_integer() else end for end in (self.low, self.high)]


def _distinct(choices: list[Any]) -> list[Any]:
    if len({json.dumps(choice, default=str) for choice in choices}) < len(choices):
        raise ValueError("a choice is listed twice")
    return choices


def _kind(wanted: Any) -> str | None:
    return "choices" if isinstance(wanted, list) else "range" if isinstance(wanted, dict | Range) else None


def _dotted(wanted: Any) -> Any:
    if isinstance(wanted, dict) and any(isinstance(value, dict | list) for value in wanted.values()):
        raise ValueError("write dotted keys, as in model.type: [svm, logistic]")
    return wanted


_Range = Annotated[Range, Tag("range")]
_Choices = Annotated[list[Any], Field(min_length=1), AfterValidator(_distinct), Tag("choices")]
_FORMS = "give {low: …, high: …}, with log: true for magnitudes, or a list of choices"
_Form = Annotated[_Range | _Choices, Discriminator(_kind, custom_error_type="form", custom_error_message=_FORMS)]
_Wanted = Annotated[_Form, BeforeValidator(_dotted)]


class Sweep(Section):
    """What a sweep looks for and where.

    `metric` is computed on held-out, author-disjoint folds of train, `space` maps dotted config keys to a `Range` or a
    list of choices.
    """

    metric: Metric = "mean_average_precision"
    trials: Annotated[int, Field(ge=1)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    space: Annotated[dict[str, _Wanted], Field(min_length=1)]

    def start(self, config: Config) -> tuple[Values, Values]:
        """Values that the config itself has: those that the space holds, choices as they are listed there, and those outside it."""
        inside: Values = {}
        outside: Values = {}
        for key, wanted in self.space.items():
            value: Any = reduce(getattr, key.split("."), config)
            if isinstance(wanted, Range):
                (inside if wanted.low <= value <= wanted.high else outside)[key] = value
            elif value in wanted:
                inside[key] = wanted[wanted.index(value)]
            else:
                outside[key] = value
        return inside, outside


def lay_over(config: Config, values: Values, origin: str) -> Config:
    """Lay values of dotted keys over a config.

    Raises
    ------
    InputError
        Beginning with `origin`: for an unknown key, with the nearest right one, or a wrong value.
    """
    tree = reduce(merge, (nest(key, value) for key, value in values.items()), config.model_dump(mode="json"))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, origin)) from None


def load_sweep(path: Path, config: Config) -> Sweep:
    """Read a sweep and check that every value of its space, by itself, fits the config.

    Raises
    ------
    InputError
        For a file that cannot be read, an unknown key, or a range or choice that the config does not take.
    """
    try:
        sweep = Sweep.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(explain(error, str(path), Sweep, EXAMPLE)) from None
    for key, wanted in sweep.space.items():
        for value in wanted.ends if isinstance(wanted, Range) else wanted:
            lay_over(config, {key: value}, f"{path}: space")
        if key not in SWEPT:
            raise InputError(f"{path}: space.{key} cannot be swept; allowed are {', '.join(SWEPT)}")
        if isinstance(wanted, Range) and SWEPT[key] not in {int, float}:
            raise InputError(f"{path}: space.{key} takes no range; list its choices, as in [1, 2]")
    return sweep


def _differing(tree: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a tree that is not the same in `base`; a label set, which no other shows through, is taken whole."""
    found = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "labels"
        if value != base.get(key):
            found[key] = _differing(value, base[key]) if inner else value
    return found


def overlay_of(config: Config, values: Values) -> dict[str, Any]:
    """What to lay over configs/default.yaml to get this config: the given values, by dotted key, and all others that differ."""
    shown = config.shown()
    if config.tracking.uri != shown["tracking"]["uri"]:
        del shown["tracking"]["uri"]  # a password belongs into no file
    return reduce(merge, (nest(key, value) for key, value in values.items()), _differing(shown, load_config().shown()))
