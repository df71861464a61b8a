"""DataFrames and data sets can be used instead of files for training, evaluating and scoring."""

import shutil
from copy import deepcopy
from pathlib import Path

import datasets
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.exceptions import NotFittedError

from models import Classifier
from models.config import LabelSet
from pipeline.config import Columns, Data
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluating import evaluate
from pipeline.scoring import Options, score_files
from pipeline.scoring.tables import score_table
from pipeline.training import train

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

STARTER = load_config().data
LABELS = load_config().labels
POSTS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "text": ["my boss grabbed me at work", "sunny today", "i believe you"],
        "labels": [["workplace_harassment", "assault"], [], ["solidarity_support"]],
        "author": ["x", "y", None],
    },
    index=[10, 20, 30],
)


def corpus_of(posts, labels: LabelSet = LABELS, **data):
    return load_corpus(Data(sources=["no such file"], **data), labels, seed=0, cut=False, posts=posts)


@pytest.mark.parametrize("form", [lambda frame: frame, lambda frame: datasets.Dataset.from_pandas(frame, preserve_index=False)])
def test_corpus_of_a_table_is_that_of_its_file(form, tmp_path):
    POSTS.to_json(tmp_path / "posts.jsonl", orient="records", lines=True)
    of_file = load_corpus(Data(sources=[str(tmp_path / "posts.jsonl")]), LABELS, seed=0, cut=False)
    assert corpus_of(form(POSTS)).sha256 == of_file.sha256
    assert corpus_of(form(POSTS)).splits["all"]["author"] == ["x", "y", None]


def test_tables_of_a_mapping_are_splits():
    corpus = corpus_of({"train": POSTS.iloc[:2], "valid": POSTS.iloc[2:], "notes": POSTS})
    assert {name: rows["id"] for name, rows in corpus.splits.items()} == {"train": ["a", "b"], "validation": ["c"]}
    assert corpus.passed_over == ["posts[notes]"]


def test_columns_of_a_table_can_have_other_names():
    named = POSTS.rename(columns={"id": "tweet", "text": "body"}).drop(columns="labels").assign(harm=np.array([1, 0, 0]))
    corpus = corpus_of(named, columns=Columns(id="tweet", text="body", labels={"assault": "harm"}))
    assert corpus.splits["all"]["labels"] == [["assault"], [], []]


def test_a_missing_cell_among_joined_names_means_no_label(tmp_path):
    (tmp_path / "posts.csv").write_text("id,text,labels\n1,my boss grabbed me,workplace_harassment;assault\n2,sunny today,\n")
    corpus = corpus_of(pd.read_csv(tmp_path / "posts.csv"))
    assert corpus.splits["all"]["labels"] == [["workplace_harassment", "assault"], []]


@pytest.mark.parametrize(
    ("posts", "parts"),
    [
        (POSTS.drop(columns="text"), ("posts", "no column 'text'", "data.columns")),
        (POSTS.assign(text=["x", None, "y"]), ("posts, row 2", "NoneType")),
        (POSTS.assign(text=["x", 3, "y"]), ("posts", "several types")),
        (POSTS.assign(text=[1j, 2j, 3j]), ("posts", "Arrow cannot hold")),
        (POSTS.assign(id=[2**70, 1, 2]), ("posts", "Arrow cannot hold")),
        (pd.concat([POSTS, POSTS[["text"]]], axis=1), ("posts", "'text'", "rename")),
        (POSTS.assign(labels=["assault", "assault; none", ""]), ("posts, row 2", "holds a text of 4 characters, which is not a label")),
        (POSTS.assign(labels=[["assault"], ["asault"], []]), ("posts, row 2", "did you mean 'assault'?")),
        (POSTS.iloc[:0], ("posts", "has no rows")),
        ({"train": [1]}, ("posts['train']", "DataFrame", "list")),
        ({"notes": POSTS}, ("no split is named train",)),
    ],
)
def test_tables_that_cannot_be_used(posts, parts, refused):
    with refused(*parts):
        corpus_of(posts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_store):
    """Models trained from a file and from a table of the same posts, and their evaluations on tables."""
    folder = tmp_path_factory.mktemp("tables")
    rows = pd.concat([pd.read_json(path, lines=True, dtype=False) for path in sorted(Path(STARTER.sources[0]).glob("*.jsonl"))])
    rows = rows[[column for column in ("id", "text", "labels", "author") if column in rows]].iloc[::4].reset_index(drop=True)
    rows.to_json(folder / "posts.jsonl", orient="records", lines=True)
    quick = [
        "calibration.folds=3",
        "features.char_ngrams=null",
        "evaluation.behaviour=null",
        "evaluation.swaps=null",
        f"tracking.uri=sqlite:///{shutil.copy(empty_store, folder)}",
    ]
    of_table = load_config([], quick, [])
    of_file = load_config([], quick, [str(folder / "posts.jsonl")])
    results = train(of_file, folder / "file"), train(of_table, folder / "table", posts=rows)
    evaluation = evaluate(results[1].model, of_table, folder / "evaluation", posts=datasets.Dataset.from_pandas(rows))
    yield folder, results, evaluation
    mlflow.set_tracking_uri("")


