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

from benchmarks.ablation import RELEASED
from models import Classifier
from models.arrays import Labels, Probabilities
from models.calibration import tune_threshold
from models.config import LabelSet, Thresholds
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus

TOLERANCES = [0.003, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04]
CONFIDENCE = 0.95
TRIGGER = "tweets_offdomain"  # source of the tweets with a trigger word; ordinary tweets name none

Flags = NDArray[np.bool_]


def flagged(decided: Flags) -> str:
    """How many posts get a label, and in brackets the upper limit of the share, in percent, by the exact binomial test."""
    if not len(decided):
        return "no posts"
    test = binomtest(int(decided.any(axis=1).sum()), len(decided), alternative="less")
    return f"{test.k} ({100 * test.proportion_ci(CONFIDENCE).high:.2f})"


def by_tolerance(Y: Labels, probabilities: Probabilities, trigger: Flags, ordinary: Flags, labels: LabelSet, wanted: Thresholds) -> Table:
    """A row for each tolerance.

    Parameters
    ----------
    Y, probabilities : ndarray, shape (n_posts, n_labels)
        Held-out probabilities, which thresholds are tuned on.
    trigger, ordinary : ndarray of bool, shape (n_posts,)
        Which posts without any label hold a trigger word, and which were not chosen for one.
    labels : LabelSet
    wanted : Thresholds
        But for the tolerance.
    """
    harm = np.array([label not in labels.support for label in labels.names])
    table = Table(
        "tolerance",
        "macro-F1, %",
        f"of {trigger.sum():,} with a trigger word, any label",
        f"of {ordinary.sum():,} ordinary, harassment or assault",
        "ordinary, solidarity",
        title=f"flagged on held-out folds of train (in brackets: percent at most, with {CONFIDENCE:.0%} confidence)",
    )
    for tolerance in TOLERANCES:
        here = wanted.model_copy(update={"tolerance": tolerance})
        decided = probabilities >= [tune_threshold(y, p, here, name) for y, p, name in zip(Y.T, probabilities.T, labels.names, strict=True)]
        table.add_row(
            f"{tolerance:g}",
            f"{100 * f1_score(Y, decided, average='macro'):.1f}",
            flagged(decided[trigger]),
            flagged(decided[ordinary][:, harm]),
            flagged(decided[ordinary][:, ~harm]),
        )
    return table


def measure(
    data: Annotated[
        list[str],
        typer.Option(
            help="As of train.py: the corpora of models/released, for its figures; may be repeated. Of posts without any label, "
            f"source {TRIGGER} marks those with a trigger word, and no source the ordinary ones."
        ),
    ],
) -> None:
    """Cross-validate the released config, and show each tolerance."""
    config = load_config([RELEASED], [], data)
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = Classifier.from_config(config.of_model())
    posts = corpus.to_learn_from()
    with terminal.steps() as progress:
        model.cross_validate(posts.tokenised(model.tokenizer), progress)
    without = ~np.hstack([posts.Y, posts.auxiliary]).any(axis=1)
    trigger, ordinary = (without & (np.array(corpus.splits["train"]["source"], object) == source) for source in (TRIGGER, None))
    terminal.output().print(by_tolerance(posts.Y, model.held_out_, trigger, ordinary, config.labels, config.thresholds))


if __name__ == "__main__":
    terminal.run(measure)
