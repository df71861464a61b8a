#!/usr/bin/env python3
"""Measures `disclosure watch` and `score.py --unfamiliar`: false alarms, alarms on other posts, bands that hold the truth.

A model is trained on the posts of half of the authors, and the other half are the stream, whose labels are known. See
benchmarks/README.md.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.typing import NDArray

from models import Classifier
from models.arrays import Labels
from pipeline import terminal
from pipeline.config import Watch
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.metrics import wilson_interval
from pipeline.watching.familiarity import Familiarity
from pipeline.watching.results import Group
from pipeline.watching.stream import Stream
from pipeline.watching.watch import look_at

LANGUAGES = Path(__file__).resolve().parent / "languages.csv"
BATCH = 2_000
FEWER = Watch(min_posts=50)  # a hundred sentences in other languages are few
MEASURES = ("share", "precision", "recall", "f1")


def stream_of(model: Classifier, texts: Sequence[str]) -> Stream:
    """Score texts as ``score.py --unfamiliar`` does.

    Parameters
    ----------
    model : Classifier
    texts : sequence of str
    """
    measure, probabilities, measures = Familiarity(model), [], []
    for start in range(0, len(texts), BATCH):
        few = texts[start : start + BATCH]
        tokens = model.tokenizer.read(few)
        probabilities.append(model.predict_proba_tokens(tokens))
        measures.append(measure(few, tokens))
    found = np.concatenate(probabilities)
    return Stream(found, model.decide(found).astype(bool), np.concatenate(measures), {}, [])


def two_halves(data: Path, config_files: Sequence[Path], rng: np.random.Generator) -> tuple[Classifier, Stream, Labels]:
    """Train on the posts of half of the authors of ``train.jsonl``, and score those of the other half.

    Parameters
    ----------
    data : Path
        Folder of the corpus.
    config_files : sequence of Path
        Configs of the model.
    rng : numpy.random.Generator
    """
    config = load_config(config_files, sources=[f"train={data / 'train.jsonl'}"])
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    posts = corpus.to_learn_from()
    half = (rng.permutation(posts.groups.max() + 1) % 2 == 0)[posts.groups]
    kept, rest = np.flatnonzero(half), np.flatnonzero(~half)
    texts = np.array(posts.texts, object)
    model = Classifier.from_config(config.of_model()).fit(texts[kept].tolist(), posts.Y[kept], posts.groups[kept].tolist())
    return model, stream_of(model, texts[rest].tolist()), posts.Y[rest]


def truth_of(given: NDArray[np.bool_], y: NDArray[np.int8]) -> dict[str, float]:
    """Return what labels show, by measure; those that are not defined are left out."""
    correct, having = float((given & (y == 1)).sum()), float(y.sum())
    found = {"share": having / len(y)}
    if given.sum() and having:
        found |= {"precision": correct / given.sum(), "recall": correct / having, "f1": 2 * correct / (given.sum() + having)}
    return found


def holds(group: Group, stream: Stream, Y: Labels, labels: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield the label and the measure of each band, and whether it holds the truth."""
    for k, label in enumerate(labels):
        for name, value in truth_of(stream.decided[:, k], Y[:, k]).items():
            if (band := getattr(group.expected[label], name).band) is not None:
                yield label, name, band[0] <= value <= band[1]


