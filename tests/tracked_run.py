"""Fixtures of a model trained twice on a small corpus into a real MLflow store; loaded through ``pytest_plugins``."""

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config import ROOT, Config, Tracking, load_config
from train import Trained, train


@dataclass(frozen=True)
class Tracked:
    folder: Path  # holds everything below
    data: Path
    config: Config
    uri: str
    out: Path
    first: Trained
    out_again: Path
    again: Trained

    @property
    def posts(self) -> list[dict]:
        return [json.loads(line) for file in sorted(self.data.glob("*.jsonl")) for line in file.read_text().splitlines()]

    def store_copy(self, folder: Path) -> str:
        """A store of one's own, without the seconds that a new one takes."""
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="session")
def tracked(tmp_path_factory) -> Tracked:
    folder = tmp_path_factory.mktemp("tracked")
    data = folder / "data"
    data.mkdir()
    for split, posts in (("train", 300), ("validation", 80), ("test", 80)):
        with (ROOT / "data" / "starter" / f"{split}.jsonl").open() as lines:
            (data / f"{split}.jsonl").write_text("".join(itertools.islice(lines, posts)))
    uri = f"sqlite:///{folder}/mlflow.db"
    config = load_config((), ["calibration.folds=3"], [str(data)], tracking=Tracking(uri=uri, experiment="first").model_dump())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow puts artifacts there
        first = train(config, folder / "model", register="disclosure")
        again = train(config, folder / "again", register="disclosure")
    return Tracked(folder, data, config, uri, folder / "model", first, folder / "again", again)
