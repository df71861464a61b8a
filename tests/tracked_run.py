"""Fixtures with a model that was trained twice on a small corpus and logged in a real MLflow store (for ``pytest_plugins``)."""

import csv
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.config import ROOT
from pipeline.config import Config, Tracking
from pipeline.config_files import load_config
from pipeline.report import page
from pipeline.training import Trained, train

_FEW = ("news_report", "casing_changed", "denial_added")


@dataclass(frozen=True)
class Tracked:
    folder: Path  # contains all the others
    data: Path
    cases: Path  # a few behavioural cases
    config: Config
    uri: str
    out: Path
    first: Trained
    out_again: Path
    again: Trained

    @property
    def posts(self) -> list[dict]:
        return [json.loads(line) for file in sorted(self.data.glob("*.jsonl")) for line in file.read_text().splitlines()]

    @property
    def quick(self) -> list[str]:
        """Settings for a faster evaluation."""
        return ["evaluation.rounds=100", f"evaluation.behaviour={self.cases}", "evaluation.swaps=null"]

    def store_copy(self, folder: Path) -> str:
        """Copy the store as it was with the two models, before any test changed it, and return the URI of the copy."""
        shutil.copy(self.folder / "two-models.db", folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"


def _write_few(path: Path) -> None:
    """Write the cases of three functionalities, each with another kind of test."""
    with (ROOT / "data" / "behaviour" / "cases.csv").open(encoding="utf-8", newline="") as whole, path.open("w", newline="") as few:
        rows = csv.DictReader(whole)
        writer = csv.DictWriter(few, rows.fieldnames or [])
        writer.writeheader()
        writer.writerows(row for row in rows if row["functionality"] in _FEW)


@pytest.fixture(scope="session")
def tracked(tmp_path_factory, empty_store) -> Tracked:
    folder = tmp_path_factory.mktemp("tracked")
    data = folder / "data"
    data.mkdir()
    for split, posts in (("train", 300), ("validation", 80), ("test", 80)):
        with (ROOT / "data" / "starter" / f"{split}.jsonl").open() as lines:
            (data / f"{split}.jsonl").write_text("".join(itertools.islice(lines, posts)))
    cases = folder / "cases.csv"
    _write_few(cases)
    uri = f"sqlite:///{shutil.copy(empty_store, folder)}"
    config = load_config((), ["calibration.folds=3"], [str(data)], tracking=Tracking(uri=uri, experiment="first").model_dump())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow puts artifacts there
        first = train(config, folder / "model", register="disclosure")
        again = train(config, folder / "again", register="disclosure")
    shutil.copy(folder / "mlflow.db", folder / "two-models.db")
    return Tracked(folder, data, cases, config, uri, folder / "model", first, folder / "again", again)


@pytest.fixture
def without_plots(monkeypatch):
    """Draw no plots: most tests of evaluations do not look at them. The fixture `evaluated` draws them all; test_page.py tests them."""
    for name in ("plot_dots", "plot_reliability", "plot_thresholds", "plot_review"):
        monkeypatch.setattr(page, name, lambda *_, **__: "")
    monkeypatch.setattr("pipeline.evaluating.figures", lambda *_: {})
