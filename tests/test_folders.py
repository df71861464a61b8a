"""Output folders are written completely or not at all, and never over somebody's own files."""

import os
from pathlib import Path

import pytest

from models.folders import check_output, new_folder

MARKER = "manifest.json"
FILES = [MARKER, "metrics.json", "model.json"]


def write(folder: Path, **contents: str) -> None:
    with new_folder(folder, FILES) as fresh:
        for name, content in {"manifest": "{}", **contents}.items():
            (fresh / f"{name}.json").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_appears_whole_at_the_end_with_missing_parents(tmp_path):
    folder = tmp_path / "a" / "b" / "out"
    with new_folder(folder, FILES) as fresh:
        (fresh / MARKER).write_text("{}")
        assert not folder.exists()
    assert names(folder) == [MARKER]
    assert names(folder.parent) == ["out"]


def test_earlier_output_is_replaced_whole(tmp_path):
    folder = tmp_path / "out"
    write(folder, metrics="1")
    write(folder, model="2")
    assert names(folder) == [MARKER, "model.json"]
    assert names(tmp_path) == ["out"]


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert names(tmp_path / "out") == [MARKER]


def test_failure_inside_leaves_the_old_and_no_scratch(tmp_path):
    folder = tmp_path / "out"
    write(folder, metrics="1")
    with pytest.raises(RuntimeError, match="halfway"), new_folder(folder, FILES) as fresh:
        (fresh / MARKER).write_text("{}")
        raise RuntimeError("halfway")
    assert names(folder) == [MARKER, "metrics.json"]
    assert names(tmp_path) == ["out"]


def test_disk_error_inside_is_a_users_error_and_leaves_the_old(tmp_path, refused):
    folder = tmp_path / "out"
    write(folder, metrics="1")
    with refused(folder, "No space left on device", "--out"), new_folder(folder, FILES):
        raise OSError(28, "No space left on device")
    assert names(folder) == [MARKER, "metrics.json"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("other", ["thesis.docx", "index.html", "photos"])
def test_folder_with_anything_of_the_users_is_refused_and_untouched(tmp_path, refused, marked, other):
    folder = tmp_path / "out"
    folder.mkdir()
    if marked:
        (folder / MARKER).write_text("{}")
    if other == "photos":
        (folder / other).mkdir()
    else:
        (folder / other).write_text("mine")
    before = names(folder)
    with refused(folder, "not an earlier output", "--out"):
        check_output(folder, FILES)
    with refused(folder, "not an earlier output"):
        write(folder)
    assert names(folder) == before


def test_output_of_another_kind_is_refused(tmp_path, refused):
    write(tmp_path / "out")
    with refused("it lacks model.json"):
        check_output(tmp_path / "out", ["model.json"])


def test_file_in_the_way_is_refused(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "out", file / "a" / "out"):
        with refused(folder, "--out"):
            check_output(folder, FILES)
        with refused(folder, "--out"):
            write(folder)
    assert file.read_text() == "mine"


def test_parent_that_cannot_be_written_is_refused_even_where_the_folder_could(tmp_path, refused, monkeypatch):
    folder = tmp_path / "out"
    write(folder)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and allowed(path, mode))  # root may write anywhere
    with refused(folder, "cannot be written, because", tmp_path, "--out"):
        check_output(folder, FILES)


def test_mount_point_is_refused(refused):
    with refused("mount point", "inside it"):
        check_output(Path("/"), FILES)


def test_disk_that_refuses_a_folder_is_a_users_error(refused):
    with refused("/proc/out", "cannot be written"):
        write(Path("/proc/out"))


def test_link_is_followed(tmp_path):
    write(tmp_path / "real")
    (tmp_path / "latest").symlink_to("real")
    write(tmp_path / "latest", model="2")
    assert (tmp_path / "latest").is_symlink()
    assert names(tmp_path / "real") == [MARKER, "model.json"]


def test_the_working_folder_itself_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path())
    assert names(tmp_path) == [MARKER]


def test_output_that_cannot_take_its_place_leaves_the_old(tmp_path, refused, monkeypatch):
    folder = tmp_path / "out"
    write(folder, metrics="1")
    rename = Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with refused(folder, "Device or resource busy"):
        write(folder, model="2")
    assert names(folder) == [MARKER, "metrics.json"]
    assert names(tmp_path) == ["out"]


def test_somebodys_own_file_beside_an_output_is_kept(tmp_path, refused):
    folder = tmp_path / "out"
    write(folder)
    (folder / "my_posts.jsonl").write_text("{}")
    with refused(folder, "not an earlier output"):
        write(folder)
    assert names(folder) == [MARKER, "my_posts.jsonl"]


def test_what_file_managers_leave_stays(tmp_path):
    folder = tmp_path / "out"
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        (folder / ".DS_Store").write_text("mine")
        (folder / "Thumbs.db").write_text("mine")
        write(folder, model="2")
        assert names(folder) == [".DS_Store", "Thumbs.db", MARKER, "model.json"]
        assert (folder / "Thumbs.db").read_text() == "mine"
