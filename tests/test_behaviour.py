"""Behavioural cases: the file that we ship, and what running its cases shows about a model."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

from models.config import ROOT, Label, LabelSet
from models.text import normalise
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.behaviour import load_cases, run_cases

CASES = "data/behaviour/cases.csv"
EXTENDED = ROOT / "configs/experiments/extended.yaml"
SPECIFIC = {"workplace_harassment", "street_harassment", "assault"}
COLUMNS = ["functionality", "case_id", "contrast_id", "text", "test", "labels", "must", "must_not"]
LABEL_SET = LabelSet(name="two", labels=[Label(name=name, definition="") for name in ("alpha", "beta")], auxiliary=["gamma"])


@pytest.fixture(scope="module")
def shipped():
    return load_cases(CASES, load_config([EXTENDED]).labels)


def test_at_least_30_functionalities_with_12_cases_each(shipped):
    cases = Counter(case.functionality for case in shipped)
    assert len(cases) >= 30
    assert min(cases.values()) >= 12
    assert all(case.case_id.startswith(case.functionality) for case in shipped)


def test_contrasts_point_back(shipped):
    by_id = {case.case_id: case for case in shipped}
    assert [case.case_id for case in shipped if case.contrast_id and by_id[case.contrast_id].contrast_id != case.case_id] == []
    assert sum(bool(case.contrast_id) for case in shipped) > len(shipped) / 2


def test_labels_are_the_codebooks(shipped):
    known = {*load_config([EXTENDED]).labels.names}
    for case in shipped:
        assert {*case.labels, *case.must, *case.must_not} <= known, case.case_id
        assert not ("other_disclosure" in case.labels and SPECIFIC & set(case.labels)), case.case_id


def test_what_is_asked_fits_the_labels(shipped):
    for case in shipped:
        assert set(case.must) <= set(case.labels), case.case_id
        assert not set(case.must_not) & set(case.labels), case.case_id
        assert (case.test == "same") == (not case.must and not case.must_not), case.case_id


def test_invariances_and_directions_start_from_a_case_whose_labels_are_tested(shipped):
    by_id = {case.case_id: case for case in shipped}
    for test in ("same", "direction"):
        found = [case for case in shipped if case.test == test]
        assert len(found) >= 5
        assert {by_id[case.contrast_id].test for case in found} == {"labels"}
    assert [case.case_id for case in shipped if case.test == "same" and case.labels != by_id[case.contrast_id].labels] == []


def test_no_text_twice(shipped):
    assert [text for text, count in Counter(case.text for case in shipped).items() if count > 1] == []


def test_nobody_can_be_reached_through_a_case(shipped):
    for case in shipped:
        assert not re.search(r"\+?\d[\d\s().-]{5,}\d", case.text), case.case_id
        assert set(re.findall(r"@\w+", case.text)) <= {"@user"}, case.case_id
        assert not re.search(r"www\.|\w@\w|\w\.(com|org|net)\b", case.text), case.case_id
        assert all(link.startswith("https://t.co/") for link in re.findall(r"\w+://\S*", case.text)), case.case_id


def test_no_case_is_a_post_that_models_are_trained_on(shipped):
    config = load_config([EXTENDED], sources=[str(ROOT / "data/starter")])
    corpus = load_corpus(config.data, config.labels, seed=0)
    posts = {normalise(text) for split in corpus.splits.values() for text in split["text"]}
    assert [case.case_id for case in shipped if normalise(case.text) in posts] == []


def row(case_id="a-01", **changes):
    return {**dict.fromkeys(COLUMNS, ""), "functionality": "a", "case_id": case_id, "text": case_id, "test": "labels", **changes}


@pytest.fixture
def load(tmp_path):
    """``load(row(...), ...)`` writes a file of cases and reads it."""

    def cases(*rows, columns=COLUMNS):
        with (tmp_path / "cases.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return load_cases(str(tmp_path / "cases.csv"), LABEL_SET)

    return cases


@pytest.fixture
def run(load):
    """``run(row(...), ...)`` runs cases for a model that reads the probabilities of two labels from the text, such as ``0.9 0.2``."""

    def results(*rows):
        cases = load(*rows)
        probabilities = np.array([[float(number) for number in case.text.split()] for case in cases], np.float32)
        return run_cases(cases, ["alpha", "beta"], probabilities, probabilities >= 0.5)

    return results


BASE = row("base", text="0.6 0.4", must="alpha")


@pytest.mark.parametrize(
    ("case", "failed"),
    [
        (row(text="0.6 0.4", must="alpha", must_not="beta"), None),
        (row(text="0.5 0.4", must="alpha"), None),
        (row(text="0.4 0.9", must="alpha"), ["alpha"]),
        (row(text="0.4 0.9", must_not="beta"), ["beta"]),
        (row(text="0.4 0.9", must="alpha", must_not="beta"), ["alpha", "beta"]),
        (row(text="0.4 0.4", must="beta;alpha"), ["alpha", "beta"]),
        (row(text="0.4 0.9", must_not="alpha"), None),
        (row(text="0.99 0.01", test="same", contrast_id="base"), None),
        (row(text="0.6 0.5", test="same", contrast_id="base"), ["beta"]),
        (row(text="0.4 0.5", test="same", contrast_id="base"), ["alpha", "beta"]),
        (row(text="0.61 0.4", test="direction", contrast_id="base", must="alpha"), None),
        (row(text="0.6 0.4", test="direction", contrast_id="base", must="alpha"), ["alpha"]),
        (row(text="0.6 0.3", test="direction", contrast_id="base", must_not="beta"), None),
        (row(text="0.6 0.4", test="direction", contrast_id="base", must_not="beta"), ["beta"]),
        (row(text="0.3 0.49", test="direction", contrast_id="base", must="beta", must_not="alpha"), None),
        (row(text="0.9 0.1", test="direction", contrast_id="base", must="beta", must_not="alpha"), ["alpha", "beta"]),
    ],
)
def test_a_case_passes_or_fails_on_the_labels_that_it_asks_for(run, case, failed):
    found = run(BASE, case).functionalities["a"]
    assert found.passed == (2 if failed is None else 1)
    assert [failure.failed for failure in found.failures] == ([] if failed is None else [failed])


def test_a_failure_says_what_was_asked_and_what_was_given(run):
    case = row(text="0.7 0.51234", test="direction", contrast_id="base", labels="alpha", must="alpha", must_not="beta")
    (failure,) = run(BASE, case).functionalities["a"].failures
    assert failure.model_dump() == {
        **{"case_id": "a-01", "text": "0.7 0.51234", "test": "direction", "contrast": "base"},
        **{"must": ["alpha"], "must_not": ["beta"], "failed": ["beta"], "given": ["alpha", "beta"]},
        **{"probabilities": {"alpha": 0.7, "beta": 0.5123}, "words": {}},
    }


def test_rates_are_counted_by_functionality_in_the_order_of_the_file(run):
    rows = [row(f"z-{k}", functionality="z", text="0.9 0.1" if k < 9 else "0.1 0.1", must="alpha") for k in range(12)]
    rows += [row(f"a-{k}", text="0.1 0.1", must_not="beta") for k in range(12)]
    results = run(*rows)
    assert (results.cases, results.passed, results.rate) == (24, 21, 21 / 24)
    assert list(results.functionalities) == ["z", "a"]
    found = results.functionalities["z"]
    assert (found.cases, found.passed, found.rate, len(found.failures)) == (12, 9, 0.75, 3)
    assert found.interval == pytest.approx((0.4677, 0.9111), abs=1e-4), "Wilson's, as in tables"
    assert results.functionalities["a"].interval == pytest.approx((0.7575, 1), abs=1e-4)


def test_cases_about_labels_that_the_model_lacks_are_left_out(run):
    results = run(row("a-01", text="0.1 0.1", must="gamma"), row("b-01", functionality="b", text="0.9 0.1", must="gamma;alpha"))
    assert (results.cases, results.passed, list(results.functionalities)) == (1, 1, ["b"])


def test_cases_may_name_labels_of_other_sets(load):
    (case,) = load(row(must="commenting;ogling", must_not="alpha"))
    assert (case.must, case.must_not) == (("commenting", "ogling"), ("alpha",))


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(load, tmp_path):
    load(row(must="alpha"))
    path = tmp_path / "cases.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_cases(str(path), LABEL_SET)[0].functionality == "a"


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([row(must="alpha"), row("a-02", test="label", must="alpha")], ["cases.csv, line 3", "'label'", "labels, same, direction"]),
        ([row(must="alhpa")], ["cases.csv, line 2", "unknown label 'alhpa'", "did you mean 'alpha'?"]),
        ([row(labels="gama", must="alpha")], ["line 2", "'gama'", "'gamma'"]),
        ([row(text="", must="alpha")], ["line 2", "'text'"]),
        ([row()], ["line 2", "must and must_not are both empty"]),
        ([row("b", must="alpha"), row("c", must="beta"), row("c", must="alpha")], ["case_id 'c'", "twice"]),
        ([row(must="alpha", contrast_id="a-99")], ["'a-01'", "'a-99'", "must be the id of another case"]),
        ([row(test="same")], ["'a-01'", "contrast_id"]),
        ([row(test="direction", must="alpha")], ["'a-01'", "contrast_id"]),
        ([row(test="direction", contrast_id="a-02"), row("a-02", must="alpha")], ["line 2", "must and must_not are both empty"]),
        ([row(must="alpha", must_not="alpha")], ["line 2", "alpha", "both"]),
        ([row(functionality="50% off?", must="alpha")], ["line 2", "functionality '50% off?'"]),
        ([], ["cases.csv", "has no cases"]),
    ],
)
def test_a_file_of_cases_that_cannot_be_used_is_one_line(load, refused, rows, parts):
    with refused(*parts):
        load(*rows)


@pytest.mark.parametrize("missing", COLUMNS)
def test_a_missing_column_is_named(load, refused, missing):
    with refused("line 2", f"column {missing!r} is missing or empty; the file needs the columns functionality, case_id"):
        load(row(must="alpha"), columns=[name for name in COLUMNS if name != missing])


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("functionalité".encode("latin-1"), "UTF-8"), (b'functionality\n"open', "not CSV")]
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, refused, content, said):
    if content:
        (tmp_path / "cases.csv").write_bytes(content)
    with refused("evaluation.behaviour: ", "cases.csv", said, "set it to null"):
        load_cases(str(tmp_path / "cases.csv"), LABEL_SET)


def test_cases_are_found_in_the_repository_from_elsewhere(tmp_path, monkeypatch, shipped):
    monkeypatch.chdir(tmp_path)
    assert load_cases(CASES, load_config([EXTENDED]).labels) == shipped
