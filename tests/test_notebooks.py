"""The tutorials: each notebook runs from top to bottom and gives the outputs that it shows.

``UPDATE_NOTEBOOKS=1 pytest tests/test_notebooks.py`` writes the outputs anew.
"""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
NAMES = ["first_hour", "compare_two_models"]

pytestmark = pytest.mark.slow


def execute(path: Path):
    """Run a notebook; warnings of libraries, which hold paths of this machine, are left out."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def shown(notebook) -> list[str]:
    """Return what a reader sees of each output."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output["text"] if output.output_type == "stream" else output["data"]["text/plain"] for output in outputs]


def test_every_tutorial_is_run():
    assert sorted(NAMES) == sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))


@pytest.mark.filterwarnings("default")  # jupyter_client's own
@pytest.mark.parametrize("name", NAMES)
def test_tutorial_shows_what_it_showed(name):
    path = TUTORIALS / f"{name}.ipynb"
    notebook = execute(path)
    if os.environ.get("UPDATE_NOTEBOOKS"):
        nbformat.write(notebook, path)
    assert shown(notebook) == shown(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("name", NAMES)
def test_tutorial_holds_no_path_of_a_machine(name):
    text = (TUTORIALS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert [word for word in (str(TUTORIALS.parents[1]), str(Path.home()), "site-packages") if word in text] == []
