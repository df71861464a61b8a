#!/usr/bin/env python3
"""Runs the SafeCity benchmark (Karlekar & Bansal 2018): our model on the official test split and on its new texts, and published results.

See benchmarks/README.md.
"""

import json
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
from models.arrays import Decisions, Labels
from models.config import ROOT
from models.errors import InputError
from pipeline import terminal
from pipeline.config import Config
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation.bootstrap import resample

CONFIG = ROOT / "configs" / "experiments" / "safecity.yaml"
# As printed in the papers; None if a paper does not report a score. Accuracy is for commenting, ogling and groping.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Karlekar & Bansal 2018 (CNN-RNN)": {"exact_match": None, "one_minus_hamming_loss": 82.5, "accuracy": None},
    "AD-ASH 2025": {"exact_match": 66.0, "one_minus_hamming_loss": 85.3, "accuracy": [83.2, 84.1, 88.7]},
    "experts relabelling 200 posts": {"exact_match": 53.5, "one_minus_hamming_loss": 80.8, "accuracy": None},
}


def scores(Y: Labels, decided: Decisions, rounds: int, seed: int) -> dict[str, Any]:
    """Compute exact match and 1 - Hamming loss, with 95 % bootstrap intervals, and accuracy by label, all in percent.

    Parameters
    ----------
    Y, decided : ndarray, shape (n_posts, n_labels)
        True and given labels.
    rounds, seed : int
        Number of bootstrap samples, and their random seed. The published files have no authors, so single posts are resampled.
    """
    right = decided == Y
    counts = resample(np.arange(len(Y)), rounds, seed).astype(np.float32)

    def with_interval(by_post: NDArray[np.float64]) -> dict[str, Any]:
        low, high = np.quantile(counts @ by_post / len(by_post), [0.025, 0.975]).tolist()
        return {"value": 100 * float(by_post.mean()), "interval": [100 * low, 100 * high]}

    return {
        "posts": len(Y),
        "exact_match": with_interval(right.all(axis=1).astype(np.float64)),
        "one_minus_hamming_loss": with_interval(right.mean(axis=1)),
        "accuracy": (100 * right.mean(axis=0)).tolist(),
    }


def measure(config: Config) -> dict[str, dict[str, Any]]:
    """Train on train, then measure the model and an all-zero baseline on all of test, and on its texts that are in no other split."""
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    if missing := {"train", "test"} - set(corpus.splits):
        raise InputError(
            f"{', '.join(config.data.sources)}: no {min(missing)} posts found; give --data the folder with the three published files"
        )
    model = Classifier.from_config(config.of_model())
    model.fit_tokens(corpus.to_learn_from().tokenised(model.tokenizer))
    Y = corpus.targets("test", corpus.labels)
    decided = model.decide(model.predict_proba(corpus.splits["test"]["text"]))
    new = corpus.is_new("test")
    measured = {}
    for title, answer in (("ours", decided), ("all zero", np.zeros_like(decided))):
        for posts, chosen in (("official test", np.ones(len(Y), bool)), ("its texts in no other split", new)):
            measured[f"{title}, {posts}"] = scores(Y[chosen], answer[chosen], config.evaluation.rounds, config.seed)
    return measured


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.1f} [{value['interval'][0]:.1f}, {value['interval'][1]:.1f}]"
    return "–" if value is None else f"{value:.1f}"


def table(measured: dict[str, dict[str, Any]]) -> Table:
    """Make a table of measured and published results, one row each."""
    shown = Table(title="SafeCity, percent (95 % intervals)", title_justify="left")
    for name in ("", "posts", "exact match", "1 - Hamming loss", "accuracy by label"):
        shown.add_column(name, justify="left" if not name else "right")
    for title, row in {**measured, **PUBLISHED}.items():
        by_label = " / ".join(_cell(value) for value in row["accuracy"]) if row["accuracy"] else "–"
        posts = f"{row['posts']:,}" if "posts" in row else "–"
        shown.add_row(title, posts, _cell(row["exact_match"]), _cell(row["one_minus_hamming_loss"]), by_label)
    return shown


def main(
    data: Annotated[Path, typer.Option(help="Folder with train.csv, dev.csv and test.csv as published.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Train and measure on SafeCity, and compare with published results."""
    measured = measure(load_config([CONFIG], sources=[str(data)]))
    if as_json:
        print(json.dumps({"measured": measured, "published": PUBLISHED}, indent=1))
    else:
        terminal.output().print(table(measured))


if __name__ == "__main__":
    terminal.run(main)
