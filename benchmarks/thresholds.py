#!/usr/bin/env python3
"""Measures what higher thresholds cost the released model and which false alarms they avoid, on author-disjoint folds of train.

The test split is not read. See benchmarks/README.md.
"""

import sys
from pathlib import Path
from typing import Annotated

# The packages are in the parent folder of this script's folder.
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
TRIGGER = "tweets_offdomain"  # `source` of tweets with a trigger word; ordinary tweets have no source

Flags = NDArray[np.bool_]


def flagged(decided: Flags) -> str:
    """Format how many posts get a label and, in brackets, the upper limit of the share in percent (exact binomial test)."""
    if not len(decided):
        return "no posts"
    test = binomtest(int(decided.any(axis=1).sum()), len(decided), alternative="less")
    return f"{test.k} ({100 * test.proportion_ci(CONFIDENCE).high:.2f})"


def by_tolerance(Y: Labels, probabilities: Probabilities, trigger: Flags, ordinary: Flags, labels: LabelSet, wanted: Thresholds) -> Table:
    """Make a table with a row for each tolerance.

    Parameters
    ----------
    Y, probabilities : ndarray, shape (n_posts, n_labels)
        Labels as 0 and 1, and the held-out probabilities on which thresholds are tuned.
    trigger, ordinary : ndarray of bool, shape (n_posts,)
        Which posts without any label have a trigger word, and which were not chosen for a trigger word.
    labels : LabelSet
        Names of the labels, in the order of the columns.
    wanted : Thresholds
        Settings for tuning, apart from the tolerance.
    """
    harm = np.array([label not in labels.support for label in labels.names])
    table = Table(
        "tolerance",
        "macro-F1, %",
        f"of {trigger.sum():,} with a trigger word, any label",
        f"of {ordinary.sum():,} ordinary, harassment or assault",
        "ordinary, solidarity",
        title=f"flagged on held-out folds of train (in brackets: upper limit in percent, with {CONFIDENCE:.0%} confidence)",
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
            help="Data to train on, as for train.py; for the published figures, use the corpora of models/released. Of posts without any "
            f"label, those with source {TRIGGER} count as posts with a trigger word, and those without a source as ordinary posts."
        ),
    ],
) -> None:
    """Cross-validate the released config, and show the effect of each tolerance."""
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
