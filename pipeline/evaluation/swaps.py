"""Swaps: how far a word that must not matter, such as a name or the author's religion, moves a model's decisions."""

import csv
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.arrays import Decisions, Probabilities
from models.config import LabelSet, find_file
from models.errors import InputError
from pipeline.result_base import Result

Slot = Literal["teller", "opening", "pronoun", "name"]
_BEFORE = ("teller", "opening")  # the value of these is a sentence that is put before the post
_PARTS: dict[str, tuple[str, ...]] = {"pronoun": ("they", "them", "their", "person"), "name": ("name",)}  # what other slots fill
CONTROL = "control"
_CARRIERS, _VALUES, _JOBS = "carriers.csv", "values.csv", "jobs.csv"


class Swapped(Result):
    """What a swap does: the mean shift of each label's probability, the label that moves most, and the share of decisions changed.

    `posts` is the number of swapped posts; each label of each of them is a decision. `shift` is the shift of `label`.
    """

    posts: int
    shifts: dict[str, float]
    label: str
    shift: float
    changed: float


class SwapKind(Result):
    """Swaps of a kind: each group against the control, the share of decisions that the whole kind changes, and the controls.

    `control` holds, for each label, the largest mean shift of one control value against the others, which shows how much the wording
    alone matters. It is None if there is only one control value.
    """

    groups: dict[str, Swapped]
    changed: float
    control: Swapped | None

    @property
    def worst(self) -> tuple[str, Swapped]:
        """The group whose mean shift is the largest."""
        return max(self.groups.items(), key=lambda found: abs(found[1].shift))


class MarkedJobs(Result):
    """Harmless posts whose authors name their jobs, and the labels that were given to some of them."""

    posts: int
    marked: dict[str, list[str]]


class Swaps(Result):
    """Results of swaps by kind, and the share of carriers whose decisions are all right; None if the model has none of their labels."""

    carriers: int
    right: float | None
    kinds: dict[str, SwapKind]
    jobs: MarkedJobs

    @property
    def shift(self) -> float:
        """The largest mean shift of any group, without its sign."""
        return max(abs(kind.worst[1].shift) for kind in self.kinds.values())

    @property
    def changed(self) -> float:
        """The largest share of decisions that any kind of swap changes."""
        return max(kind.changed for kind in self.kinds.values())


@dataclass(frozen=True)
class Carrier:
    """A post into which values are put, with its labels by the codebook, which no value changes."""

    carrier_id: str
    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Value:
    """A value, which slot it fills, and what it stands for; a control has the kind and the group "control"."""

    slot: Slot
    kind: str
    group: str
    value: str


def _filled(value: Value) -> dict[str, str]:
    return dict(zip(_PARTS.get(value.slot, ()), value.value.split("/"), strict=False))


@dataclass(frozen=True)
class SwapSet:
    """What `load_swaps` reads: carriers, values, and a harmless post for each job."""

    carriers: list[Carrier]
    values: list[Value]
    jobs: dict[str, str]

    def of_slot(self, slot: str) -> tuple[list[Carrier], list[Value]]:
        """Return the carriers that have a slot and the values that fill it, controls first."""
        carriers = [one for one in self.carriers if slot in _BEFORE or any(f"{{{part}}}" in one.text for part in _PARTS[slot])]
        return carriers, sorted((one for one in self.values if one.slot == slot), key=lambda one: one.kind != CONTROL)

    @cached_property
    def _plain(self) -> dict[str, str]:
        """Return what fills each slot inside a post unless the slot is swapped, which is its first control."""
        return {part: word for slot in _PARTS for part, word in _filled(self.of_slot(slot)[1][0]).items()}

    def post(self, carrier: Carrier, value: Value | None = None) -> str:
        """Return a carrier with a value in its slot; every other slot holds the slot's first control."""
        post = carrier.text.format_map(self._plain | (_filled(value) if value else {}))
        return f"{value.value} {post}" if value and value.slot in _BEFORE else post

    def texts(self) -> list[str]:
        """Return all posts to be scored, each once."""
        plain = [self.post(carrier) for carrier in self.carriers]
        swapped = [
            self.post(one, value) for slot in get_args(Slot) for ones, values in [self.of_slot(slot)] for one in ones for value in values
        ]
        return list(dict.fromkeys([*plain, *swapped, *self.jobs.values()]))


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a file, each with its place; only the column "labels" may be empty."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                if missing := [name for name in columns if row.get(name) is None or (name != "labels" and not row[name].strip())]:
                    raise InputError(f"{place}: column {missing[0]!r} is missing or empty; the file needs the columns {', '.join(columns)}")
                yield place, row
    except OSError as error:
        raise InputError(f"evaluation.swaps: {file} cannot be read ({error.strerror}); correct the path, or set it to null") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"evaluation.swaps: {file} is not CSV in UTF-8 ({error}); correct it, or set it to null") from None


