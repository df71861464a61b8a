"""Labelled posts in the forms that people have: spellings of labels, all kinds of columns, and the notes about them."""

import csv
import json
import math
import re
import shlex
import zipfile

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import Label, LabelSet
from models.errors import InputError
from pipeline.config import Columns, Data
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.corpora.labels_cell import LabelCells, flag_of

NAMES = ["workplace_harassment", "street_harassment", "assault", "solidarity_support"]
LABELS = LabelSet(name="four", labels=[Label(name=name, definition=name) for name in NAMES], auxiliary=["other"], ignored=["spam"])
WHOLE = LabelCells(LABELS)
GIVEN = [["assault"], [], ["street_harassment", "assault"], ["solidarity_support"], ["workplace_harassment"]]
TEXTS = [f"post number {number} says something" for number in range(len(GIVEN))]


def load(source, labels=LABELS, columns=None, posts=None):
    return load_corpus(Data(sources=[str(source)], columns=columns or Columns()), labels, seed=0, cut=False, posts=posts)


def labels_of(corpus):
    return [sorted(labels) for labels in corpus.splits["all"]["labels"]]


def with_options_of(message, source):
    """Load a source with the options that an error message suggests."""
    settings = re.findall(r"--set ('[^']+'|\S+?)(?=[\s;|)]|$)", message)
    config = load_config([], [shlex.split(setting)[0] for setting in settings], [str(source)], labels=LABELS)
    return load(source, config.labels, config.data.columns)


def refusal(source, **options):
    with pytest.raises(InputError) as caught:
        load(source, **options)
    return str(caught.value)


@pytest.fixture
def table(tmp_path):
    """``table(["id", "text"], rows)`` writes a CSV file."""

    def write(header, rows, name="posts.csv"):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / name

    return write


