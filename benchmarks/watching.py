#!/usr/bin/env python3
"""Measures `disclosure watch` and `score.py --unfamiliar`: false alarms, alarms on other posts, bands that are right.

A model is trained on the posts of half of the authors, and the other half are the stream, whose labels are known. See
benchmarks/README.md.
"""

import csv
import json
import sys
from collections import Counter
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
from pipeline.watching.expected import expect
from pipeline.watching.familiarity import Familiarity
from pipeline.watching.results import Expected, Group
from pipeline.watching.stream import Stream
from pipeline.watching.watch import look_at

LANGUAGES = Path(__file__).resolve().parent / "languages.csv"
BATCH = 2_000
INVENTED = LANGUAGES.parent.parent / "data/invented/test-01.jsonl"
SHARES = (0.1, 0.25, 0.5, 1.0)  # of other posts in a night


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


def holds(expected: dict[str, Expected], stream: Stream, Y: Labels, labels: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield the label and the measure of each band, and whether it contains the true value."""
    for k, label in enumerate(labels):
        for name, value in truth_of(stream.decided[:, k], Y[:, k]).items():
            if (band := getattr(expected[label], name).band) is not None:
                yield label, name, band[0] <= value <= band[1]


def significant(group: Group, limits: Watch) -> bool:
    """Return whether any difference is real at the level set, however small it is."""
    p = [drift.p for drift in group.drift.values()] + ([group.two_sample.p] if group.two_sample else [])
    return min(p) < limits.level


def counted(held: dict[str, list[bool]]) -> dict[str, list[float]]:
    """Return, for each name, how many bands are right, out of how many, and the 95 % interval of this share."""
    return {name: [int(sum(found)), len(found), *wilson_interval(sum(found), len(found), 0.95)] for name, found in held.items()}


def repeated(
    model: Classifier, stream: Stream, Y: Labels, size: int, repeats: int, limits: Watch, rng: np.random.Generator
) -> dict[str, Any]:
    """Compare two nights drawn from one stream, again and again; count alarms, and bands that are right.

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
    alarms, real, held, chance = Counter[str](), Counter[str](), dict[str, list[bool]](), dict[str, list[bool]]()
    for _ in range(repeats):
        drawn = rng.permutation(len(stream))[: 2 * size]
        night, fresh = drawn[:size], drawn[size:]
        tonight = stream.take(fresh)
        for name, reference in (("a night", stream.take(night)), ("the training posts", None)):
            (group,) = look_at([(None, None, tonight)], reference, model.reference_, model.labels, limits)
            alarms[name] += bool(group.alarms)
            real[name] += significant(group, limits)
        for label, name, held_it in holds(group.expected, tonight, Y[fresh], model.labels):
            held.setdefault(name, []).append(held_it)
            if name == "f1":
                held.setdefault(f"f1 of {label}", []).append(held_it)
        for _, name, held_it in holds(expect(tonight, model.labels, None, limits.confidence), tonight, Y[fresh], model.labels):
            chance.setdefault(name, []).append(held_it)
    return {
        "repeats": repeats,
        "alarms, compared with": {name: alarms[name] for name in real},
        "any difference significant, however small": dict(real),
        "bands that hold the truth": counted(held),
        "bands of chance alone that hold the truth": counted(chance),
    }


def others(corpora: Path) -> dict[str, list[dict[str, Any]]]:
    """Return posts that the stream does not hold, by kind, with labels where they are known."""

    def rows(path: Path, source: str = "") -> list[dict[str, Any]]:
        found = (json.loads(line) for line in path.read_text("utf-8").splitlines())
        return [row for row in found if source in str(row.get("source", ""))]

    with LANGUAGES.open(encoding="utf-8", newline="") as file:
        foreign = list(csv.DictReader(file))
    return {
        "personal talk": rows(corpora / "personal/heldout.jsonl"),
        "Instagram captions": rows(corpora / "platforms/unlabeled.jsonl", "instagram"),
        "other platforms": rows(corpora / "platforms/train.jsonl"),
        "invented posts": rows(INVENTED),
        "tweets on anything else": rows(corpora / "offdomain/tweets.jsonl"),
        "other languages": foreign,
    }


def joined(one: Stream, other: Stream) -> Stream:
    """Return the posts of two streams as one."""
    probabilities, decided = (np.concatenate([getattr(each, name) for each in (one, other)]) for name in ("probabilities", "decided"))
    return Stream(probabilities, decided, np.concatenate([each.measures for each in (one, other) if each.measures is not None]), {}, [])


def mixed(model: Classifier, stream: Stream, other: Stream, share: float, size: int, rng: np.random.Generator) -> tuple[Stream, Group, Any]:
    """Draw two nights, and replace a share of one by other posts; return it, what watching finds in it, and which posts it has."""
    foreign, drawn = rng.permutation(len(other))[: round(share * size)], rng.permutation(len(stream))
    tonight = joined(other.take(foreign), stream.take(drawn[: round(len(foreign) / share) - len(foreign)]))
    (group,) = look_at([(None, None, tonight)], stream.take(drawn[-size:]), model.reference_, model.labels, Watch())
    return tonight, group, foreign


def shifted(
    model: Classifier, stream: Stream, rows: Sequence[dict[str, Any]], size: int, draws: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Count alarms on nights with a share of other posts, or with nothing else; for the latter, also count the bands that are right.

    Parameters
    ----------
    model : Classifier
    stream : Stream
        Posts from which the nights are drawn.
    rows : sequence of dict
        The other posts.
    size, draws : int
        Posts in each night, and nights for each share.
    rng : numpy.random.Generator
    """
    other, alarms, held, found = stream_of(model, [row["text"] for row in rows]), dict[str, int](), dict[str, list[bool]](), Counter[str]()
    Y = np.array([[label in row.get("labels", ()) for label in model.labels] for row in rows], np.int8)
    for share in SHARES:
        alarms[f"{share:.0%}"] = 0
        for _ in range(draws):
            tonight, group, chosen = mixed(model, stream, other, share, size, rng)
            alarms[f"{share:.0%}"] += group.void
            if share == 1:
                found.update(["a classifier"] if group.two_sample and group.two_sample.alarm else [])
                found.update(name for name, drift in group.drift.items() if drift.alarm)
                for _, name, held_it in holds(group.expected, tonight, Y[chosen], model.labels) if "labels" in rows[0] else ():
                    held.setdefault(name, []).append(held_it)
    return {
        "posts": len(rows),
        "nights of each kind": draws,
        "alarms, by share of these posts": alarms,
        "what was past a limit": dict(found),
        "bands that hold the truth": counted(held),
    }


def unfamiliar(model: Classifier, kinds: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Return the share of unfamiliar posts by kind of post, and by language.

    Parameters
    ----------
    model : Classifier
    kinds : dict of str to list of dict
        Posts by kind.
    """
    foreign = kinds.get("other languages", [])
    languages = {
        f"language {name}": [row for row in foreign if row["language"] == name] for name in sorted({row["language"] for row in foreign})
    }
    shares = {}
    for name, rows in (kinds | languages).items():
        measures = stream_of(model, [row["text"] for row in rows]).measures
        shares[name] = 0.0 if measures is None else round(float(measures[:, -1].mean()), 4)
    return shares


def main(
    corpora: Annotated[Path, typer.Option(help="Folder of the corpora, with metoo2017, platforms, personal and offdomain.")],
    repeats: Annotated[int, typer.Option(min=1, help="Number of pairs of nights.")] = 200,
    draws: Annotated[int, typer.Option(min=1, help="Number of nights of each kind with other posts.")] = 10,
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
            found[f"one stream, model {number + 1}"] = repeated(
                model, stream, Y, size, repeats // splits + (number < repeats % splits), Watch(), rng
            )
        kinds = others(corpora)
        for name, rows in kinds.items():
            progress(name)
            found[name] = shifted(model, stream, rows, size, draws, rng)
        test = (corpora / "metoo2017/test.jsonl").read_text("utf-8").splitlines()
        found["unfamiliar"] = unfamiliar(Classifier.released(), {"metoo2017 test": list(map(json.loads, test)), **kinds})
    terminal.output().print_json(data=found)


if __name__ == "__main__":
    terminal.run(main)
