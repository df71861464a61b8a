"""Which files a job reads, which of their rows are posts, and how often the model is asked."""

import os
import zlib
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pytest
from conftest import StandIn
from hypothesis import given
from hypothesis import strategies as st

from models.text import MAX_CHARS, normalise
from pipeline.errors import NoPostsError
from pipeline.records import FILES, STDIN, BrokenRow, Row, note_columns
from pipeline.scoring import FileSummary, Options, Summary, distinct, posts
from pipeline.scoring.completion import Completion
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.ids import Ids
from pipeline.scoring.inputs import check_inputs, find_inputs
from pipeline.scoring.posts import Post, batches, to_post

COLUMNS = ["id", "text"]
LINE = b'{"id": "1", "text": "x"}\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """``place("a.jsonl", "deep/b.csv")`` makes these files in the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(*names, content=LINE):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path

    return make


def found(*given):
    return [str(path) for path in find_inputs(given)]


def test_files_are_read_in_the_order_given(place):
    place("b.jsonl", "a.csv.gz")
    assert found("b.jsonl", "a.csv.gz", "-", "absent.parquet") == ["b.jsonl", "a.csv.gz", "-", "absent.parquet"]


def test_folder_gives_its_data_files_at_any_depth_sorted(place):
    place("in/b.jsonl.zst", "in/deep/er/c.csv", "in/a.parquet")
    place("in/.hidden.jsonl", "in/_SUCCESS", "in/_temporary/d.jsonl", "in/.git/e.txt", "in/deep/.f.crc")
    assert found("in") == ["in/a.parquet", "in/b.jsonl.zst", "in/deep/er/c.csv"]


def test_folder_below_a_hidden_one_counts(place):
    place(".cache/_in/a.jsonl")
    assert found(".cache/_in") == [".cache/_in/a.jsonl"]


def test_glob_gives_the_files_it_fits_sorted(place):
    place("in/b.jsonl", "in/a.jsonl", "in/a.csv", "in/deep/er/c.jsonl", "in/d.jsonl/e.jsonl")
    assert found("in/*.jsonl") == ["in/a.jsonl", "in/b.jsonl", "in/d.jsonl/e.jsonl"]  # as a shell would have it
    assert found("in/**/*.jsonl") == ["in/a.jsonl", "in/b.jsonl", "in/d.jsonl/e.jsonl", "in/deep/er/c.jsonl"]
    assert found("in/[ab].?sv") == ["in/a.csv"]


def test_glob_may_be_absolute(place):
    folder = place("a.jsonl", "b.jsonl")
    assert found(f"{folder}/*.jsonl") == [f"{folder}/a.jsonl", f"{folder}/b.jsonl"]


@pytest.mark.parametrize("name", ["what[1].jsonl", "all*.csv", "why?.parquet"])
def test_file_whose_name_looks_like_a_glob_is_that_file(place, name):
    place(name, "what1.jsonl", "all1.csv", "why1.parquet")
    assert found(name) == [name]


def test_folder_whose_name_looks_like_a_glob_is_that_folder(place):
    place("[ab]/x.jsonl", "a/y.jsonl")
    assert found("[ab]") == ["[ab]/x.jsonl"]