@pytest.mark.slow
def test_training_on_a_table_is_training_on_its_file(trained):
    folder, (of_file, of_table), _ = trained
    assert of_table.corpus.sha256 == of_file.corpus.sha256
    assert of_table.model.digest_ == of_file.model.digest_
    run = mlflow.get_run(of_table.run_id)
    assert run.data.params["data.sources"] == "['posts in memory']"
    (logged,) = run.inputs.dataset_inputs
    assert str(folder) not in logged.dataset.source


@pytest.mark.slow
def test_evaluation_of_a_table_says_so(trained):
    folder, _, results = trained
    assert results.posts == pq.read_table(folder / "evaluation" / "predictions.parquet").num_rows
    assert "posts in memory" in (folder / "evaluation" / "report.html").read_text("utf-8")


MIXED = pd.DataFrame(
    {
        "id": ["a", 2, None, "d", "e", 1.5],
        "text": ["my boss grabbed me at work", "i believe you", "sunny", None, "  ", "sunny"],
        "place": ["x", None, "z", "u", "v", "w"],
    }
)


@pytest.fixture(scope="module")
def released():
    return Classifier.released()


def test_scores_of_a_table_are_those_of_its_file(released, tmp_path):
    good = MIXED.iloc[:2]
    good.to_json(tmp_path / "posts.jsonl", orient="records", lines=True)
    options = Options(keep=("place",), abstain=(0.1, 0.9), explain=True, thresholds={"assault": 0.9})
    model = Path("models/released")
    score_files([tmp_path / "posts.jsonl"], model, tmp_path / "out", options)
    rows = pq.read_table(next((tmp_path / "out").glob("part-*"))).to_pylist()
    table = score_table(good, released, options)
    assert list(table.columns) == [*rows[0], "error"]
    for row, scored in zip(rows, table.to_dict("records"), strict=True):
        assert scored.pop("error") is None
        assert scored == row


@pytest.mark.parametrize(
    "form", [lambda frame: frame, lambda frame: datasets.Dataset.from_dict({name: [*map(str, frame[name])] for name in frame})]
)
def test_scores_come_in_the_order_of_the_rows(form, released):
    posts = pd.DataFrame({"id": range(5), "text": ["i believe you", "sunny", "i believe you", "my boss grabbed me", "sunny"]})
    table = score_table(form(posts), released)
    assert table["id"].tolist() == ["0", "1", "2", "3", "4"]
    np.testing.assert_array_equal(
        table[[f"prob_{label}" for label in released.labels]], released.predict_proba([str(text) for text in posts["text"]])
    )


def test_posts_that_cannot_be_scored_keep_their_row_and_the_table_its_index(released):
    table = score_table(MIXED.set_axis([*"uvwxyz"]), released)
    assert list(table.index) == [*"uvwxyz"]
    assert table["id"].tolist() == ["a", "2", None, "d", "e", "1.5"]
    unnamed = "id is missing, or is neither a string nor an integer"
    assert table["error"].tolist() == [None, None, unnamed, "text is null", "text is empty", unnamed]
    assert table["prob_assault"].isna().tolist() == [False, False, True, True, True, True]
    assert table["labels"].tolist()[2:] == [None] * 4


def test_posts_that_cannot_be_scored_keep_what_is_to_be_kept(released):
    posts = MIXED.assign(place=["x", 1, np.nan, ["u"], pd.Timestamp("2017-10-15"), "w"])
    table = score_table(posts, released, Options(keep=("place",)))
    assert table["place"].tolist() == ["x", "1", None, '["u"]', "2017-10-15T00:00:00", "w"]


