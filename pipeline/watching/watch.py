"""Watch a stream of scored posts: compare it with a reference, and estimate how well the model does on it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.description import Description, Reference
from models.errors import InputError
from models.reference import LENGTHS
from models.storage import read_description
from pipeline.config import Watch
from pipeline.predictions import FAMILIARITY
from pipeline.watching.drift import bins_of_model, bins_of_stream, compare, corrected, two_samples
from pipeline.watching.expected import expect
from pipeline.watching.results import Drift, Expected, Group, TwoSample, Watched
from pipeline.watching.stream import Stream, check_given, groups_of, names_of, read_stream

Part = tuple[str | None, str | None, Stream]
Effects = dict[str, tuple[float, float, float]]

_NO_MEASURES = (
    "the posts were scored without --unfamiliar, so only their scores are compared; with it, so are their lengths and unknown words"
)
_CHANCE = "the model does not record how well it was calibrated, so the bands allow for chance alone; train it again with this release"


def _lowest(limits: Watch, label: str) -> float:
    return limits.min_f1.get(label, 0.0) if isinstance(limits.min_f1, dict) else limits.min_f1 or 0.0


def _alarms(drift: dict[str, Drift], told: TwoSample | None, expected: dict[str, Expected], limits: Watch) -> list[str]:
    """Say what is past a limit."""
    alarms = [
        f"{name.replace('_', ' ')} changed (stability index {found.psi:.2f}, distance {found.js:.2f}; limits {limits.psi} and {limits.js})"
        for name, found in drift.items()
        if found.alarm
    ]
    if told and told.alarm:
        alarms.append(f"a classifier tells the posts from the reference (AUC {told.auc:.2f}, limit {limits.auc})")
    for label, found in expected.items():
        if found.f1.value is not None and found.f1.value < _lowest(limits, label):
            alarms.append(f"expected F1 of {label.replace('_', ' ')} is {found.f1.value:.2f}, below {_lowest(limits, label)}")
    return alarms


def _group(part: Part, effects: Effects, told: TwoSample | None, expected: dict[str, Expected], limits: Watch) -> Group:
    column, value, stream = part
    drift = {
        name: Drift(psi=round(psi, 6), js=round(js, 6), p=p, alarm=p < limits.level and (psi > limits.psi or js > limits.js))
        for name, (psi, js, p) in effects.items()
    }
    means = [] if stream.measures is None else stream.measures.mean(axis=0, dtype=np.float64).round(6).tolist()
    return Group(
        column=column,
        value=value,
        posts=len(stream),
        distinct=len(stream.distinct[0]),
        means=dict(zip(FAMILIARITY, means, strict=False)),
        drift=drift,
        two_sample=told,
        expected=expected,
        void=any(found.alarm for found in drift.values()) or bool(told and told.alarm),
        alarms=_alarms(drift, told, expected, limits),
    )


def look_at(parts: Sequence[Part], night: Stream | None, model: Reference | None, labels: Sequence[str], limits: Watch) -> list[Group]:
    """Compare groups of posts with a reference.

    Parameters
    ----------
    parts : sequence of (str or None, str or None, Stream)
        Column, value and posts of each group.
    night : Stream or None
        Posts to compare with; None for the model's training posts.
    model : Reference or None
        What the model keeps of its training posts.
    labels : sequence of str
        The model's labels.
    limits : Watch
        When to raise an alarm.

    Raises
    ------
    InputError
        If there is no reference of either kind.
    """
    if night is None and model is None:
        message = "the model keeps no reference of its training posts; give scores of posts that you trust with --reference"
        raise InputError(message)
    bins = bins_of_stream(night, labels, LENGTHS) if night is not None else bins_of_model(model) if model else {}
    effects = [dict(compare(bins, stream, labels)) for _, _, stream in parts]
    apart = [two_samples(night, stream) for _, _, stream in parts] if night is not None else []
    p_values = [p for of_part in effects for _, _, p in of_part.values()] + [p for _, p in apart]
    right = iter(corrected(p_values))
    effects = [{name: (psi, js, next(right)) for name, (psi, js, _) in of_part.items()} for of_part in effects]
    told: list[TwoSample | None] = [None] * len(parts)
    for number, (auc, _) in enumerate(apart):
        p = next(right)
        told[number] = TwoSample(auc=round(auc, 6), p=p, alarm=p < limits.level and auc > limits.auc)
    expected = [expect(stream, labels, model, limits.confidence) for _, _, stream in parts]
    return [_group(*each, limits) for each in zip(parts, effects, told, expected, strict=True)]


def watch(
    scores: Sequence[str | Path], model: Path, limits: Watch | None = None, reference: Sequence[str | Path] = (), by: Sequence[str] = ()
) -> Watched:
    """Compare scored posts with a reference, and estimate how well the model does on them.

    Parameters
    ----------
    scores : sequence of str or Path
        Output folders of score.py; several are also compared one by one.
    model : Path
        Directory of the model that scored them.
    limits : Watch, optional
        When to raise an alarm.
    reference : sequence of str or Path
        Output folders of score.py for posts that you trust, such as those of a night that was checked. By default, the posts are compared
        with the model's training posts, whose numbers it keeps.
    by : sequence of str
        Columns that score.py kept: posts are also compared by their values, and by day if these are dates.

    Returns
    -------
    Watched

    Raises
    ------
    InputError
        When scores or reference cannot be used, are by another model, or are too few.
    """
    limits = limits or Watch()
    digest, description = read_description(model)
    described = Description.model_validate(description)
    labels = described.labels
    if isinstance(limits.min_f1, dict) and (unknown := [label for label in limits.min_f1 if label not in labels]):
        raise InputError(f"watch.min_f1: the model has no label {unknown[0]!r}; choose among {', '.join(labels)}")
    folders, trusted = ([Path(folder) for folder in given] for given in (scores, reference))
    check_given(folders, trusted, labels, by)
    stream = read_stream(folders, digest, labels, list(dict.fromkeys(by)))
    night = read_stream(trusted, digest, labels) if trusted else None
    for name, each in (("scores", stream), ("--reference", night)):
        if each is not None and len(each.distinct[0]) < limits.min_posts:
            few = f"{name}: only {len(each.distinct[0]):,} different posts"
            raise InputError(f"{few}, but {limits.min_posts} are needed; give more scores, or lower watch.min_posts")
    kept = described.reference
    groups, too_small = groups_of(stream, limits.min_posts)
    measured = stream.measures is not None and (night is None or night.measures is not None)
    counted = bool(kept and kept.reliability)
    return Watched(
        model=digest,
        scores=names_of(folders),
        reference=" + ".join(names_of(trusted)) or "the model’s training posts",
        reference_posts=len(night.distinct[0]) if night is not None else kept.posts if kept else 0,
        limits=limits.model_dump(),
        calibration_counted=counted,
        groups=look_at([(None, None, stream), *groups], night, kept, labels, limits),
        too_small=too_small,
        notes=[*stream.notes, *([] if measured else [_NO_MEASURES]), *([] if counted else [_CHANCE])],
    )