def test_files_folders_and_globs_mix(place):
    place("z.csv", "in/a.jsonl", "more/b.parquet", "more/c.txt")
    assert found("z.csv", "more/*.parquet", "in") == ["z.csv", "more/b.parquet", "in/a.jsonl"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([], "there are no inputs; give files, folders or globs"),
        (["none"], "none: has no files; give a folder with .jsonl"),
        (
            ["mixed"],
            f"mixed/notes.txt: must be one of {FILES}; move it away, select files with a glob",
        ),
        (["*.xml"], "*.xml: no file matches this glob; check the pattern"),
        (["no[n]e"], "no[n]e: no file matches this glob"),
        (["mixed/*"], "mixed/notes.txt: must be one of .jsonl"),
        (["notes.doc"], "notes.doc: must be one of .jsonl"),
        (["a.jsonl", "b.jsonl", "a.jsonl"], "a.jsonl: was given twice; name each file once"),
        (["a.jsonl", "*.jsonl"], "a.jsonl: was given twice"),
        (["mixed/../a.jsonl", "./a.jsonl"], "a.jsonl: was given twice"),
        (["a.jsonl", "link.jsonl"], "link.jsonl: was given twice"),
        (["-", "-"], "-: was given twice"),
        (["x" * 300 + ".jsonl"], "cannot be read (File name too long); check its permissions"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(place, inputs, reason, refused):
    folder = place("a.jsonl", "b.jsonl", "mixed/a.jsonl", "mixed/notes.txt", "none/_SUCCESS")
    (folder / "link.jsonl").symlink_to(folder / "a.jsonl")
    with refused(reason):
        find_inputs(inputs)


def test_what_file_managers_leave_is_no_input(place):
    place(
        "in/a.CSV",
        "in/.DS_Store",
        "in/Thumbs.db",
        "in/desktop.ini",
        "in/.gitkeep",
        "in/__MACOSX/._a.csv",
        "in/._a.csv",
        "in/deep/B.Jsonl.GZ",
    )
    assert found("in") == ["in/a.CSV", "in/deep/B.Jsonl.GZ"]
    assert found("in/*") == ["in/a.CSV", "in/deep/B.Jsonl.GZ"]


def test_what_looks_as_if_it_were_meant_to_be_read_is_told_where_it_is_not(place):
    folder = place("in/_date=2017-10-15/_hour=1/a.jsonl", "in/_old/deep/b.jsonl", "in/_c.csv", "in/.d.jsonl.gz", "in/e.csv")
    place("in/_temporary/0/x.jsonl", "in/_SUCCESS", "in/.git/y.jsonl", "in/._e.csv", "in/_notes/z.txt", "in/_metadata", "lost+found/f.csv")
    told = []
    paths = find_inputs([folder], tell=lambda path, what: told.append((str(path.relative_to(folder)), what)))
    assert [str(path.relative_to(folder)) for path in paths] == ["in/_date=2017-10-15/_hour=1/a.jsonl", "in/e.csv"]
    assert [name for name, _ in told] == ["in/.d.jsonl.gz", "in/_c.csv", "in/_old"]
    assert {what for _, what in told} == {"left out, because its name begins with '_' or '.'; name it if it should be read"}


def test_glob_reads_the_folders_that_it_fits(place):
    place("2017-10/a.jsonl", "2017-11/deep/b.jsonl", "2017-12/_SUCCESS", "_2017/x.jsonl", "c.jsonl")
    assert found("*") == ["2017-10/a.jsonl", "2017-11/deep/b.jsonl", "c.jsonl"]


@pytest.mark.parametrize(
    ("sign", "what"),
    [
        (".hoodie/hoodie.properties", "a Hudi table"),
        ("metadata/v2.metadata.json", "an Iceberg table"),
        ("metadata/00001-0b6e8a8c.metadata.json", "an Iceberg table"),
        ("snapshot/snapshot-1", "a Paimon table"),
        ("_spark_metadata/0", "the output of a Spark stream"),
    ],
)
@pytest.mark.parametrize("given", ["all", "all/table", "all/table/day=1/a.jsonl", "all/table/**/*.jsonl", "link"])
def test_table_whose_log_is_not_read_is_refused_however_its_files_are_named(place, refused, sign, what, given):
    folder = place("all/table/day=1/a.jsonl", f"all/table/{sign}")
    (folder / "link").symlink_to("all/table/day=1")
    with refused(f"{folder}/all/table: is {what}, and its log", "plain Parquet"):
        found(given)


def test_output_in_an_input_is_refused_at_once(place, refused):
    folder = place("in/a.jsonl")
    for name, out in (("in", "in/scores"), ("in", "in"), (".", "scores"), ("*", "in/deep/scores")):
        with refused(f"{out}: is in the input {'in' if name == '*' else name}"):
            find_inputs([name], folder / ".." / folder.name / out if name == "in" else Path(out))
    assert find_inputs(["in"], Path("in2"))


def test_pipe_or_device_in_a_folder_and_a_link_to_itself_are_refused(place, refused):
    folder = place("in/a.jsonl", "loop/a.jsonl")
    os.mkfifo(folder / "in/b.jsonl")
    with refused("in/b.jsonl: is not a file but a pipe or a device"):
        found("in")
    (folder / "loop/c.jsonl").symlink_to("c.jsonl")
    for name in ("loop", "loop/c.jsonl", "loop/*.jsonl"):
        with refused(f"{name}: holds a link that leads to itself"):
            found(name)


def test_folder_without_files_has_an_error_of_its_own(place):
    place("in/deep/_SUCCESS")
    with pytest.raises(NoPostsError):
        found("in")


def test_folder_that_may_not_be_read_is_named_itself(place, refused, monkeypatch):
    place("in/a.jsonl", "in/deep/b.jsonl")
    iterdir = Path.iterdir

    def locked(path):
        if path.name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    with refused("in/deep: cannot be read (Permission denied)"):
        found("in")


def test_links_to_folders_are_followed_once(place):
    folder = place("in/2017-10/a.jsonl", "other/b.jsonl", "other/deep/c.jsonl")
    (folder / "in/november").symlink_to("../other")
    (folder / "in/again").symlink_to("../other/deep/..")
    (folder / "in/latest").symlink_to("2017-10")
    (folder / "in/latest.jsonl").symlink_to("2017-10/a.jsonl")
    assert found("in") == ["in/2017-10/a.jsonl", "in/again/b.jsonl", "in/again/deep/c.jsonl"]


def test_link_to_a_folder_that_it_is_in_is_refused(place, refused):
    folder = place("in/deep/a.jsonl")
    (folder / "in/deep/up").symlink_to("../../in")
    with refused("in/deep/up: links to", "a folder that contains it; remove the link"):
        found("in")
    (folder / "in/deep/up").unlink()
    (folder / "in/above").symlink_to("..")
    with refused("in/above: links to"):
        found("in")


def check(folder, *names, out="out", columns=COLUMNS):
    check_inputs([folder / name for name in names], Options(*columns), folder / out)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("column.jsonl", b'{"id": "1", "words": "x"}\n', "row 1: no column 'text'; found 'id', 'words'; name it with --text-column"),
        (
            "column.csv",
            b"words\nx\n",
            "row 1: no column 'id', 'text'; found 'words'; name them with --text-column TEXT_COLUMN --id-column none",
        ),
        ("case.csv", b"ID,Text\n1,x\n", "found 'ID', 'Text'; name them with --id-column ID --text-column Text (or number the rows: "),
        ("late.jsonl", b"oops\n" * 98 + b'{"text": "x"}\n', "row 99: no column 'id'"),
        ("foreign.csv", b"id,text\n1," + "слова ".encode("cp1251") * 9, "neither in UTF-8 nor in Windows-1252; save the file as UTF-8"),
        ("packed.csv", b"PK\x03\x04x", "is a zip archive or an Excel file; unpack it, or make its name end in .xlsx"),
        ("header.csv", b'id,"text\n1,x\n', "header: a quote is never closed"),
        ("page.csv", b"We are sorry\n", "no column 'id', 'text'; found a name that is not shown (is there a header?)"),
        ("out/part.jsonl", LINE, "is in the output folder"),
        ("out/deep/part.jsonl", LINE, "is in the output folder"),
    ],
)
def test_unusable_input_is_refused_before_any_work(place, name, content, reason, refused):
    folder = place("good.jsonl")
    place(name, content=content)
    with refused(name, reason):
        check(folder, "good.jsonl", name)


