"""A teacher that knows which words of the invented posts reveal a label, and the pupils that learn from it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from conftest import Posts, model_config, training

from models import Classifier
from models.composition import Neighbours
from models.config import Model, ModelConfig, Network
from models.fitting import material_of
from models.lessons import Lessons, Material, posts_digest
from models.tokens import TokenBatch
from pipeline.config import Config
from pipeline.config_files import load_config
from pipeline.corpora import Corpus, load_corpus

TARGETS = ["alpha", "beta", "gamma"]
_STEMS = ("zax", "wik", "qor")
_ALIKE = ["ba", "de", "fi", "zaxa", "zaxo", "unheard"]


def log_odds(posts: TokenBatch) -> np.ndarray:
    """Return the teacher's answers, shape (n_posts, 3)."""
    telling = [[any(token.startswith(stem) for token in post) for stem in _STEMS] for post in posts.to_lists()]
    return np.where(np.reshape(telling, (-1, 3)), 2.5, -2.5).astype(np.float16)


def alike(words: list[str]) -> Neighbours:
    """Return neighbours by which each word may be replaced by one of the two after it, by the first of them three times as often."""
    numbers = np.arange(len(words))
    nearest = np.stack([np.roll(numbers, -1), np.roll(numbers, -2)], axis=1).astype(np.int32)
    return Neighbours(words, nearest, np.full(nearest.shape, [0.75, 0.25], np.float16))


def lessons_of(material: Material, targets: list[str] = TARGETS, composed: int = 30) -> Lessons:
    near = alike(_ALIKE)
    answers = np.repeat(log_odds(material.posts.take(material.unlabelled))[:, None], material.folds + 1, axis=1)
    posts = [material.compose(fold, near, composed) for fold in range(material.folds)]
    of_composed = np.stack([*map(log_odds, posts)])
    return Lessons(
        targets, material.digest, material.fold.astype(np.uint8), answers, of_composed, of_composed, [*map(posts_digest, posts)], near
    )


def taught_config(lessons: Path, epochs: int = 12, **changes: Any) -> ModelConfig:
    network = Network(lessons=str(lessons), dimensions=8, filters=16, width=3, hidden=8, epochs=epochs)
    return model_config(**{"model": Model(network=network), **changes})


@dataclass(frozen=True)
class Class:
    """Train posts followed by unlabelled ones, in the form that `Classifier.fit` takes, and a config with their lessons."""

    posts: Posts
    tokens: TokenBatch
    groups: np.ndarray
    config: ModelConfig

    def fit(self, config: ModelConfig | None = None) -> Classifier:
        return Classifier.from_config(config or self.config).fit_tokens(
            training(self.tokens, self.posts.Y, self.groups, self.posts.auxiliary)
        )


# Ordinary English words, which a teacher may put into other posts; the words that reveal a label are invented.
_ORDINARY = ["today", "we", "walked", "by", "the", "river", "and", "nobody", "said", "a", "word", "about", "rain", "or", "bread"]


def write_posts(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(start: int, stop: int, **fields: Any) -> list[dict[str, Any]]:
    """Return posts by authors who wrote two each; every second post contains a word that reveals a label."""
    rng = np.random.default_rng(start)
    rows = []
    for number in range(start, stop):
        words = rng.choice(_ORDINARY, 6).tolist()
        told = [number // 2 % 3] if number % 2 else []
        words += [f"{_STEMS[k]}a" for k in told]
        author = f"author{number // 2}"
        rows.append({"id": f"p{number}", "text": " ".join(words), "author": author, "labels": [TARGETS[k] for k in told], **fields})
    return rows


@dataclass(frozen=True)
class Files:
    """A corpus with unlabelled posts, a config, and the path where it expects the lessons."""

    folder: Path

    @property
    def lessons(self) -> Path:
        return self.folder / "lessons.safetensors"

    @property
    def options(self) -> list[str]:
        sources = [f"train={self.folder / 'train.jsonl'}", f"unlabelled={self.folder / 'more.jsonl'}"]
        return ["--config", str(self.folder / "taught.yaml"), *(part for source in sources for part in ("--data", source))]

    def load(self) -> tuple[Config, Corpus]:
        config = load_config([Path(self.options[1])], (), self.options[3::2])
        return config, load_corpus(config.data, config.labels, seed=config.seed)

    @property
    def material(self) -> Material:
        config, corpus = self.load()
        model = Classifier.from_config(config.of_model())
        posts = corpus.to_learn_from()
        return material_of(model.config, posts.tokenised(model.tokenizer))


def write_files(folder: Path) -> Files:
    write_posts(folder / "train.jsonl", [row | {"text": row["text"].upper()} for row in rows_of(0, 72)])  # normalising undoes this
    write_posts(folder / "more.jsonl", rows_of(100, 120))
    labels = [{"name": name, "definition": name} for name in TARGETS[:2]]
    network = {"lessons": str(folder / "lessons.safetensors"), "dimensions": 4, "filters": 6, "width": 3, "hidden": 5, "epochs": 2}
    config = {
        "labels": {"name": "two", "labels": labels, "auxiliary": TARGETS[2:]},
        "features": {"char_ngrams": None},
        "calibration": {"folds": 3},
        "model": {"network": network},
    }
    (folder / "taught.yaml").write_text(yaml.safe_dump(config))
    return Files(folder)
