#!/usr/bin/env python3
"""Measures how often promises are kept if authors write many posts and labels are rare, with today's methods and with earlier ones.

The posts are invented, so that the truth is known and no corpus is needed. See benchmarks/README.md.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.random import Generator
from rich.table import Table
from scipy.stats import binom

from models.arrays import Float64s, Int64s
from models.operating_points import each_confidence, one_by_each, sensitive_threshold
from pipeline import terminal
from pipeline.evaluation.bootstrap import intervals, metrics_by_round, resample
from pipeline.evaluation.prevalence import estimate_prevalence
from pipeline.metrics import compute_metrics, expected_calibration_error, wilson_interval

RESAMPLES = 400
SURE, RECALL = 0.9, 0.9


class Kept(NamedTuple):
    """How often a promise was kept, in percent."""

    what: str
    promised: float
    before: float
    now: float


def _by_author(authors: int, most: int, rng: Generator) -> Int64s:
    """Return the author of each post; authors wrote one to `most` posts."""
    return np.repeat(np.arange(authors), rng.integers(1, most + 1, authors))


def _alike(author: Int64s, share: float, labels: int, rng: Generator) -> Float64s:
    """Return scores from 0 to 1, uniform, of which this share is equal for all posts by an author, shape (n_posts, labels)."""
    same = rng.random((len(author), labels)) < share
    return np.where(same, rng.random((author.max() + 1, labels))[author], rng.random((len(author), labels)))


def thresholds(runs: int, rng: Generator) -> Iterator[Kept]:
    """Choose thresholds for a recall by an exact test: on all posts with a label, and on one such post by each author."""
    for most, share in ((1, 1.0), (4, 0.5), (8, 0.5), (8, 1.0)):
        held = np.zeros((4, runs), bool)
        for run in range(runs):
            author = _by_author(150, most, rng)
            scores = _alike(author, share, 4, rng)  # the recall of threshold t is 1 - t, as scores are uniform
            drawn = one_by_each(author, np.ones(len(author), bool))
            one_label = each_confidence(SURE, 4, together=False)
            all_labels = each_confidence(SURE, 4, together=True)
            ways = ((scores, one_label), (scores[drawn], one_label), (scores[drawn], all_labels))
            found = [np.array([sensitive_threshold(column, 1.0, RECALL, sure) for column in on.T]) for on, sure in ways]
            held[:, run] = found[0][0] <= 0.1, found[1][0] <= 0.1, (found[0] <= 0.1).all(), (found[2] <= 0.1).all()
        posts = f"1 to {most} posts an author, {share:.0%} alike" if most > 1 else "one post an author"
        before, now, before_all, now_all = (100 * held.mean(axis=1)).tolist()
        yield Kept(f"recall of {RECALL:.0%}, one label, {posts}", 100 * SURE, before, now)
        yield Kept(f"the same, four labels together, {posts}", 100 * SURE, before_all, now_all)


def _lower_end_before(p: Float64s, error: float, upper: float) -> float:
    """Return the lower end that was used before: zero if labels drawn from these probabilities, post by post, would be as far off."""
    bins = np.eye(10)[np.minimum((p * 10).astype(int), 9)]
    drawn = np.random.default_rng(0).random((RESAMPLES, len(p))) < p
    by_chance = np.quantile(np.abs((drawn - p) @ bins).sum(axis=1) / len(p), 0.95)
    return 0.0 if error <= by_chance else max(0.0, 2 * error - upper)


def _clustered(authors: int, most: int, off: float, rng: Generator) -> tuple[Float64s, Float64s, Int64s]:
    """Return labels, probabilities and authors; probabilities are too low by `off`, and an author's posts are all alike."""
    author = _by_author(authors, most, rng)
    p = 0.8 * rng.beta(0.5, 1.5, authors)[author] + 0.1 * rng.random(len(author))
    return (rng.random(authors)[author] < p + off).astype(float), p, author


