"""Behavioural tests: hand-written cases that each test one thing a classifier must get right (CheckList, HateCheck)."""

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.arrays import Decisions, Probabilities
from models.config import LabelSet, find_file
from models.errors import InputError
from pipeline.evaluation.results import Behaviour, Failure, Functionality
from pipeline.metrics import wilson_interval

Test = Literal["labels", "same", "direction"]
_COLUMNS = ["functionality", "case_id", "contrast_id", "text", "test", "labels", "must", "must_not"]


@dataclass(frozen=True)
class Case:
    """A behavioural test case.

    Attributes
    ----------
    functionality, case_id : str
        What the case tests, and its name.
    contrast_id : str
        The case that this one differs from by a few words; empty if there is none.
    text : str
        The post, which is invented.
    test : {"labels", "same", "direction"}
        "labels" tests the decisions themselves. "same" tests that they are the same as on the contrast case. "direction" tests that
        probabilities are higher (`must`) or lower (`must_not`) than on the contrast case.
    labels : tuple of str
        All labels of the post according to the codebook.
    must, must_not : tuple of str
        Labels that the model must give, and must not give.
    """

    functionality: str
    case_id: str
    contrast_id: str
    text: str
    test: Test
    labels: tuple[str, ...]
    must: tuple[str, ...]
    must_not: tuple[str, ...]


def _case(row: dict[str, str], place: str, known: Sequence[str]) -> Case:
    needed = ("functionality", "case_id", "text")
    if missing := [name for name in _COLUMNS if row.get(name) is None or (name in needed and not row[name])]:
        raise InputError(f"{place}: column {missing[0]!r} is missing or empty; the file needs the columns {', '.join(_COLUMNS)}")
    if not re.fullmatch(r"[\w -]+", row["functionality"]):  # it is also the name of a metric in MLflow
        raise InputError(f"{place}: functionality {row['functionality']!r} may hold only letters, digits, spaces, '_' and '-'; rename it")
    if row["test"] not in get_args(Test):
        raise InputError(f"{place}: test is {row['test']!r}, but must be one of {', '.join(get_args(Test))}")
    lists = {name: tuple(filter(None, row[name].split(";"))) for name in ("labels", "must", "must_not")}
    for label in [label for names in lists.values() for label in names if label not in known]:
        if near := difflib.get_close_matches(label, known, n=1, cutoff=0.8):
            raise InputError(f"{place}: unknown label {label!r}; did you mean {near[0]!r}?")
    if row["test"] != "same" and not (lists["must"] or lists["must_not"]):
        raise InputError(f"{place}: must and must_not are both empty; name a label in one of them")
    if both := [label for label in lists["must"] if label in lists["must_not"]]:
        raise InputError(f"{place}: {both[0]} is in both must and must_not; remove it from one")
    return Case(row["functionality"], row["case_id"], row["contrast_id"], row["text"], row["test"], **lists)  # type: ignore[arg-type]


def load_cases(path: str, labels: LabelSet) -> list[Case]:
    """Read a file of behavioural cases.

    Parameters
    ----------
    path : str
        CSV with the columns of `Case`; the items of a list are joined by ``;``. A path that does not exist is looked up in this repository.
    labels : LabelSet
        Known labels, to recognise misspelt ones; cases may also name labels of other sets.

    Raises
    ------
    InputError
        If the file or a line cannot be used. The message names it and how to fix it.
    """
    file = find_file(path)
    known = [*labels.names, *labels.auxiliary, *labels.ignored]
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            cases = [_case(row, f"{path}, line {reader.line_num}", known) for row in reader]
    except OSError as error:
        raise InputError(f"evaluation.behaviour: {path} cannot be read ({error.strerror}); correct the path, or set it to null") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"evaluation.behaviour: {path} is not CSV in UTF-8 ({error}); correct it, or set it to null") from None
    if not cases:
        raise InputError(f"evaluation.behaviour: {path} has no cases; add some, or set it to null")
    by_id = {case.case_id: case for case in cases}
    if len(by_id) < len(cases):
        repeated = next(case.case_id for number, case in enumerate(cases) if case.case_id in {other.case_id for other in cases[:number]})
        raise InputError(f"{path}: case_id {repeated!r} occurs twice; make case ids unique")
    for case in cases:
        if case.contrast_id == case.case_id or case.contrast_id not in by_id if case.contrast_id else case.test != "labels":
            raise InputError(f"{path}: case {case.case_id!r} has contrast_id {case.contrast_id!r}; it must be the id of another case")
    return cases