def _carrier(place: str, row: Mapping[str, str], known: Sequence[str]) -> Carrier:
    labels = tuple(filter(None, row["labels"].split(";")))
    for label in (label for label in labels if label not in known):
        if near := difflib.get_close_matches(label, known, n=1, cutoff=0.8):
            raise InputError(f"{place}: unknown label {label!r}; did you mean {near[0]!r}?")
    slots = [part for parts in _PARTS.values() for part in parts]
    bare = re.sub("|".join(f"{{{part}}}" for part in slots), "", row["text"])
    if wrong := re.search(r"\{[^{}]*\}?|\}", bare):
        raise InputError(f"{place}: text has {wrong[0]!r}, but a slot must be one of {', '.join(f'{{{part}}}' for part in slots)}")
    return Carrier(row["carrier_id"], labels, row["text"])


def _value(place: str, row: Mapping[str, str]) -> Value:
    slot, kind = row["slot"], row["kind"]
    if slot not in get_args(Slot):
        raise InputError(f"{place}: slot is {slot!r}, but must be one of {', '.join(get_args(Slot))}")
    if not re.fullmatch(r"[\w -]+", kind):
        raise InputError(f"{place}: kind {kind!r} may hold only letters, digits, spaces, '_' and '-'; rename it")
    if (kind == CONTROL) != (row["group"] == CONTROL):
        raise InputError(
            f"{place}: kind is {kind!r} and group {row['group']!r}; write {CONTROL!r} in both for a control, or else in neither"
        )
    parts = _PARTS.get(slot, ("",))
    if slot not in _BEFORE and len(row["value"].split("/")) != len(parts):
        raise InputError(f"{place}: value is {row['value']!r}, but slot {slot} takes {'/'.join(parts)}")
    return Value(slot, kind, row["group"], row["value"])  # type: ignore[arg-type]


def _once(file: Path, keys: Sequence[str]) -> None:
    if repeated := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
        raise InputError(f"{file}: {repeated!r} occurs twice; remove one")


def _check(folder: Path, found: SwapSet) -> None:
    if not found.carriers:
        raise InputError(f"{folder / _CARRIERS}: holds no posts; add some")
    _once(folder / _CARRIERS, [one.carrier_id for one in found.carriers])
    _once(folder / _VALUES, [",".join((one.slot, one.kind, one.group, one.value)) for one in found.values])
    for slot in get_args(Slot):
        carriers, values = found.of_slot(slot)
        if not values or values[0].kind != CONTROL:
            raise InputError(f"{folder / _VALUES}: slot {slot} has no control; add a row with kind and group {CONTROL!r}")
        if not carriers:
            raise InputError(f"{folder / _CARRIERS}: no text has a slot for {slot}; add one, such as {{{_PARTS[slot][0]}}}")
    kinds = {one.kind: one.slot for one in found.values if one.kind != CONTROL}
    if not kinds:
        raise InputError(f"{folder / _VALUES}: holds controls only; add groups to compare with them")
    if two := next((one for one in found.values if one.kind in kinds and kinds[one.kind] != one.slot), None):
        raise InputError(
            f"{folder / _VALUES}: kind {two.kind!r} has the slots {two.slot} and {kinds[two.kind]}; give each slot a kind of its own"
        )


def load_swaps(path: str, labels: LabelSet) -> SwapSet:
    """Read a folder of swaps: ``carriers.csv``, ``values.csv`` and ``jobs.csv``, which data/swaps/README.md describes.

    Parameters
    ----------
    path : str
        A folder that does not exist is looked up in this repository.
    labels : LabelSet
        Known labels, to recognise misspelt ones; carriers may also have labels of other sets.

    Raises
    ------
    InputError
        If a file or a line cannot be used. The message names it and how to fix it.
    """
    folder, known = find_file(path), [*labels.names, *labels.auxiliary, *labels.ignored]
    carriers = [_carrier(place, row, known) for place, row in _rows(folder / _CARRIERS, ("carrier_id", "labels", "text"))]
    values = [_value(place, row) for place, row in _rows(folder / _VALUES, ("slot", "kind", "group", "value"))]
    jobs = [(row["job"], row["text"]) for _, row in _rows(folder / _JOBS, ("job", "text"))]
    _once(folder / _JOBS, [job for job, _ in jobs])
    if not jobs:
        raise InputError(f"{folder / _JOBS}: holds no jobs; add harmless posts whose authors name their jobs")
    found = SwapSet(carriers, values, dict(jobs))
    _check(folder, found)
    return found