def calibration(runs: int, rng: Generator) -> Iterator[Kept]:
    """Draw posts whose calibration error is known, and see whether its interval contains it."""
    for most in (1, 8, 20):
        for off in (0.0, 0.03, 0.1):
            y, p, _ = _clustered(100_000, most, off, rng)
            truth, held = expected_calibration_error(y.astype(np.int8), p.astype(np.float32)), np.zeros((2, runs), bool)
            for run in range(runs):
                y, p, author = _clustered(250, most, off, rng)
                Y, scores = y[:, None].astype(np.int8), p[:, None].astype(np.float32)
                metrics = compute_metrics(Y, scores, scores >= 0.5, ["alpha"], [0.5])
                by_round = metrics_by_round(Y, scores, scores >= 0.5, resample(author, RESAMPLES, run))
                low, high = intervals(metrics, by_round, 0.95).labels["alpha"].ece or (1, 0)
                before = _lower_end_before(p, metrics.labels["alpha"].ece, high)
                held[:, run] = before <= truth <= high, low <= truth <= high
            posts = f"1 to {most} posts an author" if most > 1 else "one post an author"
            yield Kept(f"calibration error of {truth:.3f}, {posts}", 95, *(100 * held.mean(axis=1)).tolist())


def _powered_before(y: Float64s, p: Float64s, unlabelled: Float64s) -> tuple[float, float]:
    """Return the interval as it was before: Wilson's for the effective sample size, without the misjudged post."""
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    from scipy.stats import norm

    estimate = float(np.squeeze(ppi_mean_pointestimate(y, p, unlabelled)))
    low, high = ppi_mean_ci(y, p, unlabelled, alpha=2 * norm.sf(1))
    share = min(max(estimate, 1 / len(y)), 1 - 1 / len(y))
    effective = min(share * (1 - share) / max(float(np.squeeze(high - low)) / 2, 1e-9) ** 2, len(y) + len(unlabelled))
    return wilson_interval(share * effective, effective, 0.95)


def prevalence(runs: int, rng: Generator) -> Iterator[Kept]:
    """Estimate the share of a label from 600 labelled posts and 5,000 others, by models that are more or less often right."""
    for expected in (6, 10, 20, 60):
        for found, alarms in ((0.99, 0.01), (0.95, 0.05), (0.7, 0.3)):
            share, held = expected / 600, []
            for _ in range(runs):
                truth = [rng.random(posts) < share for posts in (600, 5000)]
                marked = [np.where(y, rng.random(len(y)) < found, rng.random(len(y)) < alarms * share) for y in truth]
                few, many = (np.where(each, rng.beta(30, 1, len(each)), rng.beta(1, 60, len(each))) for each in marked)
                y = truth[0]
                if not 0 < y.sum() < len(y):
                    continue
                now = estimate_prevalence(
                    y[:, None].astype(np.int8), few[:, None].astype(np.float32), many[:, None].astype(np.float32), ["alpha"], [0.5], 0.95, 1
                )
                bounds = _powered_before(y.astype(float), few, many), now.total.labels["alpha"].interval or (1, 0)
                held.append([low <= share <= high for low, high in bounds])
            name = f"share of {share:.1%}: {expected} positives expected, {found:.0%} found, {alarms:.0%} as many false alarms"
            yield Kept(name, 95, *(100 * np.mean(held, axis=0)).tolist())


def main(
    runs: Annotated[int, typer.Option(min=1, help="Number of samples for each row.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Show how often thresholds, calibration errors and shares are as promised, with the earlier methods and the present ones."""
    rng = np.random.default_rng(seed)
    low = 100 * float(binom.ppf(0.001, runs, 0.95)) / runs
    table = Table(title=f"kept in percent of {runs:,} samples (by chance, 95 may become {low:.1f})")
    for name in ("what", "promised", "before", "now"):
        table.add_column(name, justify="left" if name == "what" else "right")
    with terminal.steps() as progress:
        for name, rows in (("thresholds", thresholds), ("shares", prevalence), ("calibration", calibration)):
            progress(name)
            for row in rows(runs, rng):
                table.add_row(row.what, f"{row.promised:.0f}", f"{row.before:.1f}", f"{row.now:.1f}")
    terminal.output().print(table)


if __name__ == "__main__":
    terminal.run(main)