NOTICE = b'{"delete": {"status": {"id": 1}}}\n'


def test_columns_are_looked_for_beyond_the_first_rows(place, refused, monkeypatch):
    folder = place("a.csv", content=b"id,text\n1,x\n")
    place("late.jsonl", content=NOTICE * 300 + LINE * 3 + b'{"id": "2", "text": "x", "lang": "en"}\n')
    check_inputs([folder / "a.csv", folder / "late.jsonl"], Options(keep=("lang",)), folder / "out")
    with refused("--keep langs: the inputs have no such column; found 'delete', 'id', 'lang', 'text'; name it with --keep lang"):
        check_inputs([folder / "a.csv", folder / "late.jsonl"], Options(keep=("langs",)), folder / "out")
    monkeypatch.setattr("pipeline.scoring.inputs._LOOKED_AT", 301)
    told = []
    check_inputs([folder / "late.jsonl"], Options(keep=("lang",)), folder / "out", lambda path, what: told.append(what))
    assert told == ["--keep lang: the first rows of the inputs have no such column; where a row lacks it, the value will be null"]
    place("notices.jsonl", content=NOTICE * 302)
    check(folder, "notices.jsonl")


def test_missing_input_is_refused_before_any_work(place, refused):
    with refused("gone.csv: no such file"):
        check(place("good.jsonl"), "good.jsonl", "gone.csv")


