"""What a scoring job may be asked for beyond files and a model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError
from models.text import MAX_CHARS
from pipeline import __version__
from pipeline.predictions import Format

if TYPE_CHECKING:
    from models import Classifier

OverLong = Literal["reject", "truncate"]
DEFAULT_OUT = Path("scores")


@dataclass(frozen=True)
class Options:
    """All that decides, with the model, what stands in the output.

    Attributes
    ----------
    id_column, text_column : str
        Columns of the inputs.
    keep : tuple of str
        Further columns of the inputs that go along as strings: what is no string, as JSON; what a row lacks, as null.
    format : {"parquet", "jsonl", "csv"}
        Of the output.
    max_chars : int
        Longest text.
    over_long : {"reject", "truncate"}
        What becomes of longer ones.
    abstain : (float, float) or None
        A label whose probability lies between the two, both included, is listed in the column ``review``.
    explain : bool
        The words that spoke most for each label decided or for review go along in the column ``explanation``: words of the posts.
    thresholds : mapping of str to float
        Labels that are decided from another probability on than the model's own.

    Raises
    ------
    InputError
        For a value that is not allowed.
    """

    id_column: str = "id"
    text_column: str = "text"
    keep: tuple[str, ...] = ()
    format: Format = "parquet"
    max_chars: int = MAX_CHARS
    over_long: OverLong = "reject"
    abstain: tuple[float, float] | None = None
    explain: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.keep, str):  # type: ignore[unreachable]  # in a notebook
            raise InputError(f"keep {self.keep!r}: must be several names, such as ({self.keep!r},)")
        for name, allowed in (("format", get_args(Format)), ("over_long", get_args(OverLong))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} {getattr(self, name)!r}: allowed are {', '.join(allowed)}; choose one")
        if self.max_chars < 1:
            raise InputError(f"max_chars {self.max_chars}: must be 1 or more; leave it out for {MAX_CHARS:,}")
        if self.abstain is not None and not 0 <= self.abstain[0] <= self.abstain[1] <= 1:
            low, high = self.abstain
            raise InputError(f"abstain {low}:{high}: must be LOW:HIGH with 0 <= LOW <= HIGH <= 1, such as 0.3:0.7")
        for label, threshold in self.thresholds.items():
            if not 0 <= threshold <= 1:
                raise InputError(f"threshold {label}={threshold}: must be a probability from 0 to 1, such as 0.3")
        if repeated := [name for number, name in enumerate(self.keep) if name in self.keep[:number]]:
            raise InputError(f"keep {repeated[0]!r}: given twice; name each column once")

    def check_labels(self, labels: Sequence[str]) -> None:
        """Fail if an option is about a label that the model has not.

        Raises
        ------
        InputError
        """
        if unknown := [label for label in self.thresholds if label not in labels]:
            raise InputError(f"threshold for {unknown[0]!r}: the model has no such label; choose among {', '.join(labels)}")

    def decide(self, model: "Classifier", probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each label is given, by the model's thresholds or those asked for, shape (n_posts, n_labels)."""
        decided = model.decide(probabilities)
        for label, threshold in self.thresholds.items():
            column = model.labels.index(label)
            decided[:, column] = probabilities[:, column] >= np.float32(threshold)
        return decided

    def for_review(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Which labels a person should decide, shape (n_posts, n_labels); None when not asked to abstain."""
        if self.abstain is None:
            return None
        low, high = self.abstain
        marked: NDArray[np.bool_] = (probabilities >= np.float32(low)) & (probabilities <= np.float32(high))
        return marked

    @property
    def columns(self) -> list[str]:
        """Columns that are read."""
        return list(dict.fromkeys([self.id_column, self.text_column, *self.keep]))

    @property
    def digest(self) -> str:
        """SHA-256 of the options and the release of the pipeline: with the same model and input, the same output."""
        return hashlib.sha256(json.dumps([__version__, self.to_dict()]).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """All by name, JSON-able; `explain` and `thresholds`, which came later, only where they are asked for."""
        tree = asdict(self) | {"thresholds": dict(sorted(self.thresholds.items()))}
        return {name: value for name, value in tree.items() if value or name not in ("explain", "thresholds")}
