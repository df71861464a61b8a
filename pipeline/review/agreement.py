"""Measures how far annotators agree, lists what they must settle, and makes a corpus of what they said."""

import csv
import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models.errors import InputError
from pipeline.corpora.labels_cell import flag_of, is_blank
from pipeline.corpora.problems import counted
from pipeline.files import OutputError, whole_file
from pipeline.records import BrokenRow, read_rows
from pipeline.result_base import Result
from pipeline.review.answers import Answer, Answers
from pipeline.review.batch import Planned

_YES_OR_NO = {True: "yes", False: "no"}
DISAGREEMENT_COLUMNS = ["id", "label", "yes", "no", "said_yes", "said_no", "predicted", "settled"]


class LabelAgreement(Result):
    """How far annotators agree on a label.

    Attributes
    ----------
    posts : int
        Posts on which at least two annotators answered for this label.
    given : float or None
        Share of these answers that say yes.
    agreement : float or None
        Share of the pairs of answers to a post that are the same.
    alpha : float or None
        Krippendorff's alpha; None if all answers are the same, so that chance agreement is not defined.
    disputed : int
        Posts on which the annotators do not agree.
    """

    posts: int
    given: float | None
    agreement: float | None
    alpha: float | None
    disputed: int


class PairAgreement(Result):
    """Cohen's kappa of two annotators, by label; None if it is not defined, because both said the same about all posts."""

    annotators: tuple[str, str]
    posts: int
    kappa: dict[str, float | None]


class Agreement(Result):
    """How far annotators agree.

    Attributes
    ----------
    posts : int
        Posts with an answer.
    several : int
        Posts with answers from two annotators or more.
    annotators : dict of str to int
        Posts that each has answered for.
    same : float or None
        Share of the pairs of answers to a post in which all labels are the same. Of each post, only labels count about which all of its
        annotators were asked.
    alpha : float or None
        Krippendorff's alpha for whole sets of these labels, by the MASI distance (Passonneau 2006), which counts sets that overlap as
        partly wrong.
    labels : dict of str to LabelAgreement
    pairs : list of PairAgreement
        For each pair of annotators with a post in common.
    """

    posts: int
    several: int
    annotators: dict[str, int]
    same: float | None
    alpha: float | None
    labels: dict[str, LabelAgreement]
    pairs: list[PairAgreement]


def _alpha(triples: Sequence[tuple[str, str, Any]], *, sets: bool = False) -> float | None:
    try:
        from nltk.metrics import binary_distance, masi_distance
        from nltk.metrics.agreement import AnnotationTask
    except ImportError:
        raise InputError("Krippendorff's alpha needs nltk, which is not installed; install it with pip install -e '.[agreement]'") from None

    if len({value for *_, value in triples}) < 2:
        return None
    return float(AnnotationTask(triples, distance=masi_distance if sets else binary_distance).alpha())


def _same(answers: Iterable[Sequence[Any]]) -> float | None:
    pairs = [one == other for of_post in answers for one, other in combinations(of_post, 2)]
    return float(np.mean(pairs)) if pairs else None


def _of_label(answers: Answers, label: str) -> dict[str, dict[str, bool]]:
    """Return who said yes and who said no, for each post on which at least two annotators answered for a label."""
    said = {
        post: {name: label in answer.labels for name, answer in of_post.items() if label in answer.asked}
        for post, of_post in answers.by_post.items()
    }
    return {post: votes for post, votes in said.items() if len(votes) > 1}


def _label(answers: Answers, label: str) -> LabelAgreement:
    said = _of_label(answers, label)
    triples = [(name, post, yes) for post, votes in said.items() for name, yes in votes.items()]
    return LabelAgreement(
        posts=len(said),
        given=float(np.mean([yes for *_, yes in triples])) if triples else None,
        agreement=_same([list(votes.values()) for votes in said.values()]),
        alpha=_alpha(triples),
        disputed=sum(len(set(votes.values())) > 1 for votes in said.values()),
    )