def test_input_that_links_into_the_output_folder_is_refused(place, refused):
    folder = place("out/part.jsonl")
    (folder / "link.jsonl").symlink_to(folder / "out/part.jsonl")
    with refused("link.jsonl: is in the output folder"):
        check(folder, "link.jsonl")


def test_inputs_to_make_the_best_of_are_let_pass(place):
    folder = place("good.jsonl", "outer/good.jsonl")
    place("damaged.jsonl.gz", content=b"no such thing")
    place("damaged.parquet", content=b"PAR1 and no more")
    place("broken.jsonl", content=b"oops\n" * 500)
    place("empty.jsonl", "empty.csv", content=b"")
    place("open.csv", content=b'id,text\n1,"open\n')
    check(
        folder,
        "good.jsonl",
        "outer/good.jsonl",
        "damaged.jsonl.gz",
        "damaged.parquet",
        "broken.jsonl",
        "empty.jsonl",
        "empty.csv",
        "open.csv",
    )
    check_inputs([STDIN], Options(keep=("any",)), folder / "out")


def test_file_that_is_not_there_behind_a_link_is_not_passed_over(place, refused):
    folder = place("a.jsonl")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    for name in (str(folder), f"{folder}/*.jsonl"):
        with refused("gone.jsonl: no such file"):
            check_inputs(find_inputs([name]), Options(), folder.parent / "out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "xml"}, "format must be one of parquet, jsonl, csv, but got 'xml'"),
        ({"over_long": "split"}, "over_long must be one of reject, truncate, but got 'split'"),
        ({"max_chars": 0}, "max_chars must be 1 or more, but got 0; omit it to use 100,000"),
        ({"abstain": (0.7, 0.3)}, "abstain must be LOW:HIGH with 0 <= LOW <= HIGH <= 1, such as 0.3:0.7, but got 0.7:0.3"),
        ({"abstain": (-0.1, 0.3)}, "such as 0.3:0.7, but got -0.1:0.3"),
        ({"abstain": (0.1, 1.3)}, "such as 0.3:0.7, but got 0.1:1.3"),
        ({"abstain": (float("nan"), 1.0)}, "such as 0.3:0.7, but got nan:1.0"),
        ({"thresholds": {"x": 1.01}}, "threshold x=1.01: the threshold must be a probability from 0 to 1, such as 0.3"),
        ({"thresholds": {"x": float("nan")}}, "threshold x=nan: the threshold must be"),
        ({"keep": ("a", "b", "a")}, "keep 'a': was given twice; name each column once"),
    ],
)
def test_option_out_of_range_is_refused(change, reason, refused):
    with refused(reason):
        Options(**change)


def test_notice_is_told_from_a_broken_post():
    reasons = [to_post(Row(1, fields), Options()).reason for fields in ({"limit": {"track": 5}}, {"delete": 1, "id": "1"}, {"words": "x"})]
    assert reasons == ["is a notice (limit), not a post", "text is null", "id is missing, or is neither a string nor an integer"]


def test_rows_are_numbered_where_no_column_has_ids():
    options = Options(id_column=None)
    assert [to_post(Row(7, {"text": "x"}), options, origin).id for origin in ("in/a.csv", "")] == ["in/a.csv:7", "7"]
    assert options.columns == options.needed == ["text"]
    assert options.digest != Options().digest != Options(id_column="none").digest