def repeated(
    model: Classifier, stream: Stream, Y: Labels, size: int, repeats: int, limits: Watch, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare two nights drawn from one stream, again and again; count alarms, and bands that hold the truth.

    Parameters
    ----------
    model : Classifier
    stream : Stream
        Posts that the model has not seen.
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        Their labels.
    size : int
        Posts in each night.
    repeats : int
    limits : Watch
    rng : numpy.random.Generator
    """
    alarms, significant, held = 0, 0, dict[str, list[bool]]()
    for _ in range(repeats):
        drawn = rng.permutation(len(stream))[: 2 * size]
        night, fresh = drawn[:size], drawn[size:]
        tonight = stream.take(fresh)
        (group,) = look_at([(None, None, tonight)], stream.take(night), model.reference_, model.labels, limits)
        alarms += bool(group.alarms)
        p = [drift.p for drift in group.drift.values()] + ([group.two_sample.p] if group.two_sample else [])
        significant += min(p) < limits.level
        for _, name, held_it in holds(group, tonight, Y[fresh], model.labels):
            held.setdefault(name, []).append(held_it)
    return {
        "repeats": repeats,
        "alarms": alarms,
        "any difference significant, however small": significant,
        "expected by chance, at most": limits.level,
        "bands that hold the truth": {
            name: [sum(found), len(found), *wilson_interval(sum(found), len(found), 0.95)] for name, found in held.items()
        },
    }


def others(corpora: Path) -> dict[str, list[str]]:
    """Return the texts of posts that the stream does not hold, by kind."""

    def texts(name: str, source: str = "") -> list[str]:
        rows = (json.loads(line) for line in (corpora / name).read_text("utf-8").splitlines())
        return [row["text"] for row in rows if source in str(row.get("source", ""))]

    with LANGUAGES.open(encoding="utf-8", newline="") as file:
        foreign = [row["text"] for row in csv.DictReader(file)]
    return {
        "personal talk": texts("personal/heldout.jsonl"),
        "Instagram captions": texts("platforms/unlabeled.jsonl", "instagram"),
        "tweets on anything else": texts("offdomain/tweets.jsonl"),
        "other languages": foreign,
    }


def unfamiliar(model: Classifier, kinds: dict[str, list[str]]) -> dict[str, float]:
    """Return the share of unfamiliar posts by kind of post, and by language."""
    with LANGUAGES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    languages = {
        f"language {name}": [row["text"] for row in rows if row["language"] == name] for name in {row["language"]: 0 for row in rows}
    }
    shares = {}
    for name, texts in (kinds | languages).items():
        measures = stream_of(model, texts).measures
        shares[name] = round(float(measures[:, -1].mean()), 4) if measures is not None else 0.0
    return shares


def shown(group: Group) -> dict[str, Any]:
    """Return what matters of a comparison that should raise an alarm."""
    drift = {name: [round(found.psi, 2), round(found.js, 2)] for name, found in group.drift.items() if found.alarm}
    return {
        "void": group.void,
        "auc": group.two_sample and round(group.two_sample.auc, 3),
        "past a limit (stability index, distance)": drift,
    }


def main(
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, with metoo2017, platforms, personal and offdomain.")],
    repeats: Annotated[int, typer.Option(min=1, help="Number of pairs of nights.")] = 200,
    size: Annotated[int, typer.Option(min=100, help="Posts in each night.")] = 1_500,
    splits: Annotated[int, typer.Option(min=1, help="Number of models, each trained on other authors.")] = 3,
    config: Annotated[list[Path], typer.Option(help="As in train.py: the model to train.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Measure false alarms, alarms and bands, and print them as JSON."""
    rng, found = np.random.default_rng(seed), dict[str, Any]()
    with terminal.steps() as progress:
        for number in range(splits):
            progress(f"training model {number + 1} of {splits}")
            model, stream, Y = two_halves(corpora / "metoo2017", config, rng)
            progress("comparing nights of one stream")
            found[f"one stream, model {number + 1}"] = repeated(model, stream, Y, size, repeats // splits, Watch(), rng)
        night, kinds = stream.take(rng.permutation(len(stream))[:size]), others(corpora)
        for name, texts in kinds.items():
            progress(name)
            (group,) = look_at([(None, None, stream_of(model, texts))], night, model.reference_, model.labels, FEWER)
            found[name] = shown(group)
        rows = [json.loads(line) for line in (corpora / "metoo2017/test.jsonl").read_text("utf-8").splitlines()]
        found["unfamiliar"] = unfamiliar(Classifier.released(), {"metoo2017 test": [row["text"] for row in rows], **kinds})
    terminal.output().print_json(data=found)


if __name__ == "__main__":
    terminal.run(main)
