#!/usr/bin/env python3
"""Measures what invented posts add to training: the learning curve in data/invented/README.md. See benchmarks/README.md."""

import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from rich.table import Table

from models import Classifier
from models.calibration import decide
from models.config import ROOT
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.behaviour import load_cases, run_cases
from pipeline.metrics import Metrics, compute_metrics
from pipeline.training import fit

INVENTED = ROOT / "data" / "invented"
CASES = ROOT / "data" / "behaviour" / "cases.csv"
SIZES = (0, 2_000, 5_000, 10_000, 100_000)  # numbers of invented posts to train on; the last takes all that there are


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read JSON Lines files."""
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Measured:
    """Results of one model on posts that it had not seen: metrics on two test splits, cases passed, and shares flagged by mistake."""

    trained_on: int
    invented: Metrics
    tweets: Metrics
    cases: float
    false_alarms: tuple[float, ...]


def _metrics(model: Classifier, rows: Sequence[dict[str, Any]]) -> Metrics:
    probabilities = model.predict_proba([row["text"] for row in rows])
    truth = np.array([[label in row["labels"] for label in model.labels] for row in rows])
    return compute_metrics(truth, probabilities, decide(probabilities, model.thresholds_), model.labels, model.thresholds_.tolist())


def measure(sources: list[str], corpora: Path, progress: Any) -> Measured:
    """Train the default config on corpora, and measure the model."""
    config = load_config([], [], sources)
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = fit(config, corpus, progress)
    cases = load_cases(str(CASES), config.labels)
    probabilities = model.predict_proba([case.text for case in cases])
    behaviour = run_cases(cases, model.labels, probabilities, decide(probabilities, model.thresholds_))
    ordinary = (corpora / "offdomain" / "tweets.jsonl", corpora / "personal" / "heldout.jsonl")
    return Measured(
        trained_on=corpus.splits["train"].num_rows,
        invented=_metrics(model, read(sorted(INVENTED.glob("test-*.jsonl")))),
        tweets=_metrics(model, read([corpora / "metoo2017" / "test.jsonl"])),
        cases=behaviour.rate or 0.0,
        false_alarms=tuple(float(model.predict([row["text"] for row in read([path])]).any(axis=1).mean()) for path in ordinary),
    )


def _trainings(real: list[str], part: str, most: int) -> Iterator[tuple[str, list[str], int]]:
    """Yield the name of each training, its sources, and how many invented posts it takes."""
    for size in (min(size, most) for size in SIZES):
        yield f"tweets + {size:,} invented", [*real, f"train={part}"] if size else real, size
    yield "invented alone", [f"train={part}"], most


def curve(
    corpora: Annotated[Path, typer.Option(help="Folder with metoo2017, offdomain and personal; they are not in this repository.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to.")] = None,
) -> None:
    """Train on real tweets with more and more invented posts, and on invented posts alone, and measure each model."""
    invented = read(sorted(INVENTED.glob("train-*.jsonl")))
    random.Random(0).shuffle(invented)  # noqa: S311 - the same sample each time
    real = [str(corpora / "metoo2017"), f"train={corpora / 'offdomain' / 'negatives_train.jsonl'}"]
    table = Table("training", "posts", "invented F1", "mAP", "tweets F1", "mAP", "cases", "tweets flagged", "personal flagged")
    figures = {}
    with terminal.steps() as progress, TemporaryDirectory() as folder:
        part = Path(folder) / "train.jsonl"
        for name, sources, size in _trainings(real, str(part), len(invented)):
            part.write_text("".join(json.dumps(row) + "\n" for row in invented[:size]), "utf-8")
            found = measure(sources, corpora, lambda step, name=name: progress(f"{name}: {step}"))
            of = [found.invented.macro_f1, found.invented.mean_average_precision, found.tweets.macro_f1]
            of += [found.tweets.mean_average_precision, found.cases, *found.false_alarms]
            figures[name] = {"posts": found.trained_on, "figures": of}
            table.add_row(name, f"{found.trained_on:,}", *(f"{value:.3f}" for value in of if value is not None))
            terminal.output().print(table)
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    terminal.run(curve)