@pytest.mark.parametrize(
    ("shards", "repeated", "rounded"),
    [
        ([["1", "2"], ["3"]], 0, 0),
        ([["1", "1", "1"], ["2"]], 2, 0),
        ([["1", "2"], ["2", "3"], ["2"]], 2, 0),
        ([["9.20E+17", "9.20E+17", "9,2e+17", "a9.20E+17"]], 1, 3),
        ([["920000000000000000", "919999123456789000", "7"]], 0, 2),
        ([[str(919999123456789000 + number) for number in range(300)]], 0, 0),
    ],
)
def test_ids_that_repeat_or_look_rounded_are_counted(shards, repeated, rounded):
    summary, seen = Summary.of("", {}, Options()), set()
    for number, names in enumerate(shards):
        ids = Ids()
        ids.add(names)
        summary.files["in"] = FileSummary()
        summary.add(Completion("in", number, 1, "", "", "", "part", repeated=ids.repeated, rounded=ids.rounded, sample=ids.sample), seen)
    assert (summary.repeated_ids, summary.rounded_ids) == (repeated, rounded)


def test_extreme_options_are_allowed():
    assert Options(max_chars=1, abstain=(0.0, 1.0)).abstain == (0.0, 1.0)
    assert Options(abstain=(0.5, 0.5)).max_chars == MAX_CHARS


def test_options_read_each_column_once():
    assert Options().columns == ["id", "text"]
    assert Options(id_column="key", keep=("lang", "text", "key")).columns == ["key", "text", "lang"]


def test_digest_tells_any_two_options_apart():
    changes = [
        {},
        {"id_column": "key"},
        {"text_column": "key"},
        {"keep": ("a", "b")},
        {"keep": ("b", "a")},
        {"keep": ("a,b",)},
        {"format": "csv"},
        {"input_format": "csv"},
        {"max_chars": 7},
        {"over_long": "truncate"},
        {"abstain": (0.3, 0.7)},
        {"explain": True},
        {"thresholds": {"a": 0.3}},
        {"thresholds": {"a": 0.7}},
        {"thresholds": {"b": 0.3}},
    ]
    assert len({Options(**change).digest for change in changes}) == len(changes)
    assert Options().digest == replace(Options(max_chars=7), max_chars=MAX_CHARS).digest
    assert Options(thresholds={"a": 0.3, "b": 0}).digest == Options(thresholds={"b": 0, "a": 0.3}).digest


def test_options_that_came_later_do_not_show_where_they_are_not_used():
    assert not {"explain", "thresholds"} & set(Options().to_dict())
    used = Options(explain=True, thresholds={"b": 1, "a": 0.0}).to_dict()
    assert (used["explain"], list(used["thresholds"].items())) == (True, [("a", 0.0), ("b", 1)])


def test_threshold_for_a_label_that_the_model_lacks_is_refused(refused):
    points = {"balanced": [0.5, 0.6]}
    assert Options(thresholds={"b": 0.3}).thresholds_of(["a", "b"], points) == {"a": 0.5, "b": 0.3}
    with refused("'asault'", "choose one of a, b"):
        Options(thresholds={"b": 0.3, "asault": 0.3}).thresholds_of(["a", "b"], points)


OPTIONS = Options(max_chars=5, keep=("extra",))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": None, "text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": "", "text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": True, "text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": 1.5, "text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": ["1"], "text": "x"}, "id is missing, or is neither a string nor an integer"),
        ({"id": "1"}, "text is null"),
        ({"id": "1", "text": None}, "text is null"),
        ({"id": "1", "text": 7}, "text is not a string"),
        ({"id": "1", "text": b"x"}, "text is not a string"),
        ({"id": "1", "text": ""}, "text is empty"),
        ({"id": "1", "text": " \n\t\u3000"}, "text is empty"),
        ({"id": "1", "text": "123456"}, "text is longer than 5 characters"),
    ],
)
def test_row_that_is_no_post_is_refused(fields, reason):
    assert to_post(Row(9, fields), OPTIONS) == BrokenRow(9, reason)


