"""The classifier works with scikit-learn's tools."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import training
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
from models.explanation import explain
from models.storage import RELEASED
from models.targets import author_numbers, label_matrix

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
        ({"folds": 200}, "lower folds (calibration.folds in a config)"),
        ({"calibration": "none"}, "calibration: got 'none'"),
        ({"label_set": "assault"}, 'label_set must be a list of names, but got one string; put it in a list: ["assault"]'),
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


@pytest.mark.parametrize("label_set", [None, LABELS])
def test_before_fit_scikit_learn_s_error_is_raised(tmp_path, label_set):
    model = small(label_set=label_set)
    for method in (model.predict, model.predict_proba, model.label):
        with pytest.raises(NotFittedError):
            method(["a post"])
    with pytest.raises(NotFittedError):
        model.score(["a post"], [["assault"]])
    with pytest.raises(NotFittedError):
        model.save(tmp_path / "model")
    with pytest.raises(NotFittedError):
        explain(model, ["a post"])
    assert not hasattr(model, "digest_")


def test_values_of_numpy_are_taken_and_shown():
    model = Classifier(np.array(LABELS), folds=np.int64(3), C=np.float64(0.5), char_ngrams=np.array([2, 3]))
    assert model.config == Classifier(LABELS, folds=3, C=0.5, char_ngrams=(2, 3)).config
    assert repr(model).startswith("Classifier(label_set=array(['workplace_harassment'")


def test_a_config_and_its_parameters_say_the_same():
    config = Classifier.released().config
    assert Classifier(**config.to_parameters()).config == config


def test_a_model_fitted_again_is_the_parameters_and_no_longer_the_released_one(starter):
    texts, _, names, groups = starter
    model = Classifier.released()
    released, asked = model.digest_, {"network": None, "label_set": None, "folds": 2, "char_ngrams": None, "ordinary": None, "C": 0.5}
    again = model.set_params(**asked).fit(texts, names, groups)
    assert again.digest_ != released
    assert not hasattr(again, "description_")
    assert again.config.model.C == 0.5
    before = again.digest_
    assert clone(again).fit(texts, names, groups).digest_ == before != again.set_params(C=5.0).fit(texts, names, groups).digest_


def test_a_parameter_changed_after_fit_tokens_counts_at_the_next_fit(model, posts):
    tokens = training(posts.tokens, posts.Y, posts.groups, posts.auxiliary)
    again = Classifier.from_config(model.config).fit_tokens(tokens).set_params(C=50.0)
    assert again.config == model.config
    assert again.fit_tokens(tokens).config.model.C == 50


def test_a_failed_fit_changes_nothing(starter, refused):
    texts, Y, _, groups = starter
    model = small().fit(texts, Y, groups)
    config, digest, probabilities = model.config, model.digest_, model.predict_proba(texts)
    with refused("label 'zero'"):
        model.set_params(label_set=["zero", "one"]).fit(texts, np.eye(2, dtype=int)[[0] * len(texts)])
    with pytest.raises(KeyboardInterrupt):
        model.set_params(label_set=["a", "b"]).fit(texts, Y[:, :2], groups, progress=stop_at_the_end)
    assert (model.config, model.digest_) == (config, digest)
    np.testing.assert_array_equal(model.predict_proba(texts), probabilities)


def stop_at_the_end(step: str) -> None:
    if step == "fitting on all train posts":
        raise KeyboardInterrupt


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


def test_the_table_keeps_the_index_of_a_series(fitted):
    assert fitted.label(pd.Series(["a post", "another"], index=[7, 9])).index.tolist() == [7, 9]


KINDS = ["frame", "sparse", "lists", "names", "wide frame", "series of names", "array of names", "numbered frame"]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_taken_in_every_form_that_people_have(starter, fitted, kind):
    texts, Y, names, groups = starter
    forms = {
        "frame": pd.DataFrame(Y, columns=LABELS),
        "sparse": sparse.csr_matrix(Y),
        "lists": Y.tolist(),
        "names": names,
        "series of names": pd.Series(names, index=range(7, 7 + len(names))),
        "array of names": pd.Series(names).to_numpy(),
        "numbered frame": pd.DataFrame(Y),
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
        ("one string", "got a single string"),
        (["fine", None], r"texts\[1\] must be a string, but got NoneType"),
        ([["nested"]], r"texts\[0\] .*list"),
        (pd.DataFrame({"text": ["fine", "good"]}), r"got a table; choose its column of texts, as in frame\['text'\]"),
        ({"text": ["fine", "good"]}, "got a table"),
        (b"bytes", "got bytes; decode them"),
        (None, "got NoneType; put the posts in a list"),
        (datasets.Dataset.from_dict({"text": ["fine", "good"]}), "got a table"),
        (np.array([["fine"], ["good"]]), "got ndarray with 2 dimensions; pass one column of strings"),
        (np.array("one string"), "got ndarray with 0 dimensions"),
        (sparse.csr_matrix(np.eye(2)), "got csr_matrix with 2 dimensions; .* not features, which the model computes itself"),
        (["fine", pd.NA], r"texts\[1\] must be a string, but got NAType; drop or fill missing texts"),
        ([3, "fine"], r"texts\[0\] must be a string, but got int; give each post one string"),
    ],
)
def test_what_is_no_sequence_of_strings_is_refused(fitted, texts, said):
    for method in (fitted.predict, fitted.predict_proba, fitted.label, lambda texts: explain(fitted, texts)):
        with pytest.raises(TypeError, match=said):
            method(texts)
    with pytest.raises(TypeError, match=said):
        small().fit(texts, [[0, 0, 0, 0]] * 2)


@pytest.mark.parametrize(
    ("Y", "said"),
    [
        (lambda Y: Y[:-1], "300 texts and 299 rows of Y"),
        (lambda Y: Y[:, 0], "its number of dimensions is 1"),
        (lambda Y: Y[:, :3], "one column per label, but got 3 columns; the labels are"),
        (lambda Y: Y * 2, "only 0 and 1, but column 'workplace_harassment' has 2 in row 0; replace missing values"),
        (lambda Y: Y * np.where(np.arange(len(Y)) == 7, np.nan, 1)[:, None], "column 'workplace_harassment' has nan in row 7"),
        (lambda Y: pd.DataFrame(Y, columns=LABELS, dtype="Int64").replace(0, pd.NA), "has NAType in row 0; replace missing values"),
        (lambda Y: pd.DataFrame(dict.fromkeys(LABELS, pd.Series([["assault"]] * len(Y)))), "has list in row 0; pass the column itself"),
        (lambda Y: None, "Y must hold the labels of every post, but got NoneType"),
        (lambda Y: pd.DataFrame(Y, columns=["a", "b", "c", "d"]), "Y has no column 'workplace_harassment'"),
        (lambda Y: [["asault"]] * len(Y), "Y contains the label 'asault'"),
        (lambda Y: ["assault"] * len(Y), "Y holds strings; give each post a list of names, as in [text.split(';') if text else []"),
        (lambda Y: pd.Series(["assault"] * len(Y)), "Y holds strings"),
        (lambda Y: [["assault"], None, *[[]] * (len(Y) - 2)], "Y[1] must be a list of names, but got None; for a post without labels"),
        (lambda Y: pd.Series([float("nan"), *[["assault"]] * (len(Y) - 1)]), "Y[0] must be a list of names, but got nan"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(starter, refused, Y, said):
    with refused(said):
        small().fit(starter[0], Y(starter[1]))


@pytest.mark.parametrize("Y", [[], np.empty((0, 4), int), pd.DataFrame(columns=LABELS)])
def test_no_posts_at_all_is_one_line(fitted, refused, Y):
    for method in (small().fit, fitted.score):
        with refused("there are no posts"):
            method([], Y)


def test_posts_without_any_label_can_be_scored_but_name_no_labels(starter, fitted, refused):
    texts = starter[0][:20]
    expected = fitted.score(texts, np.zeros((20, len(LABELS)), int))
    assert fitted.score(texts, [[]] * 20) == expected
    with refused("Y gives no post a label"):
        small(label_set=None).fit(texts, [[]] * 20)


def test_too_few_authors_named_is_one_line(starter, refused):
    with refused("one author per post, but got 299 authors for 300 posts"):
        small().fit(starter[0], starter[1], starter[3][:-1])


@pytest.mark.parametrize("Y", [[[0, 0, 0, 0]], [["assault"]]])
def test_score_needs_one_row_per_text(fitted, refused, Y):
    with refused("Y must have one row per text: got 2 texts and 1 rows of Y"):
        fitted.score(["a post", "another"], Y)


def test_columns_of_a_frame_keep_their_names_beside_numbers():
    names, Y = label_matrix(pd.DataFrame([[1, 0]], columns=["assault", 3]))
    assert (names, Y.tolist()) == (["assault", "3"], [[1, 0]])


@pytest.mark.parametrize("missing", [None, np.nan, float("nan"), pd.NA, pd.NaT])
def test_each_post_of_an_unknown_author_has_an_author_of_its_own(missing):
    assert author_numbers(["ann", missing, "ann", missing], 4).tolist() == [0, 1, 0, 2]
    assert author_numbers(pd.Series(["ann", missing, "ann", missing]), 4).tolist() == [0, 1, 0, 2]


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
    assert again.digest_ == fitted.digest_
    assert not hasattr(fitted, "description_")
    unfitted = pickle.loads(pickle.dumps(small(C=2)))  # noqa: S301
    assert unfitted.C == 2
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)


def test_a_pickled_model_is_the_loaded_one():
    model = Classifier.released()
    before = model.digest_, dict(model.description_)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert (again.digest_, again.description_) == (model.digest_, model.description_) == before


def test_thresholds_that_are_set_are_pickled_and_saved_under_another_digest(tmp_path):
    model = Classifier.released()
    before = model.digest_
    model.thresholds_ = [0.5, 0.6, 0.7, 0.8]
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert again.thresholds_.tolist() == model.thresholds_.tolist() == [0.5, 0.6, 0.7, 0.8]
    assert again.digest_ == model.digest_ == model.save(tmp_path / "model") != before
    model.thresholds_ = 0.5
    assert model.thresholds_.tolist() == [0.5] * 4


def test_thresholds_that_do_not_fit_or_would_change_unnoticed_are_refused(refused):
    model = Classifier.released()
    for wrong in ([0.5] * 3, [[0.5] * 4], [0.5, 0.5, 0.5, float("nan")], {"assault": 0.5}):
        with refused("thresholds_ must be one number for each of the 4 labels, or one for all"):
            model.thresholds_ = wrong
    with pytest.raises(ValueError, match="read-only"):
        model.thresholds_[0] = 0.1
    assert not hasattr(small(), "thresholds_")


def test_released_is_the_one_that_comes_with_this_version():
    assert Classifier.released().digest_ == Classifier.load(RELEASED).digest_
    assert Classifier.load(str(RELEASED)).classes_.tolist() == LABELS


def test_scoring_does_not_wait_for_scikit_learn():
    code = "import sys; from models import Classifier; Classifier.released().predict(['a post']); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=STARTER.parents[2], check=False).returncode == 0


def test_unfitted_says_what_is_missing():
    with pytest.raises(InputError, match="not known before fit"):
        Classifier().labels  # noqa: B018
