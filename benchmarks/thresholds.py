#!/usr/bin/env python3
"""What higher thresholds cost the released model, and what they spare, on author-disjoint folds of train; the test split is not read.

See README.md here.
"""

import sys
from pathlib import Path
from typing import Annotated

# This script lies beside the packages, not in their parent.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from benchmarks.ablation import RELEASED, SOURCES
from models import Classifier
from models.calibration import tune_threshold
from models.card import SUPPORT
from pipeline import terminal
from pipeline.config import Thresholds, load_config
from pipeline.corpora import load_corpus
from pipeline.metrics import Labels, Probabilities

TOLERANCES = [0.003, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04]
CONFIDENCE = 0.95
TRIGGER = "tweets_offdomain"  # source of the tweets with a trigger word; ordinary tweets name none


def at_most(flagged: NDArray[np.bool_]) -> str:
    """How many posts are flagged, and the upper limit of the share in percent, by the exact binomial test."""
    if not len(flagged):
        return "no posts"
    test = binomtest(int(flagged.sum()), len(flagged), alternative="less")
    return f"{test.k} ({100 * test.proportion_ci(CONFIDENCE).high:.2f})"


def measure(
    data: Annotated[list[str] | None, typer.Option(help="As of train.py; by default the corpora of models/released.")] = None,
) -> None:
    """Cross-validate the released config, and show each tolerance."""
    config = load_config([RELEASED], [], data or SOURCES)
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = Classifier(config.of_model())
    texts, groups = corpus.to_learn_from()
    Y = corpus.targets("train", corpus.labels)
    with terminal.steps() as progress:
        model.cross_validate(model.tokenizer(texts), Y, groups, corpus.targets("train", corpus.auxiliary), progress)
    sources = np.array(corpus.splits["train"]["source"], object)
    terminal.output().print(shown(Y, model.held_out_, sources, corpus.labels))


def shown(Y: Labels, probabilities: Probabilities, sources: NDArray[np.object_], labels: list[str]) -> Table:
    """The table: a row for each tolerance."""
    unlabelled = ~Y.any(axis=1)
    trigger, ordinary = (unlabelled & (sources == source) for source in (TRIGGER, None))
    harm = np.array([label not in SUPPORT for label in labels])
    table = Table(
        "tolerance",
        "macro-F1, %",
        f"of {trigger.sum():,} with a trigger word, any label",
        f"of {ordinary.sum():,} ordinary, harassment or assault",
        "ordinary, solidarity",
        title=f"flagged on held-out folds of train (in brackets: percent at most, with {CONFIDENCE:.0%} confidence)",
    )
    for tolerance in TOLERANCES:
        wanted = Thresholds(tolerance=tolerance)
        decided = probabilities >= [tune_threshold(y, p, wanted, name) for y, p, name in zip(Y.T, probabilities.T, labels, strict=True)]
        cells = [decided[trigger].any(axis=1), decided[ordinary][:, harm].any(axis=1), decided[ordinary][:, ~harm].any(axis=1)]
        table.add_row(f"{tolerance:g}", f"{100 * f1_score(Y, decided, average='macro'):.1f}", *map(at_most, cells))
    return table


if __name__ == "__main__":
    terminal.run(measure)