def test_broken_row_stays_as_it_is():
    assert to_post(BrokenRow(9, "not UTF-8"), OPTIONS) == BrokenRow(9, "not UTF-8")


@pytest.mark.parametrize("over_long", ["reject", "truncate"])
def test_longest_text_is_taken_whole(over_long):
    assert to_post(Row(1, {"id": 0, "text": "12345"}), replace(OPTIONS, over_long=over_long)) == Post("0", "12345", (None,))


def test_longer_text_is_cut_when_asked_for():
    cutting = replace(OPTIONS, over_long="truncate")
    assert to_post(Row(1, {"id": "1", "text": "123456"}), cutting).text == "12345"
    assert to_post(Row(1, {"id": "1", "text": "     6"}), cutting) == BrokenRow(1, "text is empty")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("as is \u2603", "as is \u2603"),
        ("", ""),
        (None, None),
        (7, "7"),
        (0.5, "0.5"),
        (True, "true"),
        (["é", None], '["é", null]'),
        ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
        (date(2017, 10, 15), "2017-10-15"),
        (datetime(2017, 10, 15, 20, 21, tzinfo=UTC), "2017-10-15T20:21:00+00:00"),
        ([date(2017, 10, 15)], '["2017-10-15"]'),
        (time(20, 21), "20:21:00"),
    ],
)
def test_kept_value_becomes_a_string(value, kept):
    assert to_post(Row(1, {"id": "1", "text": "x", "extra": value}), OPTIONS).kept == (kept,)


def test_kept_columns_come_in_the_order_asked_for_and_null_where_missing():
    options = Options(keep=("b", "missing", "text", "a"))
    assert to_post(Row(1, {"id": "1", "text": "x", "a": "A", "b": "B"}), options).kept == ("B", None, "x", "A")


ROWS = st.lists(st.one_of(st.text("x", max_size=40), st.just(BrokenRow(0, "not UTF-8"))))


@given(rows=ROWS, most_posts=st.integers(1, 6), most_chars=st.integers(1, 100))
def test_batches_are_bounded_and_lose_nothing(rows, most_posts, most_chars):
    rows = [
        Row(number, {"id": str(number), "text": row, "k": row}) if isinstance(row, str) else replace(row, number=number)
        for number, row in enumerate(rows)
    ]
    options = Options(keep=("k",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posts, "BATCH_CHARS", most_chars)
        made = list(batches(rows, options, most=most_posts))
    wanted = [to_post(row, options) for row in rows]
    assert [post for scored, _ in made for post in scored] == [post for post in wanted if isinstance(post, Post)]
    assert [row for _, broken in made for row in broken] == [row for row in wanted if isinstance(row, BrokenRow)]
    for scored, broken in made:
        assert 1 <= len(scored) + len(broken) <= most_posts
        assert sum(len(post.text) for post in scored[:-1]) < most_chars


class Fake(StandIn):
    """A model that gives every text a different answer."""

    labels = ["alpha", "beta"]
    operating_points_ = {"balanced": [0.5, 0.5]}
    digest_ = "fake"

    def __init__(self):
        self.asked = []

    def answers(self, texts):
        self.asked += texts
        return np.array([[zlib.crc32(text.encode()) / 2**32, len(text) / 99] for text in texts], np.float32).reshape(-1, 2)


def fake_reasons(model, tokens, wanted, top):
    """Stand in for `models.explanation.reasons`."""
    texts = [token for (token,) in tokens.to_lists()]
    model.asked += texts
    return [
        [(label, text, 1.0) for label, yes in zip(model.labels, row, strict=True) if yes] for text, row in zip(texts, wanted, strict=True)
    ]


def test_threshold_asked_for_decides_in_place_of_the_model_s():
    probabilities = np.array([[0.3, 0.3], [0.29, 0.6]], np.float32)
    assert Options().decide(Fake(), probabilities).tolist() == [[False, False], [False, True]]
    assert Options(thresholds={"alpha": 0.3}).decide(Fake(), probabilities).tolist() == [[True, False], [False, True]]
    assert Options(thresholds={"beta": 1.0}).decide(Fake(), probabilities).tolist() == [[False, False], [False, False]]


@pytest.mark.parametrize(("at_a_time", "asked"), [(1, ["me too"] * 2), (9, ["me too"] * 2), (2**18, ["me too"])])
def test_texts_with_a_label_are_explained_and_those_equal_once_normalised_only_once_in_one_go(monkeypatch, at_a_time, asked):
    monkeypatch.setattr(distinct, "EXPLAINED_CHARS", at_a_time)
    monkeypatch.setattr("models.explanation.reasons", fake_reasons)
    model = Fake()
    wanted = np.array([[1, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 0]], bool)
    found = DistinctScorer(model).explain(["Me  too", "nothing", "other", "me too", "last", "Me  too"], wanted, 5)
    me_too = [("alpha", "me too", 1.0)]
    assert [list(reasons) for reasons in found] == [
        me_too,
        [],
        [("beta", "other", 1.0)],
        me_too,
        [("alpha", "last", 1.0), ("beta", "last", 1.0)],
        me_too,
    ]
    assert sorted(model.asked) == ["last", *asked, "other"]


TEXTS = ["Me too", "me too", "ME  TOO", "Me\u200b too", "", "a", "A", "b", "c", "é", "e\u0301", "\ud83d", "😀"]


@given(stream=st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8), max_size=8), remembered=st.integers(0, 12))
def test_answers_are_those_of_the_model_however_little_is_remembered(stream, remembered):
    model = Fake()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct, "REMEMBERED", remembered)
        scorer = DistinctScorer(model)
        for texts in stream:
            asked = len(model.asked)
            answers = scorer.score(texts)
            assert sorted(set(model.asked[asked:])) == sorted(model.asked[asked:])
            assert answers.dtype == np.float32
            np.testing.assert_array_equal(answers, Fake().answers([normalise(text) for text in texts]))
            assert len(scorer._answers._new) + len(scorer._answers._old) <= max(remembered, 1)
    assert scorer.computed == len(model.asked)


