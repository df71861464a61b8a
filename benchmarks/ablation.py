#!/usr/bin/env python3
"""Measures what each part of the released model adds, on author-disjoint folds of train; the test split is not read.

See benchmarks/README.md.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from rich.table import Table

from models import Classifier
from models.calibration import decide
from models.config import ROOT
from models.fitting import cross_validate, lessons_of
from models.lessons import Lesson
from pipeline import terminal, tracking
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.bootstrap import compare, intervals, metrics_by_round, resample
from pipeline.evaluation.results import Differences, Intervals
from pipeline.metrics import Metrics, compute_metrics
from pipeline.result_base import Interval

RELEASED = ROOT / "configs" / "released.yaml"
ROUNDS, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Variant:
    """A config, and the parts of the lessons that its network learns from (see `models.lessons.Lesson.sizes`).

    Without any part, there is no network.
    """

    name: str
    settings: tuple[str, ...] = ()
    parts: tuple[bool, bool, bool] = (True, True, True)


_NONE = (False, False, False)  # a config without a network would have other folds
_OPEN = ("features.min_authors=1", "features.private=keep", "features.char_min_df=3")
VARIANTS = [
    Variant("linear, any vocabulary", _OPEN, _NONE),
    Variant("linear, vocabulary that may be published", parts=_NONE),
    Variant("and a network that learns from the labels alone", parts=(True, False, False)),
    Variant("and answers for unlabelled posts", parts=(True, True, False)),
    Variant("and answers for composed posts: the released model"),
]


def _part_of(lessons: Iterator[Lesson | None], parts: tuple[bool, bool, bool]) -> Iterator[Lesson | None]:
    """Yield lessons with only those kinds of posts (labelled, unlabelled, composed) that `parts` marks as wanted."""
    for lesson in lessons:
        if lesson is None:
            yield None
            continue
        wanted = np.repeat(parts, lesson.sizes)
        yield Lesson(lesson.posts.take(np.flatnonzero(wanted)), lesson.targets[wanted], lesson.weights[wanted], lesson.sizes)


def _cell(value: float | None, interval: Interval | None, sign: str = "") -> str:
    """Format a number and its interval in percent."""
    if value is None or interval is None:
        return "undefined"
    low, high = interval
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _row(name: str, metrics: Metrics, within: Intervals, versus: Differences | None) -> list[str]:
    cells = [name]
    for metric in ("macro_f1", "mean_average_precision"):
        cells.append(_cell(getattr(metrics, metric), getattr(within, metric)))
        compared = versus and getattr(versus, metric)
        cells.append(_cell(compared.difference, compared.interval, "+") if compared else "")
    return cells


def measure(
    data: Annotated[
        list[str], typer.Option(help="Training data, as for train.py, such as the corpora of models/released; may be repeated.")
    ],
) -> None:
    """Measure each variant, compare it with the first, and track it as an MLflow run."""
    table = Table("variant", "macro-F1", "against the first", "mAP", "against the first", title="held-out folds of train, percent")
    first = None
    with terminal.steps() as progress:
        for variant in VARIANTS:
            config = load_config([RELEASED], variant.settings, data)
            corpus = load_corpus(config.data, config.labels, seed=config.seed)
            classifier, posts = Classifier.from_config(config.of_model()), corpus.to_learn_from()
            Y, labels = posts.Y, corpus.labels

            def told(step: str, name: str = variant.name) -> None:
                progress(f"{name}: {step}")

            def lessons(*given: Any, parts: tuple[bool, bool, bool] = variant.parts) -> Iterator[Lesson | None]:
                return _part_of(lessons_of(*given), parts) if any(parts) else repeat(None)

            found = cross_validate(classifier.config, posts.tokenised(classifier.tokenizer), told, lessons)
            decided = decide(found.held_out, found.thresholds)
            metrics = compute_metrics(Y, found.held_out, decided, labels, found.thresholds.tolist())
            by_round = metrics_by_round(Y, found.held_out, decided, resample(posts.groups[: len(Y)], ROUNDS, config.seed))
            within = intervals(metrics, by_round, CONFIDENCE)
            versus = compare(metrics, by_round, *first, CONFIDENCE) if first else None
            first = first or (metrics, by_round)
            tracking.connect(config.tracking)
            with tracking.run(f"ablation {variant.name}", Path("mlflow.db")):
                tracking.log_config(config)
                dataset = tracking.log_corpus(corpus, config.data.sources, "training")
                tracking.log_metrics(metrics.model_dump(), {}, "held-out folds of train", dataset, None)
            table.add_row(*_row(variant.name, metrics, within, versus))
            terminal.output().print(table)


if __name__ == "__main__":
    terminal.run(measure)
