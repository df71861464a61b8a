"""The file of rules that lead from posts to queues, such as ``configs/routing.yaml``."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from models.config import Section
from models.errors import InputError
from pipeline.config_files import explain, nearest, read_yaml
from pipeline.routing.matching import GIVEN, first_met, rules_met
from pipeline.routing.resources import check_lines

EXAMPLE = "configs/routing.yaml"


def _probability(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1


def _need(value: Any) -> Any:
    """Return what a rule needs of a label, or say which forms there are."""
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_probability, value)) and value[0] <= value[1]
    if not (_probability(value) or pair or value == GIVEN):
        forms = "must be a probability from 0 to 1, two of them with the lower one first, such as [0.3, 0.6], or the word given"
        raise ValueError(f"{forms}, but got {value!r}" if isinstance(value, str | int | float | None) else forms)
    return tuple(map(float, value)) if pair else value if value == GIVEN else float(value)


class Queue(Section):
    """Where posts wait for a person: what the person does, for how many posts there is time, and which helplines are at hand."""

    task: Annotated[str, Field(min_length=1)]
    capacity: Annotated[int, Field(ge=0)] | None = None
    lines: list[str] = Field(default_factory=list)


class Rule(Section):
    """Which posts go to a queue: those that fulfil all conditions. If there are too many, the first label that is named ranks them."""

    when: Annotated[
        dict[str, Annotated[float | tuple[float, float] | Literal["given"], BeforeValidator(_need)]],
        Field(min_length=1),
    ]
    queue: str


class Routing(Section):
    """Queues, and the rules that lead to them, in order: a post goes to the first queue with room whose rule it meets."""

    queues: Annotated[dict[str, Queue], Field(min_length=1)]
    rules: Annotated[list[Rule], Field(min_length=1)]
    resources: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Routing":
        for number, rule in enumerate(self.rules):
            if rule.queue not in self.queues:
                raise ValueError(
                    f"rules.{number} leads to {rule.queue!r}, which is not among the queues; {nearest(rule.queue, self.queues)}"
                )
        led = {rule.queue for rule in self.rules}
        if idle := [name for name in self.queues if name not in led]:
            raise ValueError(f"no rule leads to the queue {idle[0]!r}; add a rule, or remove the queue")
        for name, queue in self.queues.items():
            if queue.lines and self.resources is None:
                raise ValueError(f"queue {name!r} names helplines; name the file that lists them, as in resources: resources.yaml")
        return self

    @cached_property
    def names(self) -> list[str]:
        """Names of the queues."""
        return list(self.queues)

    @cached_property
    def _of_rules(self) -> NDArray[np.int64]:
        """The number of each rule's queue, and then the number for no queue."""
        return np.array([*(self.names.index(rule.queue) for rule in self.rules), len(self.names)], np.int64)

    def capacity(self, rule: Rule) -> int | None:
        """Return how many posts the queue of a rule has room for; None if there is no limit."""
        return self.queues[rule.queue].capacity

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rules, without the capacities: it says which queue each post would go to if all queues had room."""
        rules = [(list(rule.when.items()), rule.queue) for rule in self.rules]
        return hashlib.sha256(json.dumps([self.names, rules]).encode()).hexdigest()

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise an error if a rule names a label that a model does not have.

        Parameters
        ----------
        labels : sequence of str
            The model's labels.

        Raises
        ------
        InputError
            The message names the nearest label that the model has.
        """
        for number, rule in enumerate(self.rules):
            if unknown := [label for label in rule.when if label not in labels]:
                hint = nearest(unknown[0], labels)
                raise InputError(f"routing: rules.{number}.when names the label {unknown[0]!r}, which the model does not have; {hint}")

    def met(self, labels: Sequence[str], probabilities: NDArray[np.float32], decided: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rules posts meet, shape (n_posts, n_rules).

        Parameters
        ----------
        labels : sequence of str
            The model's labels.
        probabilities : ndarray of float32, shape (n_posts, n_labels)
            Their probabilities.
        decided : ndarray of bool, shape (n_posts, n_labels)
            Whether each label is given.
        """
        return rules_met([rule.when for rule in self.rules], labels, probabilities, decided)

    def first(self, met: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of the queue that each post would be in if all queues had room; ``n_queues`` stands for none.

        Parameters
        ----------
        met : ndarray of bool, shape (n_posts, n_rules)
            Which rules posts meet.
        """
        return self.queues_of(first_met(met))

    def queues_of(self, rules: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the queue to which each of the given rules leads; ``n_rules`` stands for none."""
        return self._of_rules[rules]


def load_routing(path: Path) -> Routing:
    """Read a file of rules, and check that the helplines that it names were confirmed.

    Parameters
    ----------
    path : Path
        A YAML file, such as ``configs/routing.yaml``.

    Raises
    ------
    InputError
        When it cannot be read, a key or a name is wrong (the message suggests the nearest right one), or a queue names a helpline that
        nobody has confirmed.

    Examples
    --------
    >>> load_routing(Path("configs/routing.yaml")).names[0]
    'survivor_support'
    """
    try:
        routing = Routing.model_validate(read_yaml(path, EXAMPLE))
    except ValidationError as error:
        raise InputError(explain(error, str(path), Routing, EXAMPLE)) from None
    lines = {name: queue.lines for name, queue in routing.queues.items()}
    if routing.resources is not None and any(lines.values()):
        check_lines(path.parent / routing.resources, lines, path)
    return routing