def test_texts_that_are_equal_once_normalised_are_computed_once():
    model = Fake()
    DistinctScorer(model).score(["same  words", "other", "same words", "other"])
    assert model.asked == [normalise("same words"), "other"]


def test_posts_that_differ_only_in_handles_and_links_around_them_are_computed_once(model):
    scorer, texts = DistinctScorer(model), ["zaxa lu", "@somebody zaxa lu", "lu zaxa", "RT @x: ZAXA lu https://t.co/a"]
    np.testing.assert_array_equal(scorer.score(texts), model.predict_proba(texts))
    assert scorer.computed == 2


def test_texts_of_earlier_batches_are_not_computed_again():
    scorer = DistinctScorer(Fake())
    for texts in (["a", "b"], ["b", "c"], ["a", "b", "c"]):
        scorer.score(texts)
    assert scorer.computed == 3


@given(stream=st.lists(st.sampled_from("abcdefgh"), max_size=40), remembered=st.integers(2, 12))
def test_half_of_what_may_be_remembered_always_is(stream, remembered):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct, "REMEMBERED", remembered)
        scorer = DistinctScorer(Fake())
        for number, text in enumerate(stream):
            computed = scorer.computed
            scorer.score([text])
            recent = list(dict.fromkeys(reversed(stream[:number])))[: remembered // 2]
            if text in recent:
                assert scorer.computed == computed


def test_old_texts_are_forgotten(monkeypatch):
    monkeypatch.setattr(distinct, "REMEMBERED", 4)
    scorer = DistinctScorer(Fake())
    for text in "abcdefa":
        scorer.score([text])
    assert scorer.computed == 7


def test_of_the_columns_that_each_row_has_for_itself_some_are_noted(monkeypatch):
    monkeypatch.setattr("pipeline.records.reading._NAMES", 3)
    found = {}
    for number in range(1, 9):
        note_columns(found, Row(number, {"id": 1, f"only {number}": 1} | ({"late": 1} if number > 6 else {})), {"late"})
    assert found == {"id": 1, "only 1": 1, "only 2": 2, "late": 7}
