"""Exports of labelling tools are recognised by their shape, and yield the labels that most annotators gave."""

import datasets
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_labelled import LABELS, NAMES, TITLES, labels_of, load

from models.errors import InputError
from pipeline.config import Columns
from pipeline.corpora.exports import majority
from pipeline.corpora.reader import Reader
from pipeline.records import Row


def studio(number, *annotations, **task):
    """Return a task of Label Studio; each annotation is a list of choices, or None if it was cancelled."""

    def result(choices):
        return [{"from_name": "kind", "to_name": "text", "type": "choices", "value": {"choices": choices}}] if choices else []

    given = [{"id": n, "completed_by": n, "result": result(c), "was_cancelled": c is None} for n, c in enumerate(annotations)]
    return {"id": number, "data": {"text": f"task {number}", "author": "ann", "created_at": "2017-10-16"}, "annotations": given, **task}


def prodigy(number, answer="accept", annotator=None, **fields):
    return (
        {"text": f"task {number}", "_input_hash": number, "answer": answer} | ({"_annotator_id": annotator} if annotator else {}) | fields
    )


SHAPES = [
    studio(1, ["assault"]),
    {"id": 1, "text": "a", "labels": "assault", "annotator": 1, "annotation_id": 1, "lead_time": 1},
    prodigy(1, accept=["assault"], options=[{"id": "assault", "text": "Assault"}], _task_hash=1),
    prodigy(1, label="assault", _task_hash=1),
    {"id": "1", "fields": {"text": "a"}, "responses": {"kind": [{"value": ["assault"], "status": "submitted"}]}, "metadata": {}},
    {"id": "1", "text": "a", "kind.responses": ["assault"], "kind.responses.status": ["submitted"]},
    {"id": 1, "text": "a", "label": ["assault"], "Comments": []},
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.sampled_from(["assault", "accept", "text", "choices", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["value", "choices", "result", "id"]), inner, max_size=2),
    max_leaves=6,
)


