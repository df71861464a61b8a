"""What many tests share: offline mode for the Hugging Face hub, invented posts, and what is made once: a model and an MLflow store."""

import json
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

from models import Classifier
from models.config import Calibration, Features, Label, LabelSet, ModelConfig, Thresholds
from models.errors import InputError
from models.fitting import TrainingTokens
from models.folders import owner_only
from models.text import normalise
from models.tokens import TokenBatch
from pipeline import terminal

if TYPE_CHECKING:
    from playwright.sync_api import Browser

hypothesis.settings.register_profile("suite", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def hurried_disk() -> Iterator[None]:
    """Wait for no disk: what a program or SQLite has written need not survive a loss of power in the middle of a test."""
    from sqlalchemy import Engine, event

    def hurry(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hurry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
    event.remove(Engine, "connect", hurry)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take longest first, so that at the end every core has something to do."""
    longest = {item.path for item in items if item.get_closest_marker("slow") or "tracked" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in longest)


Refused = Callable[..., AbstractContextManager[pytest.ExceptionInfo[InputError]]]
Jsonl = Callable[..., Path]


class Done(NamedTuple):
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str


Script = Callable[..., Done]


@pytest.fixture(scope="session")
def refused() -> Refused:
    """``with refused("row 3", "null"):`` expects an InputError whose message is one line and contains both texts."""

    @contextmanager
    def expect(*parts: object) -> Iterator[pytest.ExceptionInfo[InputError]]:
        with pytest.raises(InputError) as caught:
            yield caught
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert str(part) in message

    return expect


@pytest.fixture
def jsonl(tmp_path: Path) -> Jsonl:
    """``jsonl("train.jsonl", rows)`` writes dicts to this file in the test's folder."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """``script(main, "--data", "in.csv")`` runs a command as its script does, but in this process, where nothing is imported anew."""
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)  # terminal.run changes it

    def run(command: terminal.Command, *arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            terminal.run(command)
        return Done(caught.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store to copy, because making one takes seconds."""
    from pipeline.tracking.creation import make_store

    folder = tmp_path_factory.mktemp("empty")
    with owner_only(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow makes a folder for artifacts there
        make_store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@dataclass(frozen=True)
class Posts:
    """Invented posts in an invented language, in the form that a classifier takes."""

    texts: list[str]
    Y: np.ndarray
    groups: np.ndarray
    auxiliary: np.ndarray

    @property
    def tokens(self) -> TokenBatch:
        return TokenBatch.from_lists([text.split() for text in self.texts])


def invent(n_posts: int = 240, n_authors: int = 120, seed: int = 0) -> Posts:
    """Return posts of filler words; most posts that have a label also contain a word that is typical of it."""
    rng = np.random.default_rng(seed)
    syllables = ["ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "vo"]
    filler = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(400)]
    telling = [["zaxa", "zaxo", "zaxi"], ["wiku", "wika", "wike"], ["qoru", "qore"]]
    truth = (rng.random((n_posts, 3)) < [0.3, 0.2, 0.15]).astype(np.int8)
    texts = []
    for row in truth:
        words = list(rng.choice(filler, rng.integers(4, 12)))
        words += [str(rng.choice(telling[k])) for k in np.flatnonzero(row) if rng.random() < 0.8]
        words += [str(rng.choice(telling[k])) for k in np.flatnonzero(row == 0) if rng.random() < 0.03]
        texts.append(" ".join(words))
    return Posts(texts, truth[:, :2], rng.integers(0, n_authors, n_posts), truth[:, 2:])


def training(tokens: TokenBatch, Y: np.ndarray, groups: np.ndarray, auxiliary: np.ndarray | None = None) -> TrainingTokens:
    """Return tokenised posts in the form that `Classifier.fit_tokens` takes, by default without auxiliary labels."""
    return TrainingTokens(tokens, Y, groups, Y[:, :0] if auxiliary is None else auxiliary, np.ones(len(Y), np.float32))


def model_config(**changes: Any) -> ModelConfig:
    """Return a config with two labels, an auxiliary one, few features and three folds; `changes` replace its sections."""
    labels = LabelSet(name="two", labels=[Label(name=name, definition=name) for name in ("alpha", "beta")], auxiliary=["gamma"])
    features = Features(char_ngrams=[2, 3], char_min_df=2)
    thresholds = Thresholds(cautious=0.1)  # for which a hundred ordinary posts are enough
    sections = {"labels": labels, "features": features, "calibration": Calibration(folds=3), "thresholds": thresholds}
    return ModelConfig(**{**sections, **changes})


class StandIn:
    """Stands in for a classifier in tests of scoring; its tokenizer makes each normalised text one token."""

    @property
    def tokenizer(self) -> "StandIn":
        return self

    def read(self, texts: Sequence[str]) -> TokenBatch:
        """Stand in for `models.tokens.PostTokenizer.read`."""
        return TokenBatch.from_lists([[normalise(text)] for text in texts])

    def answers(self, texts: list[str]) -> np.ndarray:
        """Return the probabilities of normalised texts."""
        raise NotImplementedError

    def predict_proba_tokens(self, tokens: TokenBatch) -> np.ndarray:
        """Stand in for `models.Classifier.predict_proba_tokens`."""
        return self.answers([token for (token,) in tokens.to_lists()])


@pytest.fixture(scope="session")
def posts() -> Posts:
    return invent()


@pytest.fixture(scope="session")
def model(posts: Posts) -> Classifier:
    """A fitted model, which tests must not change."""
    return Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, posts.Y, posts.groups, posts.auxiliary))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Start a browser without a window, which asks no server but those of a test."""
    found = shutil.which("chromium")
    if not found:
        reason = "no chromium on the PATH: pages are not tested in a browser; install it (apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=[*flags, *quiet], chromium_sandbox=False)
        yield started
        started.close()