def _swapped(labels: Sequence[str], shifts: NDArray[np.float64], changed: NDArray[np.bool_]) -> Swapped:
    most = int(np.abs(shifts).argmax())
    means = {label: round(float(shift), 6) + 0.0 for label, shift in zip(labels, shifts, strict=True)}
    return Swapped(
        posts=changed.shape[0] * changed.shape[1],
        shifts=means,
        label=labels[most],
        shift=means[labels[most]],
        changed=float(changed.mean()),
    )


def _controls(labels: Sequence[str], controls: NDArray[np.float64], decide: Callable[[NDArray[np.float64]], Decisions]) -> Swapped | None:
    """Measure each control against the mean of the others; the arrays have the shape (n_carriers, n_controls, n_labels)."""
    count = controls.shape[1]
    if count < 2:
        return None
    others = (controls.sum(axis=1, keepdims=True) - controls) / (count - 1)
    moved = (controls - others).mean(axis=0)
    worst = moved[np.abs(moved).argmax(axis=0), np.arange(len(labels))]
    return _swapped(labels, worst, decide(controls) != decide(others))


def _right(found: SwapSet, labels: Sequence[str], decided: Decisions) -> float | None:
    known = {label for one in found.carriers for label in one.labels} & {*labels}
    columns = [k for k, label in enumerate(labels) if label in known]
    wanted = np.array([[labels[k] in one.labels for k in columns] for one in found.carriers])
    return float((decided[:, columns] == wanted).all(axis=1).mean()) if columns else None


def measure_swaps(
    found: SwapSet, labels: Sequence[str], score: Callable[[list[str]], Probabilities], decide: Callable[[Probabilities], Decisions]
) -> Swaps:
    """Measure what swaps do to a model's probabilities and decisions.

    A carrier's control is the mean of its probabilities with the control values, and the decisions at that mean.

    Parameters
    ----------
    found : SwapSet
        The result of `load_swaps`.
    labels : sequence of str, length n_labels
        The model's labels, in the order of the columns.
    score : callable
        Returns the model's probabilities for texts, shape (n_texts, n_labels).
    decide : callable
        Takes such probabilities, and returns which labels the model gives, in the same shape.
    """
    texts = found.texts()
    row, probabilities = {text: number for number, text in enumerate(texts)}, score(texts)

    def decided(values: NDArray[np.floating]) -> Decisions:
        return decide(values.reshape(-1, len(labels)).astype(np.float32)).reshape(values.shape)

    kinds: dict[str, SwapKind] = {}
    for slot in get_args(Slot):
        carriers, values = found.of_slot(slot)
        where = np.array([[row[found.post(carrier, value)] for value in values] for carrier in carriers])
        of_slot = probabilities[where].astype(np.float64)  # (n_carriers, n_values, n_labels)
        controls = of_slot[:, [value.kind == CONTROL for value in values]]
        base = controls.mean(axis=1, keepdims=True)
        shifts, changed = of_slot - base, decided(of_slot) != decided(base)
        still = _controls(labels, controls, decided)
        for kind in dict.fromkeys(value.kind for value in values if value.kind != CONTROL):
            groups = {
                group: _swapped(labels, shifts[:, columns].mean(axis=(0, 1)), changed[:, columns])
                for group in dict.fromkeys(value.group for value in values if value.kind == kind)
                if (columns := [k for k, value in enumerate(values) if (value.kind, value.group) == (kind, group)])
            }
            whole = float(changed[:, [value.kind == kind for value in values]].mean())
            kinds[kind] = SwapKind(groups=groups, changed=whole, control=still)
    plain = decide(probabilities[[row[found.post(carrier)] for carrier in found.carriers]])
    of_jobs = decide(probabilities[[row[text] for text in found.jobs.values()]])
    given = {
        job: [label for label, has in zip(labels, gives, strict=True) if has]
        for job, gives in zip(found.jobs, of_jobs.tolist(), strict=True)
    }
    jobs = MarkedJobs(posts=len(given), marked={job: names for job, names in given.items() if names})
    return Swaps(carriers=len(found.carriers), right=_right(found, labels, plain), kinds=kinds, jobs=jobs)