def test_long_tables_are_scored_in_parts(released, monkeypatch):
    whole = score_table(MIXED, released)
    monkeypatch.setattr("pipeline.scoring.posts.BATCH_POSTS", 2)
    pd.testing.assert_frame_equal(score_table(MIXED, released), whole)


def test_a_table_of_rejects_alone_has_all_columns(released):
    table = score_table(MIXED.iloc[2:], released, Options(abstain=(0.2, 0.8)))
    assert len(table) == 4
    assert table["review"].tolist() == [None] * 4


@pytest.mark.parametrize(
    ("table", "options", "parts"),
    [
        (POSTS.drop(columns="id"), Options(), ("no column 'id'", "text, labels, author", "id_column=NAME", "id_column=None")),
        (POSTS.rename(columns={"text": "tweet"}), Options(), ("no column 'text'", "in Options(text_column=NAME)")),
        (POSTS, Options(keep=("place",)), ("no column 'place'",)),
        (pd.concat([POSTS, POSTS[["text"]]], axis=1), Options(), ("several columns 'text'",)),
        (POSTS, Options(thresholds={"other": 0.5}), ("'other'",)),
        (POSTS.assign(error="boom"), Options(keep=("error",)), ("'error'", "rename")),
        (POSTS, Options(keep=("id",)), ("'id'", "rename")),
    ],
)
def test_tables_that_cannot_be_scored(table, options, parts, released, refused):
    with refused(*parts):
        score_table(table, released, options)


def test_a_folder_is_not_a_model(tmp_path):
    for call in (
        lambda: score_table(POSTS, "models/released"),
        lambda: evaluate("models/released", load_config(), tmp_path / "out", posts=POSTS),
        lambda: evaluate(Classifier.released(), load_config(), tmp_path / "out", posts=POSTS, against="models/released"),
    ):
        with pytest.raises(TypeError, match=r"must be a Classifier, as Classifier\.load.* got str"):
            call()


@pytest.mark.parametrize("config", ["configs/default.yaml", {"model": {"C": 1}}, POSTS])
def test_what_is_no_config_is_told_how_to_make_one(config, tmp_path):
    for call in (
        lambda: train(config, tmp_path / "out", posts=POSTS),
        lambda: evaluate(Classifier.released(), config, tmp_path / "out", posts=POSTS),
    ):
        with pytest.raises(TypeError, match=rf"config must be a Config, as load_config.* but got {type(config).__name__}"):
            call()


@pytest.mark.parametrize(
    "posts", [POSTS["text"], POSTS["text"].tolist(), POSTS.to_dict("records"), POSTS.to_dict("list"), "posts.jsonl", None, {"test": POSTS}]
)
def test_what_is_no_table_is_not_scored(posts, released):
    with pytest.raises(
        TypeError, match=f"posts must be a DataFrame or a datasets.Dataset with a single split, but got {type(posts).__name__}"
    ):
        score_table(posts, released)


def test_a_model_that_was_not_fitted_scores_no_table():
    with pytest.raises(NotFittedError):
        score_table(POSTS, Classifier())


def test_options_are_options_and_explain_is_no_number(released, refused):
    with pytest.raises(TypeError, match="options must be Options"):
        score_table(POSTS, released, {"explain": True})
    with refused("explain must be True or False, but got 3"):
        Options(explain=3)


def test_rows_of_a_table_without_ids_are_numbered(model):
    posts = POSTS.assign(text=["zaxa", None, "wiku"])
    assert score_table(posts, model, Options(id_column=None))["id"].tolist() == ["1", "2", "3"]


def test_a_table_is_decided_at_the_operating_point_asked_for(model, posts, refused):
    texts = posts.texts[:40]
    frame = pd.DataFrame({"id": range(40), "text": texts})
    for point in ("cautious", "sensitive"):
        found = score_table(frame, model, Options(operating_point=point))
        assert [", ".join(labels) for labels in found["labels"]] == model.label(texts, point)["labels"].tolist()
    old = deepcopy(model)
    old.measured_points_ = {}  # as in a model of an earlier release
    with refused("operating point 'cautious': the model has only balanced"):
        score_table(frame, old, Options(operating_point="cautious"))