def damaged(tree):
    """Return a strategy for rows like this one in which one value, at any depth, is replaced by anything."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    options = [ANYTHING, st.just(tree)]
    for key, value in inner:
        kept = dict(tree) if isinstance(tree, dict) else dict(enumerate(tree))
        changed = damaged(value).map(lambda new, key=key, kept=kept: kept | {key: new})
        options.append(changed if isinstance(tree, dict) else changed.map(lambda parts: list(parts.values())))
    return st.one_of(options)


class TestExports:
    @pytest.fixture
    def read(self, jsonl):
        """``read(rows)`` returns the labels of an export by text, and the notes about it."""

        def load_rows(*rows, columns=None):
            corpus = load(jsonl("export.jsonl", list(rows)), columns=columns)
            split = corpus.splits["all"]
            return dict(zip(split["text"], labels_of(corpus), strict=True)), " ".join(corpus.notes)

        return load_rows

    def test_label_studio(self, read):
        labels, told = read(
            studio(1, ["Assault", "Street Harassment"]),
            studio(2, []),
            studio(3, None),
            studio(4, predictions=[{"result": [{"type": "choices", "value": {"choices": ["assault"]}}]}], drafts=[{"result": []}]),
            studio(5, ["assault"], None),
        )
        assert labels == {"task 1": ["assault", "street_harassment"], "task 2": [], "task 5": ["assault"]}
        assert "an export from Label Studio (JSON): 3 posts, labels from 'kind'" in told
        assert "not taken as labels: 1 prediction, 1 draft, 2 cancelled annotations" in told
        assert "2 posts left out, because nobody gave an answer that counts" in told

    def test_fields_of_a_task_are_those_of_its_data(self, jsonl):
        (record,) = load(jsonl("tasks.jsonl", [studio(7, ["assault"], created_at="2024-01-01")])).splits["all"]
        assert record == {
            "id": "7",
            "text": "task 7",
            "labels": ["assault"],
            "author": "ann",
            "created_at": "2017-10-16",
            "source": None,
            "weight": 1,
        }

    def test_label_studio_with_several_questions(self, read):
        task = studio(1, ["assault"])
        task["annotations"][0]["result"].append({"from_name": "sure", "type": "choices", "value": {"choices": ["very"]}})
        task["annotations"][0]["result"].append({"from_name": "note", "type": "textarea", "value": {"text": ["why"]}})
        with pytest.raises(InputError, match=r"several questions.*--set data.columns.labels=kind or --set data.columns.labels=sure"):
            read(task)
        assert read(task, columns=Columns(labels="kind"))[0] == {"task 1": ["assault"]}

    def test_label_studio_with_spans_alone(self, read, refused):
        task = studio(1, ["assault"])
        task["annotations"][0]["result"][0] |= {"type": "labels", "value": {"start": 0, "end": 4, "labels": ["assault"]}}
        with refused("export.jsonl: is an export from Label Studio (JSON) in which no label is about a whole post"):
            read(task)

    def test_majority_of_annotators(self, read):
        labels, told = read(
            studio(1, ["assault"], ["assault", "street_harassment"], []),
            studio(2, ["assault"], ["solidarity_support"]),
            studio(3, ["assault"]),
        )
        assert labels == {"task 1": ["assault"], "task 2": [], "task 3": ["assault"]}
        assert (
            "several annotators on 2 posts: a label counts if more than half of the annotators asked gave it, which dropped 3 labels"
            in told
        )

    @given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=5))
    def test_majority(self, ballots):
        kept, dropped = majority([(names, None) for names in ballots])
        assert set(kept) == {name for name in NAMES if sum(name in names for names in ballots) > len(ballots) / 2}
        assert dropped == len(set().union(*ballots)) - len(kept)

    def test_label_studio_flat(self, read):
        meta = {"annotator": 1, "annotation_id": 1, "lead_time": 3.1, "created_at": "2024-01-01"}
        labels, told = read(
            {"id": 1, "text": "a", "kind": "Assault", **meta},
            {"id": 1, "text": "a", "kind": {"choices": ["Assault", "Street Harassment"]}, **meta, "annotator": 2},
            {"id": 2, "text": "b", **meta},  # JSON-MIN leaves out a question without an answer
            {"id": 3, "text": "c", "kind": None, **meta},
        )
        assert labels == {"a": ["assault"], "b": [], "c": []}
        assert "Label Studio (JSON-MIN or CSV): 3 posts, labels from 'kind'" in told
        assert "several annotators on 1 post" in told

    def test_date_of_an_annotation_is_not_that_of_the_post(self, jsonl):
        row = {"id": 1, "text": "a", "labels": "assault", "annotator": 1, "annotation_id": 1, "lead_time": 3.1, "created_at": "2024-01-01"}
        assert load(jsonl("min.jsonl", [row])).splits["all"]["created_at"] == [None]

    def test_doccano(self, read):
        labels, told = read(
            {"id": 1, "text": "a", "label": ["assault"], "Comments": []}, {"id": 2, "data": "b", "label": [], "Comments": ["unclear"]}
        )
        assert labels == {"a": ["assault"], "b": []}
        assert "an export from Doccano: 2 posts" in told

    def test_a_column_named_data_beside_texts_is_not_the_text(self, read):
        assert read({"id": 1, "text": "a", "data": "2017", "label": ["assault"]})[0] == {"a": ["assault"]}

    def test_prodigy_choices(self, read):
        options = [{"id": name, "text": name} for name in NAMES]
        labels, told = read(
            prodigy(1, accept=["assault"], options=options),
            prodigy(2, accept=[], options=options),
            prodigy(3, "reject", accept=["assault"], options=options),
            prodigy(4, "ignore", accept=[], options=options),
            prodigy(5, accept=["assault"], options=options, annotator="a"),
            prodigy(5, accept=["assault", "street_harassment"], options=options, annotator="b"),
            prodigy(5, "reject", accept=["street_harassment"], options=options, annotator="c"),
        )
        assert labels == {"task 1": ["assault"], "task 2": [], "task 5": ["assault"]}
        assert "not taken as labels: 2 rejected answers, 1 ignored answer" in told
        assert "2 posts left out" in told
        assert "row numbers taken as ids" in told

    def test_prodigy_one_label_a_row(self, read):
        labels, told = read(
            prodigy(1, label="assault", _task_hash=11),
            prodigy(1, label="street_harassment", _task_hash=12),
            prodigy(1, "reject", label="solidarity_support", _task_hash=13),
            prodigy(2, "reject", label="assault", _task_hash=21),
            prodigy(3, label="assault", _task_hash=31, annotator="a"),
            prodigy(3, "reject", label="assault", _task_hash=31, annotator="b"),
            prodigy(3, label="street_harassment", _task_hash=32, annotator="b"),
            prodigy(4, "reject", label="assault", _task_hash=41, annotator="a"),
            prodigy(4, label="assault", _task_hash=41, annotator="a"),  # from an annotator who had second thoughts
        )
        assert labels == {"task 1": ["assault", "street_harassment"], "task 3": ["street_harassment"], "task 4": ["assault"]}
        assert "not taken as labels: 4 rejected answers" in told
        assert "1 post left out" in told
        assert "several annotators on 1 post: " in told

    @pytest.mark.parametrize("answer", ["reject", "ignore"])
    def test_what_an_annotator_of_prodigy_takes_back_does_not_count(self, read, answer):
        options = [{"id": name, "text": name} for name in NAMES]
        accepted = prodigy(1, accept=["assault"], options=options, annotator="a", _task_hash=1)
        labels, told = read(accepted, accepted | {"answer": answer}, prodigy(2, accept=["assault"], options=options, annotator="a"))
        assert labels == {"task 2": ["assault"]}
        assert "1 post left out" in told

    def test_a_batch_without_the_column_of_a_label_is_refused(self, read, refused):
        row = {"id": 1, "text": "a", "stratum": "random", "predicted": "", "annotator": "ann"} | dict.fromkeys(NAMES, "")
        with refused("no column for assault", "add one for each label"):
            read({"Assault?" if name == "assault" else name: value for name, value in row.items()})

    def test_labels_of_prodigy_may_be_the_texts_of_choices(self, read):
        options = [{"id": number, "text": TITLES[name]} for number, name in enumerate(NAMES)]
        assert read(prodigy(1, accept=[2, 3], options=options))[0] == {"task 1": ["assault", "solidarity_support"]}

    def test_prodigy_with_spans_alone(self, read, refused):
        with refused("is an export from Prodigy in which no label is about a whole post"):
            read(prodigy(1, spans=[], _task_hash=1))

    def test_argilla_records(self, read):
        record = {"metadata": {"author": "ann"}, "suggestions": {"kind": {"value": ["assault"], "agent": "model"}}, "vectors": {}}
        labels, told = read(
            {"id": "1", "fields": {"text": "a"}, "responses": {"kind": [{"value": ["assault"], "user_id": "u"}]}, **record},
            {"id": "2", "fields": {"text": "b"}, "responses": {"kind": [{"value": ["assault"], "status": "discarded"}]}, **record},
            {"id": "3", "fields": {"text": "c"}, "responses": {}, **record},
            {
                "id": "4",
                "fields": {"text": "d"},
                "responses": {"kind": [{"value": [], "status": "submitted"}, {"value": ["spam"], "status": "draft"}]},
                **record,
            },
        )
        assert labels == {"a": ["assault"], "d": []}
        assert "an export from Argilla: 2 posts, labels from 'kind'" in told
        assert "not taken as labels: 1 discarded response, 1 draft response" in told
        assert "2 posts left out" in told

    @pytest.mark.parametrize(
        "row",
        [
            {"fields": {"text": "a"}, "responses": [{"values": {"kind": {"value": "assault"}}, "status": "submitted", "user_id": "u"}]},
            {"text": "a", "kind.responses": ["assault"], "kind.responses.status": ["submitted"], "kind.suggestion": "spam"},
            {"text": "a", "kind": [{"value": "assault", "status": "submitted", "user_id": "u"}], "kind-suggestion": "spam"},
        ],
    )
    def test_argilla_in_its_other_forms(self, read, row):
        labels, told = read({"id": "1", **row})
        assert labels == {"a": ["assault"]}
        assert "an export from Argilla" in told

    def test_an_export_of_which_nothing_is_labelled(self, read, refused):
        with refused("is an export from Label Studio (JSON) in which no post has finished labels"):
            read(studio(1, None), studio(2))

    def test_unknown_labels_of_an_export(self, read, refused):
        with refused("export.jsonl, row 2: the export holds 'asault', which is not a label; did you mean 'assault'?"):
            read(studio(1, ["assault"]), studio(2, ["asault"]))

    @pytest.mark.parametrize("form", [pd.DataFrame, datasets.Dataset.from_list])
    def test_in_memory(self, form):
        rows = [prodigy(1, accept=["assault"], _task_hash=1), prodigy(2, "reject", accept=["assault"], _task_hash=2)]
        corpus = load("none", posts=form(rows))
        assert labels_of(corpus) == [["assault"]]
        assert "an export from Prodigy" in corpus.notes[0]

    @given(rows=st.lists(st.sampled_from(SHAPES).flatmap(damaged).filter(lambda row: isinstance(row, dict)), min_size=1, max_size=3))
    @settings(max_examples=100)
    def test_whatever_a_damaged_export_holds_is_read_or_refused(self, rows):
        reader, refused = Reader(LABELS, Columns(), ()), ""
        try:
            reader.table([Row(number, fields) for number, fields in enumerate(rows, 1)], "export", "export")
        except InputError as error:
            refused = str(error)
        assert "\n" not in refused

    def test_ordinary_columns_are_no_export(self, jsonl):
        rows = [{"id": "1", "text": "a", "labels": ["assault"], "data": "x", "annotator": 3, "answer": "accept", "responses": "many"}]
        assert load(jsonl("posts.jsonl", rows)).notes == []
