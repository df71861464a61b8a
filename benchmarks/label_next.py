#!/usr/bin/env python3
"""Measures how many labels `disclosure label-next` saves: learning curves, compared with random and with the most uncertain posts.

All posts are labelled already, but a strategy sees a label only once it has chosen the post. See benchmarks/README.md.
"""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from models import Classifier
from models.arrays import Int64s, Labels, Probabilities
from models.config import ROOT
from models.errors import InputError
from models.fitting import TrainingTokens
from models.text import normalise
from models.tokens import TokenBatch
from pipeline import terminal
from pipeline.config import Config
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.corpora.near import NEAR
from pipeline.corpora.wording import outline, wording
from pipeline.metrics import compute_metrics
from pipeline.review.choosing import LABELLED, Shares, choose, entropy, group_repeats

RUN = 5  # characters, as in `pipeline.corpora.near`
# Quick to fit, and with thresholds for what is measured.
SETTINGS = ["calibration.folds=3", "thresholds.objective=f1", "thresholds.cautious=null", "thresholds.sensitive=null"]
TEST = 0.25  # share of the authors whose posts are never chosen, but measured


@dataclass(frozen=True)
class Posts:
    """Labelled posts, whose labels are only looked at once a post is chosen."""

    tokens: TokenBatch
    Y: Labels
    auxiliary: Labels
    authors: Int64s
    wordings: list[list[str]]
    groups: Int64s  # of repeats
    config: Config


def load(config: Config) -> Posts:
    """Load, tokenise and compare the train posts of a corpus."""
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    if "train" not in corpus.splits:
        raise InputError(f"{', '.join(config.data.sources)}: has no train posts; assign the file to train, as in --data train=FILE")
    texts, authors = [normalise(text) for text in corpus.splits["train"]["text"]], corpus.groups("train")
    wordings = [wording(text, normalised=True) for text in texts]
    tokens = Classifier.from_config(config.of_model()).tokenizer(texts)
    targets = (corpus.targets("train", corpus.labels), corpus.targets("train", corpus.auxiliary))
    return Posts(tokens, *targets, authors, wordings, group_repeats(wordings), config)


def fit(posts: Posts, labelled: Int64s) -> Classifier:
    """Train on the posts whose labels are known."""
    weights = np.ones(len(labelled), np.float32)
    chosen = TrainingTokens(posts.tokens.take(labelled), posts.Y[labelled], posts.authors[labelled], posts.auxiliary[labelled], weights)
    return Classifier.from_config(posts.config.of_model()).fit_tokens(chosen)


Strategy = Callable[[Posts, Int64s, Probabilities, Int64s, int, int], Int64s]


def by_label_next(posts: Posts, pool: Int64s, probabilities: Probabilities, labelled: Int64s, size: int, seed: int) -> Int64s:
    """Choose as `disclosure label-next` does."""
    groups = np.where(np.isin(posts.groups[pool], posts.groups[labelled]), LABELLED, posts.groups[pool])
    words, known = [[posts.wordings[post] for post in some.tolist()] for some in (pool, labelled)]
    order = np.random.default_rng(seed).permutation(len(pool))
    chosen = choose(probabilities, posts.config.labels.names, words, groups, posts.authors[pool], order, size, Shares(), seed, known)
    return pool[[post for post, _ in chosen]]


def by_uncertainty(posts: Posts, pool: Int64s, probabilities: Probabilities, labelled: Int64s, size: int, seed: int) -> Int64s:  # noqa: ARG001
    """Choose the posts of which the model is least sure."""
    return pool[np.argsort(-entropy(probabilities).sum(axis=1), kind="stable")[:size]]


def at_random(posts: Posts, pool: Int64s, probabilities: Probabilities, labelled: Int64s, size: int, seed: int) -> Int64s:  # noqa: ARG001
    """Choose posts at random."""
    return np.random.default_rng(seed).permutation(pool)[:size]


STRATEGIES: dict[str, Strategy] = {"label-next": by_label_next, "uncertainty alone": by_uncertainty, "random": at_random}


def near_duplicates_in(wordings: Sequence[Sequence[str]]) -> int:
    """Count the posts that repeat an earlier post of their batch, by comparing all pairs."""
    texts = [outline(words) for words in wordings]
    runs = [{text[k : k + RUN] for k in range(len(text) - RUN + 1)} for text in texts]
    repeated = set()
    for one, other in combinations(range(len(texts)), 2):
        shared = len(runs[one] & runs[other])
        if texts[one] == texts[other] or (shared and shared >= NEAR * (len(runs[one]) + len(runs[other]) - shared)):
            repeated.add(other)
    return len(repeated)