def workbook(path, rows):
    """Write the smallest file that is read as an Excel workbook."""
    lines = ("<row>" + "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in row) + "</row>" for row in rows)
    relation = '<Relationships><Relationship Id="a" Type="{}" Target="{}"/></Relationships>'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "_rels/.rels": relation.format(f"{office}/officeDocument", "xl/workbook.xml"),
        "xl/_rels/workbook.xml.rels": relation.format(f"{office}/worksheet", "worksheets/s.xml"),
        "xl/workbook.xml": f'<workbook xmlns:r="{office}"><sheets><sheet name="s" sheetId="1" r:id="a"/></sheets></workbook>',
        "xl/worksheets/s.xml": f"<worksheet><sheetData>{''.join(lines)}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


EXPECTED = [sorted(labels) for labels in GIVEN]
TITLES = {name: name.replace("_", " ").title() for name in [*NAMES, "other", "spam"]}
SPELLINGS = {
    **{f"joined by {joint!r}": joint.join for joint in (";", "; ", "|", ",", ", ", " / ", "+", " & ", "#", "\n", " ")},
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "JSON": json.dumps,
    "Python": lambda names: str(list(names)),
    "Python tuple": lambda names: str(tuple(names)),
    "NumPy": lambda names: str(np.array(names, object)),
    "NumPy strings": lambda names: str([np.str_(name) for name in names]),
    "set": lambda names: str(set(names)),
    "no quotes": lambda names: f"[{', '.join(names)}]",
    "title case": lambda names: "; ".join(TITLES[name] for name in names),
    "camel case": lambda names: [TITLES[name].replace(" ", "") for name in names],
    "hyphens": lambda names: [name.replace("_", "-") for name in names],
    "capitals": lambda names: ",".join(names).upper(),
    "choices": lambda names: json.dumps({"choices": [TITLES[name] for name in names]}),
    "flags": lambda names: {name: float(name in names) for name in [*NAMES, "other", "spam"]},
}


class TestSpellings:
    @pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
    @given(names=st.lists(st.sampled_from([*NAMES, "other", "spam"]), unique=True))
    @settings(max_examples=15)
    def test_any_labels_come_back_in_any_spelling(self, spelling, names):
        found, unknown = WHOLE.read(spelling(names))
        assert sorted(found) == sorted(names)
        assert unknown == []

    @pytest.mark.parametrize("cell", [None, math.nan, "", " ", "nan", "null", "<NA>", "None", "none", "-", "[]", "{}", [], "['nan']"])
    def test_nothing(self, cell):
        assert WHOLE.read(cell) == ([], [])

    @pytest.mark.parametrize(
        ("cell", "found", "unknown"),
        [
            ("asault", [], ["asault"]),
            ("assault; asault", ["assault"], ["asault"]),
            ("assault, none", ["assault"], ["none"]),
            ("she said, and he laughed", [], ["she said, and he laughed"]),  # no piece of a post is shown
            (["assault", 3], ["assault"], [3]),
            ([[0, 4, "assault"]], ["assault"], [0, 4]),
            ("[1, 0, 0, 1]", [], [1, 0, 0, 1]),
            ({"assault": 0.7}, [], [{"assault": 0.7}]),
        ],
    )
    def test_what_is_no_label(self, cell, found, unknown):
        assert WHOLE.read(cell) == (found, unknown)

    def test_a_name_with_a_separator_is_whole(self):
        cells = LabelCells(LABELS.model_copy(update={"ignored": ["Other, unclear", "a/b"]}))
        assert cells.read("Other, unclear") == (["Other, unclear"], [])
        assert cells.read(["a/b", "assault"]) == (["a/b", "assault"], [])

    def test_names_that_differ_in_case_alone_stay_apart(self):
        cells = LabelCells(LABELS.model_copy(update={"auxiliary": ["Spam"]}))
        assert cells.read("Spam;spam") == (["Spam", "spam"], [])
        assert cells.read("SPAM") == ([], ["SPAM"])

    def test_flags(self):
        yes = [1, 1.0, True, np.True_, "1", "1.0", "yes", "Yes", "Y", "True", "TRUE", "x", "X", " 1 ", "✓"]
        no = [0, 0.0, False, "0", "0.0", "no", "N", "False", "", None, math.nan, "NaN", "-"]
        assert {flag_of(cell) for cell in yes} == {True}
        assert {flag_of(cell) for cell in no} == {False}

    @pytest.mark.parametrize("cell", [0.7, 2, "2", "maybe", ["x"], "she said"])
    def test_what_is_no_flag(self, cell):
        assert flag_of(cell) is None


class TestColumns:
    @pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
    def test_a_cell_of_a_file(self, table, spelling):
        path = table(["id", "text", "labels"], [(number, TEXTS[number], spelling(names)) for number, names in enumerate(GIVEN)])
        assert labels_of(load(path)) == EXPECTED

    @pytest.mark.parametrize(
        ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("yes", "no"), ("True", "False"), ("x", ""), ("1", ""), ("1.0", "nan"), ("Y", "N")]
    )
    @pytest.mark.parametrize("header", [NAMES, [TITLES[name] for name in NAMES], [f"label_{name}" for name in NAMES]])
    def test_one_column_a_label(self, table, yes, no, header):
        rows = [(number, TEXTS[number], *(yes if name in names else no for name in NAMES)) for number, names in enumerate(GIVEN)]
        corpus = load(table(["id", "text", *header], rows))
        assert labels_of(corpus) == EXPECTED
        assert "4 columns taken as labels" in corpus.notes[0]

    def test_blank_flags_are_counted(self, table):
        path = table(["id", "text", *NAMES], [("1", "one", "1.0", "0.0", "", "0.0"), ("2", "two", "0.0", "0.0", "1.0", "")])
        assert '2 blank or null cells taken to mean "no"' in load(path).notes[0]

    def test_two_columns_for_one_label_are_refused_unless_one_has_its_very_name(self, table, refused):
        others = ["street_harassment", "workplace_harassment", "solidarity_support"]
        (labels,) = labels_of(load(table(["id", "text", "has_assault", "assault", *others], [("7", "one", 0, 1, 0, 0, 0)])))
        assert labels == ["assault"]
        with refused("the columns 'has_assault' and 'is_assault' are both named after assault"):
            load(table(["id", "text", "has_assault", "is_assault", *others], [("7", "one", 0, 1, 0, 0, 0)]))

    def test_a_label_without_a_column_is_not_forgotten(self, table):
        path = table(["id", "text", *NAMES[:3]], [("1", "he did that to me in the office", 1, 0, 0)])
        message = refusal(path)
        assert "no column 'labels'" in message
        assert "a label without a column is then never given" in message
        assert labels_of(with_options_of(message, path)) == [["workplace_harassment"]]

    @pytest.mark.parametrize("null", [None, "", math.nan])
    @pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "frame", "dataset"])
    def test_null_labels_are_alike_in_every_format(self, tmp_path, form, null):
        frame = pd.DataFrame({"id": ["1", "2"], "text": ["one", "two"], "labels": ["assault", null]})
        path = tmp_path / f"posts.{form}"
        if form == "csv":
            frame.to_csv(path, index=False)
        elif form == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.astype(object).to_dict("records")))
        elif form == "parquet":
            frame.to_parquet(path)
        posts = {"frame": frame, "dataset": datasets.Dataset.from_pandas(frame)}.get(form)
        corpus = load(path, posts=posts)
        assert labels_of(corpus) == [["assault"], []]
        assert corpus.notes == [f"{path if posts is None else 'posts'}: 1 blank or null cell taken to mean no labels"]

    def test_labels_that_json_leaves_out_are_null(self, jsonl):
        corpus = load(jsonl("posts.jsonl", [{"id": "1", "text": "one", "labels": ["assault"]}, {"id": "2", "text": "two"}]))
        assert labels_of(corpus) == [["assault"], []]
        assert "1 blank or null cell taken to mean no labels" in corpus.notes[0]

    def test_null_among_lists(self, jsonl):
        rows = [{"id": "1", "text": "one", "labels": ["assault"]}, {"id": "2", "text": "two", "labels": None}]
        frame = pd.DataFrame({**pd.DataFrame(rows), "labels": [["assault"], math.nan]})
        assert labels_of(load(jsonl("posts.jsonl", rows))) == labels_of(load("none", posts=frame)) == [["assault"], []]

    @pytest.mark.parametrize("index", ["", "Unnamed: 0"])
    def test_index_of_pandas_is_no_column(self, table, index):
        path = table([index, "text", "label"], [(0, "one", "assault"), (1, "two", "")])
        corpus = load(path)
        assert corpus.splits["all"]["id"] == ["posts-1", "posts-2"]
        assert "'label' taken as the labels" in corpus.notes[0]
        assert "row numbers taken as ids" in corpus.notes[0]

    def test_columns_in_other_cases_are_said(self, table):
        corpus = load(table(["ID", "Text", "Labels", "Author", "createdAt"], [("7", "one", "assault", "ann", "2017-10-16")]))
        (record,) = corpus.splits["all"]
        assert (record["id"], record["author"], record["created_at"]) == ("7", "ann", "2017-10-16")
        assert "'Text' taken as the text" in corpus.notes[0]

    def test_a_slice_by_a_column_in_another_case_shows_nobody(self, table, refused):
        path = table(["id", "text", "labels", "Author"], [("7", "one", "assault", "ann")])
        with refused(f"{path}: the column 'Author' would reveal", "evaluation.slices"):
            load_corpus(Data(sources=[str(path)]), LABELS, seed=0, cut=False, further=["Author"])

    def test_another_column_of_ids_is_named(self, table):
        (note,) = load(table(["tweet_id", "text", "labels"], [("7", "one", "assault")])).notes
        assert "row numbers taken as ids (or take another column: --set data.columns.id=tweet_id)" in note

    @pytest.mark.parametrize("name", ["user", "Screen Name", "handle"])
    def test_another_column_of_authors_is_named(self, table, refused, name):
        wanted = f"--set {shlex.quote(f'data.columns.author={name}')}"
        (note,) = load(table(["id", "text", "labels", name], [("7", "one", "assault", "a")])).notes
        assert wanted in note
        with refused("no column 'text'", "--set data.columns.text=tweet", wanted):
            load(table(["id", "tweet", "labels", name], [("7", "one two three", "assault", "a")]))

    def test_a_workbook(self, tmp_path):
        pytest.importorskip("python_calamine")
        path = tmp_path / "posts.xlsx"
        workbook(path, [["text", *TITLES.values()], ["one", "", "x"], ["two"]])
        assert labels_of(load(path)) == [["street_harassment"], []]

    def test_how_a_file_was_read_is_said(self, tmp_path):
        path = tmp_path / "posts.csv"
        path.write_bytes("Text;Labels\nLe café;assault,street_harassment\nnon;\n".encode("cp1252"))
        corpus = load(path)
        assert labels_of(corpus) == [["assault", "street_harassment"], []]
        (note,) = corpus.notes
        assert all(
            part in note for part in ("separated by ';'", "Windows-1252", "'Labels' taken as the labels", "row numbers taken as ids")
        )

    def test_no_ids_in_split_files(self, jsonl, tmp_path):
        for name in ("train", "test"):
            jsonl(f"{name}.jsonl", [{"text": f"{name} {number}", "labels": []} for number in range(2)])
        corpus = load(tmp_path)
        assert {name: rows["id"] for name, rows in corpus.splits.items()} == {"train": ["train-1", "train-2"], "test": ["test-1", "test-2"]}

    def test_numbers_of_class_labels_become_names(self, tmp_path):
        one = datasets.ClassLabel(names=["none", *NAMES])
        many = datasets.Dataset.from_dict(
            {"text": TEXTS, "labels": [[NAMES.index(name) for name in names] for names in GIVEN]},
            datasets.Features({"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=NAMES))}),
        )
        single = datasets.Dataset.from_dict(
            {"text": TEXTS[:3], "label": [3, 0, None]}, datasets.Features({"text": datasets.Value("string"), "label": one})
        )
        many.save_to_disk(str(tmp_path / "many"))
        single.to_parquet(str(tmp_path / "single.parquet"))
        assert labels_of(load(tmp_path / "many")) == labels_of(load("none", posts=many)) == EXPECTED
        assert labels_of(load(tmp_path / "single.parquet")) == [["assault"], [], []]
        datasets.DatasetDict(train=many, test=many.select([0])).save_to_disk(str(tmp_path / "splits"))
        assert load(tmp_path / "splits").splits["test"]["labels"] == [["assault"]]

    def test_flags_may_be_class_labels(self):
        features = {"text": datasets.Value("string"), **dict.fromkeys(NAMES, datasets.ClassLabel(names=["no", "yes"]))}
        rows = {"text": TEXTS} | {name: [int(name in names) for names in GIVEN] for name in NAMES}
        assert labels_of(load("none", posts=datasets.Dataset.from_dict(rows, datasets.Features(features)))) == EXPECTED

    def test_categories_of_pandas(self):
        frame = pd.DataFrame({"text": ["one", "two"], "labels": pd.Categorical(["assault", None])})
        assert labels_of(load("none", posts=frame)) == [["assault"], []]


class TestRefusals:
    """Each error lists all problems, and the file can be read with the options that it suggests."""

    @pytest.mark.parametrize(
        ("header", "told"),
        [
            (["nr", "tweet", "label"], "no column 'text'; found 'nr', 'tweet', 'label'; name the columns: --set data.columns.id=nr"),
            (["", "tweet", "label"], "no column 'text'; found '', 'tweet', 'label'; name the columns: --set data.columns.text=tweet"),
            (["id", "tweet text", "tags"], "--set 'data.columns.text=tweet text' --set data.columns.labels=tags"),
            (["id", "text", "no"], """--set 'data.columns.labels="no"'"""),
        ],
    )
    def test_columns_with_other_names(self, table, header, told):
        path = table(header, [(number, TEXTS[number], ";".join(names)) for number, names in enumerate(GIVEN)])
        message = refusal(path)
        assert told in message
        assert labels_of(with_options_of(message, path)) == EXPECTED

    def test_all_problems_at_once(self, table, refused):
        rows = [("1", "one", "asault"), ("1", "two", ""), ("2", "", ""), ("3", "three", "spam!"), ("4", " ", ""), ("5", "five", "asault")]
        path = table(["id", "text", "labels"], rows)
        with path.open("a") as file:
            file.write("6,six\n")
        with refused(
            f"{path}, row 1 and 2 more: column 'labels' holds 'asault', a text of 5 characters, which are not labels",
            "| row 2: id '1' is already used",
            "--set data.columns.id=null",
            "| row 3 and 1 more: the text is empty",
            "| row 7: 2 cells where the header has 3",
        ):
            load(path)

    def test_unknown_labels_can_be_left_out_as_told(self, table):
        path = table(["id", "text", "labels"], [("1", "one", "assault;asault"), ("2", "two", "Spam"), ("3", "three", "assaulted")])
        message = refusal(path)
        assert "row 1 and 1 more: column 'labels' holds 'asault', 'assaulted', which are not labels; did you mean" in message
        assert labels_of(with_options_of(message, path)) == [["assault"], [], []]

    @pytest.mark.parametrize(
        "value",
        [
            "Sexist Joke",
            "anna",
            "@anna",
            "me too",
            "0170-5551234",
            "assault;anna",
            "assault, by anna",
            '["anna"]',
            '{"by": "anna"}',
            "x;anna",
        ],
    )
    def test_what_may_be_a_text_is_described_however_short_or_frequent(self, table, value):
        path = table(["id", "text", "labels"], [(number, f"post {number}", value) for number in range(6)])
        message = refusal(path)
        assert "which is not a label (it is not shown, because it may be a post)" in message
        assert not re.search("anna|joke|me too|5551234", message, re.IGNORECASE)
        assert "labels.ignored=[" in message or "numbers do not say" in message

    def test_texts_that_are_no_labels_are_counted_if_there_are_several(self, table):
        values = ("Sexual Assault", "Street", "Sexual Assault", "asault")
        path = table(["id", "text", "labels"], [(number, f"post {number}", value) for number, value in enumerate(values)])
        found = "'asault', 2 different texts of 6 to 14 characters, which are not labels (texts that may be posts are not shown)"
        remedy = "to leave a label out on purpose, with its name in place of NAME: --set 'labels.ignored=[spam, NAME]'"
        assert f"row 1 and 3 more: column 'labels' holds {found};" in refusal(path)
        assert remedy in refusal(path)

    def test_only_what_is_lacking_is_asked_for(self, tmp_path):
        (tmp_path / "ordinary.csv").write_text("text\n" + "a quiet day\n" * 3)
        assert refusal(tmp_path / "ordinary.csv").endswith(
            "no column 'labels'; found 'text'; name the columns: --set data.columns.labels=LABELS_COLUMN"
        )

    def test_a_header_is_asked_for_only_if_a_name_is_not_shown(self, table):
        path = table(["id", "not shown", "labels"], [(number, "quiet", "assault") for number in range(3)])
        assert "found 'id', 'not shown', 'labels'; name" in refusal(path)

    def test_a_column_that_may_name_authors_is_asked_for(self, table):
        path = table(["Case", "Message", "Category"], [(number, f"post number {number}", "assault") for number in range(3)])
        options = "--set data.columns.text=Message --set data.columns.labels=Category"
        hint = "(if another column names authors, add --set data.columns.author=AUTHOR_COLUMN)"
        assert refusal(path).endswith(f"name the columns: {options} {hint}")

    @pytest.mark.parametrize(
        ("header", "cells"),
        [
            (["Message", *NAMES], ("a quiet day at home", "yes", "no", "no", "no")),  # no column is left
            (["a quiet day at home"], ("and another one",)),  # there is no header
        ],
    )
    def test_no_author_is_asked_for_if_nobody_knows_what_else_there_is(self, table, header, cells):
        assert "AUTHOR_COLUMN" not in refusal(table(header, [cells] * 3))

    def test_what_is_in_a_column_for_one_label_is_described(self, table):
        path = table(["id", "text", "assault"], [("1", "one", "yes"), ("2", "two", "anna")])
        message = refusal(path, columns=Columns(labels={"assault": "assault"}))
        assert "row 2: column 'assault' holds a text of 4 characters, but cells must be 1 or 0" in message
        assert "anna" not in message

    def test_texts_in_the_labels_column_are_not_shown(self, table):
        rows = [(number, "assault", f"my boss did that, number {number}") for number in range(9)]
        path = table(["id", "kind", "text"], rows)
        message = refusal(path, columns=Columns(labels="text"))
        assert "boss" not in message
        assert "--set data.columns.labels=kind" in message

    @pytest.mark.parametrize("flags", [("1", "0"), ("yes", "no"), ("True", "False")])
    def test_a_column_that_answers_for_one_label(self, table, flags):
        path = table(["id", "text", "labels"], [(number, f"post {number}", flag) for number, flag in enumerate(flags)])
        message = refusal(path)
        assert "if the column is about one label only, say which one" in message
        assert labels_of(with_options_of(message, path)) == [["workplace_harassment"], []]

    @pytest.mark.parametrize("labels", [[[1, 0, 0, 0], [0, 0, 1, 1]], [2, 0]])
    def test_numbers_that_no_option_reads(self, jsonl, labels):
        message = refusal(jsonl("posts.jsonl", [{"id": k, "text": f"post {k}", "labels": each} for k, each in enumerate(labels)]))
        assert "numbers do not say which label they mean" in message
        assert "data.columns" not in message

    def test_no_option_drops_one_of_two_columns_with_labels(self, table):
        path = table(["id", "text", "first", "second"], [("1", "one", "assault", ""), ("2", "two", "", "assault")])
        assert "--set data.columns.labels=LABELS_COLUMN" in refusal(path)

    def test_a_file_without_a_header_shows_no_post(self, table):
        path = table(["1", "my boss did that to me in the office", "assault"], [("2", "he whistled at me again", "street_harassment")])
        message = refusal(path)
        assert "boss" not in message
        assert "another name that is not shown (is there a header?)" in message
