"""The options of a scoring job, besides its files and its model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.arrays import Float64s
from models.calibration import BALANCED, PointName, check_point, decide
from models.errors import InputError
from models.text import MAX_CHARS
from pipeline import __version__
from pipeline.predictions import Format, named, prediction_schema
from pipeline.records import InputFormat

if TYPE_CHECKING:
    from models import Classifier
    from pipeline.routing.rules import Routing

OverLong = Literal["reject", "truncate"]
_CHOICES = {"format": get_args(Format), "over_long": get_args(OverLong), "operating_point": get_args(PointName)}
_CHOICES["input_format"] = (None, *get_args(InputFormat))
DEFAULT_OUT = Path("scores")
MAX_SHARD_MB = 256


@dataclass(frozen=True)
class Options:
    """The settings that determine the output, together with the model and the inputs.

    Attributes
    ----------
    id_column : str or None
        Column of the inputs with the id. If None, a row's id is the name of its file as it was given, a colon, and the row's number.
    text_column : str
        Column with the text.
    keep : tuple of str
        Further columns to copy to the output, as strings. Values that are not strings become JSON, and missing values become null.
    format : {"parquet", "jsonl", "csv"}
        Format of the output.
    max_chars : int
        Maximum length of a text in characters.
    over_long : {"reject", "truncate"}
        What to do with longer texts.
    abstain : (float, float) or None
        Lower and upper bound: a label whose probability is between them, inclusive, is listed in the column ``review``.
    explain : bool
        Whether to add the column ``explanation`` with the words of the post that count most for each label that is given or up for review.
    unfamiliar : bool
        Whether to add columns that say how much of each post the model knows, and whether that is too little.
    thresholds : mapping of str to float
        Thresholds to use instead of the operating point's, by label.
    operating_point : {"balanced", "cautious", "sensitive"}
        Which of the model's sets of thresholds to use; a model from an earlier release has ``balanced`` only.
    shard_mb : int or None
        Target size, in MiB once decompressed, of the input that is scored and written as one part; by default 2.
    input_format : {"jsonl", "csv", "parquet", "xlsx"} or None
        The format of all inputs, whatever their names are; None to go by each file's name. Compression is recognised in either case.
    route : Routing or None
        Queues and rules, from `pipeline.routing.rules.load_routing`, for the column ``queue``.

    Raises
    ------
    InputError
        When a value is not allowed.

    Examples
    --------
    >>> Options(format="csv", thresholds={"assault": 0.3}).to_dict()["format"]
    'csv'
    >>> Options(abstain=(0.7, 0.3))
    Traceback (most recent call last):
    models.errors.InputError: abstain must be LOW:HIGH with 0 <= LOW <= HIGH <= 1, such as 0.3:0.7, but got 0.7:0.3
    """

    id_column: str | None = "id"
    text_column: str = "text"
    keep: tuple[str, ...] = ()
    format: Format = "parquet"
    max_chars: int = MAX_CHARS
    over_long: OverLong = "reject"
    abstain: tuple[float, float] | None = None
    explain: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    operating_point: PointName = BALANCED
    shard_mb: int | None = None
    unfamiliar: bool = False
    input_format: InputFormat | None = None
    route: "Routing | None" = None

    def __post_init__(self) -> None:
        if isinstance(self.keep, str):  # type: ignore[unreachable]  # in a notebook
            raise InputError(f"keep must be a sequence of names, such as ({self.keep!r},), but got {self.keep!r}")
        if isinstance(self.route, str | Path):  # likewise
            raise InputError(f"route must be what load_routing returns, as in route=load_routing({str(self.route)!r}), but got a path")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, but got {getattr(self, name)!r}")
        for name in ("explain", "unfamiliar"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, but got {getattr(self, name)!r}")
        if self.max_chars < 1:
            raise InputError(f"max_chars must be 1 or more, but got {self.max_chars}; omit it to use {MAX_CHARS:,}")
        if self.shard_mb is not None and not 1 <= self.shard_mb <= MAX_SHARD_MB:
            raise InputError(f"shard_mb must be from 1 to {MAX_SHARD_MB}, but got {self.shard_mb}; omit it to use 2")
        if self.abstain is not None and not 0 <= self.abstain[0] <= self.abstain[1] <= 1:
            low, high = self.abstain
            raise InputError(f"abstain must be LOW:HIGH with 0 <= LOW <= HIGH <= 1, such as 0.3:0.7, but got {low}:{high}")
        for label, threshold in self.thresholds.items():
            if not 0 <= threshold <= 1:
                raise InputError(f"threshold {label}={threshold}: the threshold must be a probability from 0 to 1, such as 0.3")
        self._check_columns()

    def _check_columns(self) -> None:
        if "" in self.columns:
            raise InputError("the names of the id column, the text column and the columns to keep must not be empty; name them")
        if odd := [name for name in self.columns if name.encode("utf-8", "replace").decode() != name]:
            raise InputError(f"column {odd[0]!r}: its name is not UTF-8; write it in UTF-8, as in the files")
        if repeated := [name for number, name in enumerate(self.keep) if name in self.keep[:number]]:
            raise InputError(f"keep {repeated[0]!r}: was given twice; name each column once")

    def thresholds_of(self, labels: Sequence[str], points: Mapping[str, Sequence[float] | Float64s]) -> dict[str, float]:
        """Return the thresholds that decide, by label.

        Parameters
        ----------
        labels : sequence of str
            The model's labels.
        points : mapping of str to sequence of float
            The model's operating points, with the thresholds of these labels.

        Raises
        ------
        InputError
            If an option names a label or an operating point that the model does not have; the message lists those that it has.
        """
        if unknown := [label for label in self.thresholds if label not in labels]:
            raise InputError(f"threshold for {unknown[0]!r}: the model has no such label; choose one of {', '.join(labels)}")
        check_point(self.operating_point, points)
        if self.route:
            self.route.check_labels(labels)
        return dict(zip(labels, map(float, points[self.operating_point]), strict=True)) | dict(self.thresholds)

    def schema(self, labels: Sequence[str], further: Sequence[str] = ()) -> pa.Schema:
        """Return the columns of the predictions that these options ask for.

        Parameters
        ----------
        labels : sequence of str
            The model's labels.
        further : sequence of str, optional
            More string columns, which follow the others.

        Raises
        ------
        InputError
            If a column to keep has the name of another column of the output.
        """
        asked = {"review": self.abstain is not None, "explanation": self.explain, "familiarity": self.unfamiliar}
        asked |= {"queue": self.route is not None}
        schema = prediction_schema(labels, self.keep, **asked)
        for name in further:
            schema = schema.append(pa.field(name, pa.string()))
        if taken := [name for name in self.keep if schema.names.count(name) > 1]:
            raise InputError(f"keep {taken[0]!r}: the output already has a column of this name; rename the column in the input")
        return schema

    def decide(self, model: "Classifier", probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each label is given, by the thresholds of the operating point or those of these options.

        Parameters
        ----------
        model : Classifier
            The model that computed the probabilities.
        probabilities : ndarray of float32, shape (n_posts, n_labels)
            Its probabilities.

        Returns
        -------
        ndarray of bool, shape (n_posts, n_labels)
        """
        return decide(probabilities, list(self.thresholds_of(model.labels, model.operating_points_).values()))

    def for_review(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Return which labels a person should decide, shape (n_posts, n_labels); None if `abstain` is None."""
        if self.abstain is None:
            return None
        low, high = self.abstain
        marked: NDArray[np.bool_] = (probabilities >= np.float32(low)) & (probabilities <= np.float32(high))
        return marked

    def queued(self, labels: Sequence[str], probabilities: NDArray[np.float32], decided: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Return the number of the queue that each post would be in if all queues had room; None if `route` is None.

        Parameters
        ----------
        labels : sequence of str
            The model's labels.
        probabilities : ndarray of float32, shape (n_posts, n_labels)
            Their probabilities.
        decided : ndarray of bool, shape (n_posts, n_labels)
            Whether each label is given.
        """
        return None if self.route is None else self.route.first(self.route.met(labels, probabilities, decided))

    def queue_names(self, queued: NDArray[np.int64] | None) -> pa.StringArray | None:
        """Return the names of the queues with these numbers, as a column; None if there are no numbers."""
        return None if self.route is None or queued is None else named(self.route.names, queued)

    @property
    def needed(self) -> list[str]:
        """The columns that every post must have."""
        return [self.text_column] if self.id_column is None else [self.id_column, self.text_column]

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys([*self.needed, *self.keep]))

    @property
    def digest(self) -> str:
        """SHA-256 of the options and the pipeline's version; with equal model and input, equal digests mean equal output.

        Queues are excepted: they are decided again at the end of each run, from what is in the output.
        """
        routed = {"route": True} if self.route else {}
        return hashlib.sha256(json.dumps([__version__, self.to_dict() | routed]).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the options by name, JSON-serialisable; options that later releases added are left out if they have their defaults."""
        route = self.route and self.route.model_dump(mode="json")
        tree = asdict(self) | {"thresholds": dict(sorted(self.thresholds.items())), "route": route}
        later = {"explain": False, "thresholds": {}, "operating_point": BALANCED}
        later |= {"shard_mb": None, "unfamiliar": False, "input_format": None, "route": None}
        return {name: value for name, value in tree.items() if name not in later or value != later[name]}