def curve(posts: Posts, strategy: str, seed: int, start: int, size: int, rounds: int) -> list[dict[str, float]]:
    """Label batch after batch, and measure a new model on the posts of other authors after each.

    Parameters
    ----------
    posts : Posts
        The corpus.
    strategy : str
        One of `STRATEGIES`.
    seed : int
        Decides which authors are left for the test, and which posts are labelled at first.
    start, size, rounds : int
        Number of posts that are labelled at first, number in a batch, and number of batches.
    """
    rng = np.random.default_rng(seed)
    for_test = np.isin(posts.authors, rng.permutation(np.unique(posts.authors))[: round(TEST * len(np.unique(posts.authors)))])
    pool, test = rng.permutation(np.flatnonzero(~for_test)), np.flatnonzero(for_test)
    labelled, pool, repeats, found = pool[:start], np.sort(pool[start:]), 0, list[dict[str, float]]()
    for number in range(rounds + 1):
        model = fit(posts, labelled)
        p = model.predict_proba_tokens(posts.tokens.take(test))
        measured = compute_metrics(posts.Y[test], p, model.decide(p), model.labels, model.thresholds_.tolist())
        scores = {"macro_f1": measured.macro_f1 or 0.0, "map": measured.mean_average_precision or 0.0}
        found.append({"labels": len(labelled), **scores, "near_duplicates": repeats})
        if number < rounds:
            p = model.predict_proba_tokens(posts.tokens.take(pool))
            batch = STRATEGIES[strategy](posts, pool, p, labelled, size, 1000 * seed + number)
            repeats = near_duplicates_in([posts.wordings[post] for post in batch.tolist()])
            labelled, pool = np.append(labelled, batch), np.setdiff1d(pool, batch)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean over the seeds and its 95 % interval (Student's t)."""
    from scipy.stats import ttest_1samp

    low, high = ttest_1samp(values, 0).confidence_interval(0.95) if len(set(values)) > 1 else (values[0], values[0])
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def labels_needed(labels: NDArray[np.float64], scores: NDArray[np.float64], wanted: float) -> float:
    """Return the number of labels at which a curve first reaches a score, interpolated; the last number if it never does."""
    reached = np.maximum.accumulate(scores)
    first = int(np.searchsorted(reached, wanted))
    if first == 0 or first == len(labels):
        return float(labels[min(first, len(labels) - 1)])
    share = (wanted - reached[first - 1]) / (reached[first] - reached[first - 1])
    return float(labels[first - 1] + share * (labels[first] - labels[first - 1]))


def summarise(curves: dict[str, list[list[dict[str, float]]]]) -> dict[str, Any]:
    """Compare the curves of each strategy with those of random choice, seed by seed."""

    def column(name: str, key: str) -> NDArray[np.float64]:
        return np.array([[point[key] for point in one] for one in curves[name]])

    labels, compared = column("random", "labels")[0], dict[str, Any]()

    def needed(name: str, key: str) -> NDArray[np.float64]:
        best = column("random", key).max(axis=1)
        return np.array([labels_needed(labels, one, wanted) for one, wanted in zip(column(name, key), best.tolist(), strict=True)])

    def gained(name: str, key: str) -> list[float]:
        return (np.trapezoid(column(name, key) - column("random", key), labels) / np.ptp(labels)).tolist()  # type: ignore[no-any-return]

    for name in curves:
        scores = column(name, "macro_f1")
        compared[name] = {
            "area": interval((np.trapezoid(scores, labels) / np.ptp(labels)).tolist()),
            "gained": interval(gained(name, "macro_f1")),
            "gained_map": interval(gained(name, "map")),
            "needed": interval(needed(name, "macro_f1").tolist()),
            "saved": interval((needed("random", "macro_f1") - needed(name, "macro_f1")).tolist()),
            "saved_map": interval((needed("random", "map") - needed(name, "map")).tolist()),
            "macro_f1": scores.mean(axis=0).tolist(),
            "near_duplicates": float(column(name, "near_duplicates").sum(axis=1).mean()),
        }
    return {"labels": labels.tolist(), "strategies": compared}


def _show(found: dict[str, Any], title: str) -> None:
    def shown(value: dict[str, float], digits: int = 3) -> str:
        return f"{value['mean']:,.{digits}f} [{value['low']:,.{digits}f}, {value['high']:,.{digits}f}]"

    every = range(0, len(found["labels"]), max(1, (len(found["labels"]) - 1) // 4))
    table = Table("strategy", *(f"{found['labels'][k]:,.0f}" for k in every), "area", "over random", "labels saved", "near-duplicates")
    for name, row in found["strategies"].items():
        scores = [f"{row['macro_f1'][k]:.3f}" for k in every]
        saved = shown(row["saved"], 0)
        table.add_row(name, *scores, shown(row["area"]), shown(row["gained"]), saved, f"{row['near_duplicates']:.1f}")
    table.title = title
    terminal.output().print(table)


def main(
    data: Annotated[list[str], typer.Option(help="Labelled posts, as in train.py; only train posts are used. Repeatable.")],
    config: Annotated[list[Path], typer.Option(help="As in train.py.")] = [ROOT / "configs/experiments/fast.yaml"],  # noqa: B006
    start: Annotated[int, typer.Option(min=10, help="Posts that are labelled at first, at random.")] = 300,
    size: Annotated[int, typer.Option(min=1, help="Posts in a batch.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Number of batches.")] = 8,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Draw learning curves: macro-F1 on other authors' posts by number of labels, for each way to choose posts."""
    posts = load(load_config(config, SETTINGS, data))
    tasks = [(name, seed) for seed in range(seeds) for name in STRATEGIES]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(curve, posts, name, seed, start, size, rounds) for name, seed in tasks]
        curves: dict[str, list[list[dict[str, float]]]] = {name: [] for name in STRATEGIES}
        for (name, seed), job in zip(tasks, jobs, strict=True):
            curves[name].append(job.result())
            print(f"{name}, seed {seed}: macro-F1 {curves[name][-1][-1]['macro_f1']:.3f}", file=sys.stderr, flush=True)
    found = summarise(curves)
    if as_json:
        print(json.dumps({**found, "curves": curves}, indent=1))
    else:
        _show(found, f"macro-F1 by number of labels, {seeds} seeds (95 % intervals)")


if __name__ == "__main__":
    terminal.run(main)
