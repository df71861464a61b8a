#!/usr/bin/env python3
"""What each part of the released model gives, on author-disjoint folds of train; the test split is not read. See README.md here."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

# This script lies beside the packages, not in their parent.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from rich.table import Table

from models import Classifier
from models.config import ROOT
from models.lessons import Lesson
from pipeline import terminal, tracking
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.bootstrap import compare, intervals, metrics_by_round, resample
from pipeline.metrics import compute_metrics

CORPORA = ROOT.parent / "shared" / "data"
SOURCES = [
    str(CORPORA / "metoo2017"),
    f"train={CORPORA}/offdomain/negatives_train.jsonl",
    f"unlabelled={CORPORA}/metoo2017/unlabeled.jsonl",
]
RELEASED = ROOT / "configs" / "released.yaml"
ROUNDS, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Variant:
    """A config, and whether its network learns from each part of the lessons (see `models.lessons.Lesson.sizes`)."""

    name: str
    settings: tuple[str, ...] = ()
    parts: tuple[bool, bool, bool] = (True, True, True)


_OPEN = ("features.min_authors=1", "features.private=keep", "features.char_min_df=3")
VARIANTS = [
    Variant("linear, any vocabulary", ("model.network=null", *_OPEN)),
    Variant("linear, vocabulary that may be published", ("model.network=null",)),
    Variant("and a network taught labels alone", parts=(True, False, False)),
    Variant("and answers for unlabelled posts", parts=(True, True, False)),
    Variant("and answers for composed posts: the released model"),
]


class _Taught(Classifier):
    """A classifier whose network learns from a part of the lessons."""

    variant: Variant

    def _lessons(self, *given: Any) -> Iterator[Lesson | None]:
        for lesson in super()._lessons(*given):
            if lesson is None:
                yield None
                continue
            wanted = np.repeat(self.variant.parts, lesson.sizes)
            yield Lesson(lesson.posts.take(np.flatnonzero(wanted)), lesson.targets[wanted], lesson.sizes)


def _row(name: str, metrics: dict[str, Any], within: dict[str, Any], versus: dict[str, Any] | None) -> list[str]:
    cells = [name]
    for metric in ("macro_f1", "mean_average_precision"):
        low, high = within[metric]
        cells.append(f"{100 * metrics[metric]:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        if versus:
            change, (low, high) = versus[metric]["difference"], versus[metric]["interval"]
            cells.append(f"{100 * change:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        else:
            cells.append("")
    return cells


def measure(
    data: Annotated[list[str] | None, typer.Option(help="As of train.py; by default the corpora of models/released.")] = None,
) -> None:
    """Measure each variant against the first, and keep each as an MLflow run."""
    table = Table("variant", "macro-F1", "against the first", "mAP", "against the first", title="held-out folds of train, percent")
    first = None
    with terminal.steps() as progress:
        for variant in VARIANTS:
            config = load_config([RELEASED], variant.settings, data or SOURCES)
            corpus = load_corpus(config.data, config.labels, seed=config.seed)
            model = _Taught(config.of_model())
            model.variant = variant
            posts = corpus.to_learn_from()
            Y = posts.Y

            def told(step: str, name: str = variant.name) -> None:
                progress(f"{name}: {step}")

            model.cross_validate(model.tokenizer(posts.texts), Y, posts.groups, posts.auxiliary, told)
            decided = model.decide(model.held_out_)
            metrics = compute_metrics(Y, model.held_out_, decided, model.labels, model.thresholds_.tolist())
            by_round = metrics_by_round(Y, model.held_out_, decided, resample(posts.groups[: len(Y)], ROUNDS, config.seed))
            within = intervals(metrics, by_round, model.held_out_, CONFIDENCE)
            versus = compare(metrics, by_round, *first, CONFIDENCE) if first else None
            first = first or (metrics, by_round)
            tracking.connect(config.tracking)
            with tracking.run(f"ablation: {variant.name}", corpus.sha256, Path("mlflow.db")):
                tracking.log_config(config)
                tracking.log_corpus(corpus, config.data.sources, "training")
                tracking.log_metrics(metrics, {}, "held-out folds of train", None)
            table.add_row(*_row(variant.name, metrics, within, versus))
            terminal.output().print(table)


if __name__ == "__main__":
    terminal.run(measure)