@dataclass(frozen=True)
class _Answer:
    """The model's probabilities and decisions for one case, each of shape (n_labels,)."""

    probabilities: NDArray[np.float32]
    decided: NDArray[np.bool_]


def _failed(case: Case, labels: Sequence[str], answer: _Answer, contrast: _Answer | None) -> list[str]:
    """Return the labels on which a case fails."""
    yes, no = answer.decided, ~answer.decided
    if contrast and case.test == "same":
        return [label for label, differs in zip(labels, answer.decided != contrast.decided, strict=True) if differs]
    if contrast and case.test == "direction":
        yes, no = answer.probabilities > contrast.probabilities, answer.probabilities < contrast.probabilities
    return [label for k, label in enumerate(labels) if (label in case.must and not yes[k]) or (label in case.must_not and not no[k])]


def _failure(case: Case, labels: Sequence[str], answer: _Answer, failed: list[str]) -> Failure:
    return Failure(
        case_id=case.case_id,
        text=case.text,
        test=case.test,
        contrast=case.contrast_id,
        must=list(case.must),
        must_not=list(case.must_not),
        failed=failed,
        given=[label for label, given in zip(labels, answer.decided.tolist(), strict=True) if given],
        probabilities={label: round(float(p), 4) for label, p in zip(labels, answer.probabilities, strict=True)},
    )


def run_cases(cases: Sequence[Case], labels: Sequence[str], probabilities: Probabilities, decided: Decisions) -> Behaviour:
    """Check a model's answers to behavioural cases.

    Parameters
    ----------
    cases : sequence of Case, length n_cases
        Cases that test none of the labels are left out.
    labels : sequence of str, length n_labels
        The model's labels, in the order of the columns.
    probabilities : ndarray of float32, shape (n_cases, n_labels)
        Probabilities for each case's text.
    decided : ndarray of bool, shape (n_cases, n_labels)
        Whether the model gives each label to the text.

    Returns
    -------
    Behaviour
        Results by functionality, in the order of the file.
    """
    answers = {case.case_id: _Answer(p, given) for case, p, given in zip(cases, probabilities, decided, strict=True)}
    asked = [case for case in cases if case.test == "same" or set(labels) & {*case.must, *case.must_not}]
    by_functionality: dict[str, list[Case]] = {}
    for case in asked:
        by_functionality.setdefault(case.functionality, []).append(case)
    functionalities = {}
    for name, group in by_functionality.items():
        failed = {case: _failed(case, labels, answers[case.case_id], answers.get(case.contrast_id)) for case in group}
        failures = [_failure(case, labels, answers[case.case_id], found) for case, found in failed.items() if found]
        passed = len(group) - len(failures)
        functionalities[name] = Functionality(
            cases=len(group),
            passed=passed,
            failures=failures,
            rate=passed / len(group),
            interval=wilson_interval(passed, len(group), 0.95),
        )
    passed = sum(found.passed for found in functionalities.values())
    silence = _Answer(np.zeros(len(labels), np.float32), np.zeros(len(labels), bool))
    return Behaviour(
        cases=len(asked),
        passed=passed,
        rate=passed / len(asked) if asked else None,
        passed_by_silence=sum(not _failed(case, labels, silence, silence) for case in asked),
        functionalities=functionalities,
    )
