#!/usr/bin/env python3
"""Measures how often intervals for the share of a label cover the truth: prediction-powered, counted, and from labelled posts alone.

The population is a labelled corpus, so the truth is known; its probabilities are from models that did not see the posts. In
each of many runs, a few posts drawn at random keep their labels. See benchmarks/README.md.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from models import Classifier
from models.arrays import Labels
from models.errors import InputError
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.prevalence import estimate_prevalence
from pipeline.metrics import wilson_interval

METHODS = {"interval": "prediction-powered", "counted": "counted", "labelled_interval": "labelled alone"}


def held_out(data: Path) -> tuple[Classifier, Labels]:
    """Cross-validate the default model on ``train.jsonl`` of a folder; return it (see `Classifier.held_out_`) and the labels."""
    config = load_config(sources=[f"train={data / 'train.jsonl'}"])
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = Classifier.from_config(config.of_model())
    posts = corpus.to_learn_from()
    model.cross_validate(posts.tokenised(model.tokenizer))
    return model, posts.Y


def thin(y: NDArray[np.int8], share: float | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Leave out positives until a label has a given share.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        The label.
    share : float or None
        Share to reach; None keeps all positives.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int
        Indices of the posts to keep.
    """
    positives, negatives = np.flatnonzero(y), np.flatnonzero(y == 0)
    wanted = len(positives) if share is None else min(len(positives), round(share / (1 - share) * len(negatives)))
    return np.concatenate([rng.choice(positives, wanted, replace=False), negatives])


def simulate(
    Y: Labels, p: NDArray[np.float32], label: str, threshold: float, labelled: int, runs: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Measure coverage and mean width of each method's 95 % intervals on a population with one label.

    Parameters
    ----------
    Y, p : ndarray, shape (n_posts, 1)
        The label as 0 and 1, and its probabilities.
    label : str
        Name of the label.
    threshold : float
        Threshold of the plain count.
    labelled : int
        Number of posts that are labelled in each run.
    runs : int
        Number of runs.
    rng : numpy.random.Generator
    """
    truth = float(Y.mean())
    covered, width = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    counted = 0.0
    for _ in range(runs):
        chosen = np.zeros(len(Y), bool)
        chosen[rng.choice(len(Y), labelled, replace=False)] = True
        found = estimate_prevalence(Y[chosen], p[chosen], p[~chosen], [label], [threshold], 0.95, 1).total.labels[label]
        counted += found.counted / runs
        rest = int((~chosen).sum())
        of_labelled = found.labelled_interval or (0.0, 1.0)
        # If no labelled post has the label, only the labelled posts have an interval.
        intervals = {
            "interval": found.interval or of_labelled,
            "counted": wilson_interval(round(found.counted * rest), rest, 0.95),
            "labelled_interval": of_labelled,
        }
        for name in METHODS:
            low, high = intervals[name]
            covered[name] += low <= truth <= high
            width[name] += (high - low) / runs
    coverage = {name: count / runs for name, count in covered.items()}
    return {"label": label, "truth": truth, "labelled": labelled, "counted": counted, "coverage": coverage, "width": width}


def _table(rows: list[dict[str, Any]], runs: int) -> Table:
    table = Table(title=f"coverage (and mean width) of 95 % intervals, {runs:,} runs")
    for name in ("label", "truth", "labelled", "positives", "mean count", *METHODS.values()):
        table.add_column(name, justify="left" if name == "label" else "right")
    for row in rows:
        cells = [f"{row['coverage'][name]:.1%} ({row['width'][name]:.1%})" for name in METHODS]
        positives = f"{row['truth'] * row['labelled']:.0f}"
        table.add_row(row["label"], f"{row['truth']:.1%}", str(row["labelled"]), positives, f"{row['counted']:.1%}", *cells)
    return table


def main(
    data: Annotated[Path, typer.Option(help="Folder with train.jsonl.")],
    labelled: Annotated[list[int], typer.Option(min=2, help="Number of labelled posts; may be repeated.")] = [300, 600],  # noqa: B006
    share: Annotated[list[float], typer.Option(min=0.001, max=0.5, help="Also reduce each label to this share; may be repeated.")] = [0.02],  # noqa: B006
    runs: Annotated[int, typer.Option(min=1, help="Number of runs for each label, share and size.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how often three kinds of interval cover the true share of each label."""
    rng = np.random.default_rng(seed)
    with terminal.steps() as progress:
        progress("cross-validating")
        model, Y = held_out(data)
        rows = []
        for k, label in enumerate(model.labels):
            progress(f"simulating {label}")
            for wanted in (None, *share):
                posts = thin(Y[:, k], wanted, rng)
                if max(labelled) >= len(posts):
                    raise InputError(f"--labelled {max(labelled)}: must be less than {len(posts):,}, the number of posts for {label}")
                part = (Y[posts, k : k + 1], model.held_out_[posts, k : k + 1], label, float(model.thresholds_[k]))
                rows += [simulate(*part, size, runs, rng) for size in labelled]
    console = terminal.output()
    if as_json:
        console.print_json(data=rows)
    else:
        console.print(_table(rows, runs))


if __name__ == "__main__":
    terminal.run(main)
