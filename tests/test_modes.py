"""What commands and functions write is readable by its owner alone, and cells that people open are no formulas."""

import os
from pathlib import Path

import pytest

from models.folders import new_folder, owner_only
from pipeline.checks.files import _write_csv
from pipeline.checks.findings import Pair
from pipeline.scoring import Options, score_files
from pipeline.spreadsheets import as_text
from pipeline.sweep.trials import Trial, trials_csv


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return the modes of everything below a folder that others may read, or do anything else with."""
    found = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o077 for path in [folder, *folder.rglob("*")]}
    return {name: oct(mode) for name, mode in found.items() if mode}


def test_scores_are_for_their_owner_alone(model, tmp_path):
    model.save(tmp_path / "model")
    (tmp_path / "posts.jsonl").write_text('{"id": "1", "text": "she walked", "who": "=1+1"}\n{"id": "2"}\n')
    for kind in ("parquet", "csv"):
        options = Options(format=kind, keep=("text", "who"))
        score_files([tmp_path / "posts.jsonl"], tmp_path / "model", tmp_path / kind, options, workers=1)
        assert {path.name for path in (tmp_path / kind).iterdir()} >= {"manifest.json", "rejects.jsonl", "_shards"}
        assert modes(tmp_path / kind) == {}
    assert modes(tmp_path / "model") == {}
    assert os.umask(0o022) == 0o022, "the process goes on as before"


@pytest.mark.parametrize(("told", "file", "folder"), [(None, 0o600, 0o700), ("", 0o600, 0o700), ("027", 0o640, 0o750), ("0", 0o666, 0o777)])
def test_the_environment_may_let_others_read(tmp_path, monkeypatch, told, file, folder):
    monkeypatch.delenv("DISCLOSURE_UMASK", raising=False)
    if told is not None:
        monkeypatch.setenv("DISCLOSURE_UMASK", told)
    with new_folder(tmp_path / "out", ("a",)) as fresh:
        (fresh / "a").touch()
    assert ((tmp_path / "out" / "a").stat().st_mode & 0o777, (tmp_path / "out").stat().st_mode & 0o777) == (file, folder)


@pytest.mark.parametrize("told", ["all", "9", "-1", "7777", "0o77"])
def test_an_umask_that_is_none_is_one_line(monkeypatch, refused, told):
    monkeypatch.setenv("DISCLOSURE_UMASK", told)
    with refused(f"DISCLOSURE_UMASK={told}", "027"), owner_only():
        pass


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "a;=1", "a\n@x", "=cmd|' /C x'!A0"])
def test_a_formula_becomes_a_text(cell):
    for beginning in [as_text(cell), *str(as_text(cell)).replace("\n", ";").split(";")]:
        assert not str(beginning).strip().startswith(("=", "+", "-", "@", "＝"))


def test_ids_in_files_for_people_are_no_formulas_and_machines_get_them_as_they_are(model, tmp_path):
    pair = Pair(
        kind="exact", similarity=1, split="train", id="=1+1", labels=[], other_split="train", other_id="p1", other_labels=[], conflict=False
    )
    _write_csv(tmp_path / "pairs.csv", Pair, [pair])
    assert "train,'=1+1,," in (tmp_path / "pairs.csv").read_text()
    trial = Trial.__new__(Trial)
    vars(trial).update(number=0, values={"x": "=1+1"}, value=None, metrics={}, reason="=2")
    assert trials_csv([trial]).endswith(",'=1+1,'=2\n")
    model.save(tmp_path / "model")
    (tmp_path / "posts.jsonl").write_text('{"id": "=1+1", "text": "she walked"}\n')
    score_files([tmp_path / "posts.jsonl"], tmp_path / "model", tmp_path / "out", Options(format="csv"), workers=1)
    (part,) = (tmp_path / "out").glob("part-*.csv")
    assert "\n=1+1," in part.read_text()


@pytest.mark.parametrize("cell", ["p-17", "1.5", "a=b", "", "mine; yours", 5, -0.5, None, "me@home"])
def test_other_cells_stay_as_they_are(cell):
    assert as_text(cell) == cell
