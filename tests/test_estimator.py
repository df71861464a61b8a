"""The classifier as scikit-learn's tools see it."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from models import Classifier
from models.config import Label, LabelSet
from models.errors import InputError
from models.storage import RELEASED

LABELS = ["workplace_harassment", "street_harassment", "assault", "solidarity_support"]
STARTER = Path(__file__).resolve().parent.parent / "data" / "starter" / "train.jsonl"


@pytest.fixture(scope="module")
def starter():
    """Texts, labels as 0 and 1, labels by name, and authors of some posts of the starter corpus."""
    rows = [json.loads(line) for line in STARTER.read_text().splitlines()[:300]]
    names = [[name for name in row["labels"] if name in LABELS] for row in rows]
    Y = np.array([[name in given for name in LABELS] for given in names], int)
    return [row["text"] for row in rows], Y, names, [row["author"] for row in rows]


def small(**changes) -> Classifier:
    return Classifier(**{"label_set": LABELS, "folds": 2, "char_ngrams": None, **changes})


@pytest.fixture(scope="module")
def fitted(starter):
    texts, Y, _, groups = starter
    return small().fit(texts, Y, groups)


def test_parameters_are_stored_as_they_are_and_cloned():
    model = small(C=0.3)
    assert model.get_params()["C"] == 0.3
    assert model.get_params()["label_set"] is LABELS
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert model.set_params(C=0.5, folds=3) is model
    assert (model.C, model.config.model.C, model.config.calibration.folds) == (0.5, 0.5, 3)
    assert repr(model) == f"Classifier(label_set={LABELS!r}, char_ngrams=None, C=0.5, folds=3)"


def test_an_unknown_parameter_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'c' is not a parameter of Classifier; its parameters are label_set, .*\bC\b"):
        small().set_params(c=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"C": -1}, "C: got -1"),
        ({"type": "forest"}, "type: got 'forest'"),
        ({"objective": "recall"}, "need a target"),
        ({"folds": 1}, "folds"),
    ],
)
def test_a_wrong_parameter_is_one_line_when_fitting(starter, refused, changes, said):
    with refused(said):
        small(**changes).fit(*starter[:2])


def test_scikit_learn_knows_what_it_is(fitted):
    assert is_classifier(small())
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(small())


def test_a_parameter_set_on_a_classifier_made_of_a_config_counts(model):
    made = Classifier.from_config(model.config)
    assert made.config == model.config
    assert made.set_params(C=7.0).config.model.C == 7.0


def test_predictions_have_their_shapes_and_are_the_decisions(starter, fitted):
    texts, Y, _, _ = starter
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == Y.shape
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_array_equal(fitted.predict(texts), probabilities >= fitted.thresholds_.astype(np.float32))
    assert fitted.classes_.tolist() == LABELS
    assert fitted.score(texts, Y) == (fitted.predict(texts) == Y).all(axis=1).mean()
    assert fitted.predict_proba([]).shape == (0, 4)


def test_the_table_shows_labels_and_no_text(starter, fitted):
    table = fitted.label(starter[0][:5])
    assert list(table.columns) == [*LABELS, "labels"]
    given = fitted.predict(starter[0][:5])
    assert [text.split(", ") if text else [] for text in table["labels"]] == [
        [name for name, has in zip(LABELS, row, strict=True) if has] for row in given
    ]


@pytest.mark.parametrize("kind", ["frame", "sparse", "lists", "names", "wide frame"])
def test_labels_are_taken_in_every_form_that_people_have(starter, fitted, kind):
    texts, Y, names, groups = starter
    forms = {
        "frame": pd.DataFrame(Y, columns=LABELS),
        "sparse": sparse.csr_matrix(Y),
        "lists": Y.tolist(),
        "names": names,
        "wide frame": pd.DataFrame(Y, columns=LABELS).assign(other=7)[["other", *LABELS[::-1]]],
    }
    other = small().fit(pd.Series(texts), forms[kind], pd.Series(groups))
    np.testing.assert_array_equal(other.predict_proba(texts), fitted.predict_proba(texts))


def test_labels_are_found_where_none_are_named(starter):
    texts, Y, names, _ = starter
    assert small(label_set=None).fit(texts, names).classes_.tolist() == sorted(LABELS)
    assert small(label_set=None).fit(texts, pd.DataFrame(Y, columns=LABELS)).classes_.tolist() == LABELS
    assert small(label_set=None).fit(texts, Y).classes_.tolist() == ["label_0", "label_1", "label_2", "label_3"]
    with pytest.raises(AttributeError, match="not known before fit"):
        small(label_set=None).classes_  # noqa: B018


def test_a_label_set_keeps_its_definitions(starter):
    wanted = LabelSet(name="one", labels=[Label(name="assault", definition="contact")])
    model = small(label_set=wanted).fit(starter[0], starter[1][:, 2:3])
    assert model.config.labels == wanted


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("one string", "got one string"),
        (["fine", None], r"texts\[1\] must be a string, got NoneType"),
        ([["nested"]], r"texts\[0\] .*list"),
    ],
)
def test_what_is_no_sequence_of_strings_is_refused(fitted, texts, said):
    for method in (fitted.predict, fitted.predict_proba, fitted.label):
        with pytest.raises(TypeError, match=said):
            method(texts)
    with pytest.raises(TypeError, match=said):
        small().fit(texts, [[0, 0, 0, 0]] * 2)


@pytest.mark.parametrize(
    ("Y", "said"),
    [
        (lambda Y: Y[:-1], "300 texts and 299 rows of Y"),
        (lambda Y: Y[:, 0], "one column a label, got 1 dimension"),
        (lambda Y: Y[:, :3], "Y has 3 columns; the label set has 4"),
        (lambda Y: Y * 2, "0 and 1 only"),
        (lambda Y: pd.DataFrame(Y, columns=["a", "b", "c", "d"]), "Y has no column 'workplace_harassment'"),
        (lambda Y: [["asault"]] * len(Y), "Y holds the label 'asault'"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(starter, refused, Y, said):
    with refused(said):
        small().fit(starter[0], Y(starter[1]))


def test_too_few_authors_named_is_one_line(starter, refused):
    with refused("groups names 299 authors for 300 posts"):
        small().fit(starter[0], starter[1], starter[3][:-1])


def test_the_old_meaning_of_score_is_told(fitted):
    with pytest.raises(TypeError, match="for probabilities use predict_proba"):
        fitted.score(["a post"])


def test_cross_val_score_grid_search_and_pipeline(starter):
    texts, Y, _, groups = starter
    scores = cross_val_score(small(), texts, Y, groups=groups, cv=GroupKFold(2), scoring="average_precision")
    assert (scores > Y.mean()).all()
    search = GridSearchCV(small(), {"C": [1e-6, 0.3]}, cv=2, scoring="average_precision").fit(texts, Y)
    assert search.best_params_ == {"C": 0.3}
    steps = [("strip", FunctionTransformer(lambda posts: [post.strip() for post in posts])), ("model", small())]
    pipeline = Pipeline(steps).fit(texts, Y)
    np.testing.assert_array_equal(pipeline.predict_proba([f"  {texts[0]} "]), pipeline.predict_proba([texts[0]]))
    pipeline.set_params(model__C=0.5)
    assert pipeline.named_steps["model"].C == 0.5


def test_pickles_as_its_directory_does(starter, fitted):
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(starter[0]), fitted.predict_proba(starter[0]))
    assert again.get_params() == fitted.get_params()
    unfitted = pickle.loads(pickle.dumps(small(C=2)))  # noqa: S301
    assert unfitted.C == 2
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)


def test_released_is_the_one_that_comes_with_this_version():
    assert Classifier.released().digest_ == Classifier.load(RELEASED).digest_
    assert Classifier.load(str(RELEASED)).classes_.tolist() == LABELS


def test_scoring_does_not_wait_for_scikit_learn():
    code = "import sys; from models import Classifier; Classifier.released().predict(['a post']); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=STARTER.parents[2], check=False).returncode == 0


def test_unfitted_says_what_is_missing():
    with pytest.raises(InputError, match="not known before fit"):
        Classifier().labels  # noqa: B018