def _kappa(one: Sequence[bool], other: Sequence[bool]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if not one or len({*one, *other}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(one, other))


def _pair(answers: Answers, names: tuple[str, str]) -> PairAgreement | None:
    common = [(of_post[names[0]], of_post[names[1]]) for of_post in answers.by_post.values() if {*names} <= of_post.keys()]
    kappa = {}
    for label in answers.labels:
        asked = [(label in one.labels, label in other.labels) for one, other in common if label in one.asked & other.asked]
        kappa[label] = _kappa([one for one, _ in asked], [other for _, other in asked])
    return PairAgreement(annotators=names, posts=len(common), kappa=kappa) if common else None


def _common(of_post: Mapping[str, Answer]) -> dict[str, frozenset[str]]:
    """Return the labels that each annotator of a post gave, among those about which all of them were asked; empty if there are none."""
    asked = frozenset.intersection(*(answer.asked for answer in of_post.values()))
    return {name: answer.labels & asked for name, answer in of_post.items()} if asked else {}


def measure_agreement(answers: Answers) -> Agreement:
    """Measure how far annotators agree, for each label, for each pair of annotators, and for whole sets of labels.

    Parameters
    ----------
    answers : Answers
        What they said.

    Returns
    -------
    Agreement

    Raises
    ------
    InputError
        If nltk is not installed.
    """
    several = {post: of_post for post, of_post in answers.by_post.items() if len(of_post) > 1}
    sets = {post: labels for post, of_post in several.items() if (labels := _common(of_post))}
    triples = [(name, post, labels or frozenset(["none"])) for post, of_post in sets.items() for name, labels in of_post.items()]
    pairs = [_pair(answers, names) for names in combinations(answers.annotators, 2)]
    return Agreement(
        posts=sum(bool(of_post) for of_post in answers.by_post.values()),
        several=len(several),
        annotators={name: sum(name in of_post for of_post in answers.by_post.values()) for name in answers.annotators},
        same=_same([list(of_post.values()) for of_post in sets.values()]),
        alpha=_alpha(triples, sets=True),
        labels={label: _label(answers, label) for label in answers.labels},
        pairs=[pair for pair in pairs if pair],
    )


def disagreements(
    answers: Answers, plan: Mapping[str, Planned] = MappingProxyType({}), settled: Mapping[tuple[str, str], bool] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Return a row for each post and label on which annotators do not agree and which they must settle, the closest votes first.

    Parameters
    ----------
    answers : Answers
        What they said.
    plan : mapping of str to Planned
        The batch, if it is known: what the model predicted for its posts.
    settled : mapping of (str, str) to bool
        The result of `read_settled`, which fills the column ``settled``.

    Returns
    -------
    list of dict
        With the columns ``id``, ``label``, ``yes`` and ``no`` (number of annotators), ``said_yes`` and ``said_no`` (their names),
        ``predicted`` (yes, no or nothing) and ``settled``, which is for the annotators to fill in.
    """
    rows = []
    for label in answers.labels:
        for post, votes in _of_label(answers, label).items():
            sides = {side: sorted(name for name, said in votes.items() if said is side) for side in (True, False)}
            if all(sides.values()):
                predicted = "" if post not in plan else _YES_OR_NO[label in plan[post].predicted]
                mark = _YES_OR_NO[settled[post, label]] if (post, label) in settled else ""
                rows.append(
                    {"id": post, "label": label, "yes": len(sides[True]), "no": len(sides[False]), "predicted": predicted, "settled": mark}
                    | {"said_yes": ";".join(sides[True]), "said_no": ";".join(sides[False])}
                )
    return sorted(rows, key=lambda row: (abs(row["yes"] - row["no"]), row["id"], row["label"]))


def read_settled(path: Path, answers: Answers) -> dict[tuple[str, str], bool]:
    """Read the file of disagreements, in which the column ``settled`` has been filled in.

    Parameters
    ----------
    path : Path
        The file.
    answers : Answers
        What the annotators said.

    Returns
    -------
    dict of (str, str) to bool
        The decisions by id and label; what is not settled is left out.

    Raises
    ------
    InputError
        If the file cannot be read, or settles a label or a post that is not there.
    """
    found = dict[tuple[str, str], bool]()
    for row in read_rows(path, ["id", "label", "settled"], may_be_empty=True):
        if isinstance(row, BrokenRow):
            raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
        key, mark = (str(row.fields["id"]), str(row.fields["label"])), row.fields["settled"]
        if is_blank(mark):
            continue
        if key[0] not in answers.by_post or key[1] not in answers.labels:
            what = "label" if key[0] in answers.by_post else "post"
            raise InputError(f"{path}, row {row.number}: is about a {what} that the answers do not have; use the file written for them")
        if (flag := flag_of(mark)) is None:
            raise InputError(f"{path}, row {row.number}: settled must be yes, no or, until it is settled, blank")
        found[key] = flag
    return found


def _decided(label: str, of_post: Mapping[str, Answer], settled: bool | None) -> bool:
    asked = [label in answer.labels for answer in of_post.values() if label in answer.asked]
    return 2 * sum(asked) > len(asked) if settled is None else settled


def labelled_posts(answers: Answers, settled: Mapping[tuple[str, str], bool]) -> list[dict[str, Any]]:
    """Return what annotators said as labelled posts, which training and evaluation take.

    Parameters
    ----------
    answers : Answers
        What they said.
    settled : mapping of (str, str) to bool
        The result of `read_settled`.

    Returns
    -------
    list of dict
        The columns of each post, ``labels`` and ``unsure``. ``labels`` are those that were settled or, where nothing was, those that more
        than half of the annotators who were asked gave. ``unsure`` says whether something is disputed and not yet settled. The rows hold
        the posts' texts.
    """
    open_ones = {row["id"] for row in disagreements(answers, settled=settled) if not row["settled"]}
    ours = {*answers.labels, "annotator", "predicted"}
    rows = []
    for post, of_post in answers.by_post.items():
        if of_post:
            labels = [label for label in answers.labels if _decided(label, of_post, settled.get((post, label)))]
            kept = {name: value for name, value in answers.posts[post].items() if name not in ours and not is_blank(value)}
            rows.append(kept | {"id": post, "labels": labels, "unsure": post in open_ones, "annotators": len(of_post)})
    return rows


def never_asked(answers: Answers, settled: Mapping[tuple[str, str], bool]) -> list[str]:
    """Say of each label which labelled posts lack it only because nobody was asked about it.

    Parameters
    ----------
    answers : Answers
        What they said.
    settled : mapping of (str, str) to bool
        From `read_settled`; what was settled counts as asked.
    """
    said = []
    for label in answers.labels:
        posts = sum(
            bool(of_post) and (post, label) not in settled and not any(label in answer.asked for answer in of_post.values())
            for post, of_post in answers.by_post.items()
        )
        said += [f"nobody was asked about {label} on {counted(posts, 'post')}, which count as not having it"] if posts else []
    return said


def write_disagreements(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write disagreements as CSV.

    Raises
    ------
    InputError
        If the file exists and settles something that `rows` leaves open, or if it cannot be written.
    """
    kept = {(str(row["id"]), str(row["label"])) for row in rows if row["settled"]}
    for row in read_rows(path, [], may_be_empty=True) if path.is_file() else ():
        fields = {} if isinstance(row, BrokenRow) else row.fields
        if not is_blank(fields.get("settled")) and (str(fields.get("id")), str(fields.get("label"))) not in kept:
            raise InputError(f"{path}: was filled in, and that would be lost; name it with --settled, or choose another --out")
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, DISAGREEMENT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, file.getvalue().encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)
    except (OSError, OutputError) as error:
        raise InputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error}); choose another --out") from None


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode("utf-8", "replace")
