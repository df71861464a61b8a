"""Dates: every usual format is read, and the whole column decides which number is the month."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Label, LabelSet
from pipeline.config import Columns, Data
from pipeline.corpora import load_corpus
from pipeline.dates import Dates, month_of, only_months
from pipeline.report import corpus_notes


def read(*texts):
    dates = Dates("when")
    return dates.settled([dates.read(text) for text in texts]), dates.notes()


@pytest.mark.parametrize(
    "text",
    [
        "1508098909",
        "1508098909.0",
        "1508098909123",
        "1508098909123.0",
        "2017-10-15",
        "20171015",
        "2017-10",
        "2017/10/15 20:21",
        "2017-10-15T20:21:49Z",
        "2017-10-15 20:21:49+02:00",
        "2017-10-15 20:21:49 UTC",
        "2017-10-15T20:21:49.123456",
        "10/15/2017",
        "10/15/17",
        "15.10.2017",
        "15-10-2017 20:21:49",
        "10/15/2017, 8:21 PM",
        "10/10/2017",
        "Sun Oct 15 20:21:49 +0000 2017",
        "Sun, 15 Oct 2017 20:21:49 +0000",
        "Sun, 15 Oct 2017 20:21:49 GMT",
        "Sun, 15 Oct 2017 20:21:49 EST",
        "October 15, 2017",
        "Oct 15th 2017 at 8pm",
        " 15 Oct 2017 ",
    ],
)
def test_month_of_every_usual_format(text):
    (found,), notes = read(text)
    assert month_of(found) == "2017-10"
    assert not [note for note in notes if "cannot be read" in note]


@pytest.mark.parametrize(
    "text",
    [
        *("last October", "Sunday", "May", "15", "2017", "May 2017", "12:30", "-", "0", "919646781234567890", "1.5"),
        *("31/02/2017", "2017-15-10", "13/13/2017", "I was 15 in 2017 and he knew", "99999999999999999999999"),
    ],
)
def test_what_is_no_date_is_left_out_and_counted(text):
    found, notes = read(text, "2017-10-15", None)
    assert found == [None, "2017-10-15", None]
    assert notes == ["when: left out because they cannot be read: 1 of 2 dates; write 2017-10-15 or 2017-10-15T20:21:49+00:00"]


def test_one_date_that_allows_only_one_order_decides_for_the_whole_column():
    assert read("10/11/2017", "10/15/2017", "11/10/2017 08:00")[0] == ["2017-10-11", "2017-10-15", "2017-11-10"]
    found, notes = read("10/11/2017", "15/10/2017", "11/10/2017 08:00")
    assert found == ["2017-11-10", "2017-10-15", "2017-10-11"]
    assert notes == [
        "when: dates such as 10/11/2017 are read as day/month/year, because 1 of the column's dates can be read in no other way"
    ]


@pytest.mark.parametrize(
    ("others", "why"), [(["2017-10-15"], "no date in the column shows which"), (["10/15/2017", "15/10/2017"], "some dates")]
)
def test_nothing_is_guessed_where_the_column_does_not_tell(others, why):
    found, notes = read("10/11/2017", *others, "12/11/2017")
    assert found == [None, *(["2017-10-15"] * len(others)), None]
    (note,) = notes
    total = len(others) + 2
    assert f"left out: 2 of {total} dates, which may be month/day or day/month, as in 10/11/2017" in note
    assert why in note
    assert "write 2017-10-11" in note


FORMS = ["%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%a %b %d 10:00:00 +0000 %Y"]


@given(st.dates(date(1970, 1, 1), date(2099, 12, 31)), st.sampled_from(FORMS), st.booleans())
def test_a_date_is_read_as_it_was_written_or_not_at_all(day, form, decided):
    known = {"%m/%d/%Y": ["12/31/2017"], "%d/%m/%Y": ["31/12/2017"], "%d.%m.%Y": ["31.12.2017"]}.get(form, []) if decided else []
    found = read(day.strftime(form), *known)[0][0]
    assert found is None or found[:10] == day.isoformat()
    assert found is not None or not decided


def test_months_take_less_memory_than_dates_and_are_settled_alike():
    dates = Dates("when")
    found = [only_months(dates.read(text)) for text in ("10/11/2017", "10/15/2017", None, "soon")]
    assert dates.settled(found) == ["2017-10", "2017-10", None, None]


def test_a_corpus_holds_dates_in_iso_8601_and_says_once_what_cannot_be_read(tmp_path):
    dates = ["10/15/2017", "10/11/2017", "1510120312000", 1508098909, 1508098909.0, "soon", "later", None, "Sun Oct 15 20:21:49 +0000 2017"]
    rows = [{"id": str(k), "text": f"post {k}", "labels": [], "posted": posted} for k, posted in enumerate(dates)]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = LabelSet(name="one", labels=[Label(name="work", definition="")])
    corpus = load_corpus(Data(sources=[str(path)], columns=Columns(created_at="posted")), labels, seed=0, cut=False)
    months = [month_of(day) for day in corpus.splits["all"]["created_at"]]
    assert months == ["2017-10", "2017-10", "2017-11", "2017-10", "2017-10", None, None, None, "2017-10"]
    assert [note for note in corpus_notes(corpus) if f"{path}: posted: left out because they cannot be read: 2 of 8 dates" in note]
    assert [note for note in corpus_notes(corpus) if "month/day/year" in note]


def test_each_source_decides_for_itself_which_number_is_the_month(tmp_path):
    written = {"us.jsonl": ["10/25/2017", "05/10/2017"], "uk.jsonl": ["25/10/2017", "05/10/2017"]}
    for name, dates in written.items():
        rows = [{"id": f"{name}{k}", "text": f"post {k} of {name}", "labels": [], "created_at": day} for k, day in enumerate(dates)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = LabelSet(name="one", labels=[Label(name="work", definition="")])
    corpus = load_corpus(Data(sources=[str(tmp_path / name) for name in written]), labels, seed=0, cut=False)
    assert corpus.splits["all"]["created_at"] == ["2017-10-25", "2017-05-10", "2017-10-25", "2017-10-05"]
