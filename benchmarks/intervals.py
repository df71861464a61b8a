#!/usr/bin/env python3
"""Measures how often the intervals and guarantees of an evaluation hold, on invented posts for which the truth is known.

Samples are drawn repeatedly from one population, and the statements made from each sample are checked against that population.
Each method is compared with the naive one that it replaces: resampling single posts of authors who write many, counting
decisions, or using the cheapest threshold of the sample itself. See benchmarks/README.md.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.random import Generator
from rich.table import Table
from scipy.stats import binom

from models.arrays import Int64s, Labels, Probabilities
from pipeline import terminal
from pipeline.config import Evaluation
from pipeline.evaluation.bootstrap import intervals, metrics_by_round, resample
from pipeline.evaluation.prevalence import estimate_prevalence
from pipeline.evaluation.threshold_costs import compute_thresholds
from pipeline.metrics import Metrics, compute_metrics, wilson_interval

LABEL, THRESHOLD = "alpha", 0.5
POPULATION = 300_000  # authors whose metrics count as the truth; a tenth as many would put the rates off by a point
RESAMPLES = 1000  # the default of an evaluation; 200 would put the rates off by about a point, too
CONFIDENCE = 0.95
CHANCE = 0.001  # probability, on either side, that a rate leaves its range by chance alone


class Posts(NamedTuple):
    """Invented posts with one label, shape (n_posts, 1), and the author of each."""

    Y: Labels
    probabilities: Probabilities
    authors: Int64s


@dataclass(frozen=True)
class Rate:
    """The number of samples, out of `runs`, in which a statement held."""

    of: str
    by: str
    nominal: float
    held: int
    runs: int

    @property
    def by_chance(self) -> tuple[float, float]:
        """The range in which the rate lies if the nominal rate is right, except one time in a thousand on either side."""
        low, high = binom.ppf([CHANCE, 1 - CHANCE], self.runs, self.nominal) / self.runs
        return float(low), float(high)

    def as_dict(self) -> dict[str, Any]:
        """Return the rate as it is printed in JSON."""
        return asdict(self) | {"found": self.held / self.runs, "by_chance": list(self.by_chance)}


def posts_by(authors: int, rng: Generator) -> Posts:
    """Draw one to eight posts per author; an author's posts all have the label or all lack it, and are all easy or all hard.

    Parameters
    ----------
    authors : int
        Number of authors.
    rng : numpy.random.Generator
    """
    author = np.repeat(np.arange(authors), rng.integers(1, 9, authors))
    y = (rng.random(authors) < 0.4)[author]
    skill = rng.normal(0.8, 0.6, authors)[author]
    score = np.where(y, skill, -skill) + rng.normal(0, 0.4, len(author))
    return Posts(y.astype(np.int8)[:, None], (1 / (1 + np.exp(-2 * score))).astype(np.float32)[:, None], author)


def calibrated_posts(authors: int, rng: Generator) -> Posts:
    """Draw one post per author; whether it has the label is drawn from its probability.

    Parameters
    ----------
    authors : int
        Number of authors.
    rng : numpy.random.Generator
    """
    probabilities = rng.beta(0.5, 1.5, (authors, 1)).astype(np.float32)
    return Posts((rng.random((authors, 1)) < probabilities).astype(np.int8), probabilities, np.arange(authors))


def overrated_posts(posts: int, share: float, rng: Generator) -> Posts:
    """Draw posts, each by a different author, for a label that the model finds too often.

    Parameters
    ----------
    posts : int
        Number of posts.
    share : float
        Share of the posts that have the label.
    rng : numpy.random.Generator
    """
    y = rng.random((posts, 1)) < share
    p = np.where(y, rng.beta(6, 2, (posts, 1)), rng.beta(2, 5, (posts, 1)))
    return Posts(y.astype(np.int8), p.astype(np.float32), np.arange(posts))


def hard_posts(posts: int, rng: Generator) -> Posts:
    """Draw posts, each by a different author; a tenth of them have the label, and some of these are hard to recognise.

    Parameters
    ----------
    posts : int
        Number of posts.
    rng : numpy.random.Generator
    """
    y = rng.random((posts, 1)) < 0.1
    p = np.where(y, rng.beta(3, 2, (posts, 1)), rng.beta(1, 8, (posts, 1)))
    return Posts(y.astype(np.int8), p.astype(np.float32), np.arange(posts))


def _measured(posts: Posts) -> Metrics:
    return compute_metrics(posts.Y, posts.probabilities, posts.probabilities >= THRESHOLD, [LABEL], [THRESHOLD])


def bootstrap(
    draw: Callable[[int, Generator], Posts],
    authors: int,
    metrics: tuple[str, ...],
    by: str,
    runs: int,
    rng: Generator,
    *,
    whole: bool = True,
) -> Iterator[Rate]:
    """Measure how often bootstrap intervals of a label's metrics cover the truth.

    Parameters
    ----------
    draw : callable
        Function that draws the posts of a number of authors.
    authors : int
        Number of authors in a sample.
    metrics : tuple of str
        Metrics to measure.
    by : str
        What to call the method.
    runs : int
        Number of samples.
    rng : numpy.random.Generator
    whole : bool
        Whether to resample whole authors, as an evaluation does, or single posts.
    """
    truth = _measured(draw(POPULATION, rng)).labels[LABEL]
    held = dict.fromkeys(metrics, 0)
    for run in range(runs):
        posts = draw(authors, rng)
        counts = resample(posts.authors if whole else np.arange(len(posts.Y)), RESAMPLES, run)
        by_round = metrics_by_round(posts.Y, posts.probabilities, posts.probabilities >= THRESHOLD, counts)
        bounds = intervals(_measured(posts), by_round, CONFIDENCE).labels[LABEL]
        for metric in metrics:
            low, high = getattr(bounds, metric)
            held[metric] += low <= getattr(truth, metric) <= high
    for metric, count in held.items():
        yield Rate(metric, by, CONFIDENCE, int(count), runs)


def prevalence(share: float, confidence: float, labelled: int, unlabelled: int, runs: int, rng: Generator) -> Iterator[Rate]:
    """Measure how often intervals for the share of a label cover the truth.

    Parameters
    ----------
    share : float
        The true share.
    confidence : float
        Confidence of the intervals.
    labelled, unlabelled : int
        Numbers of posts in a sample.
    runs : int
        Number of samples.
    rng : numpy.random.Generator
    """
    held = dict.fromkeys(("prediction-powered", "labelled posts alone", "decisions counted"), 0)
    for _ in range(runs):
        few, many = overrated_posts(labelled, share, rng), overrated_posts(unlabelled, share, rng)
        found = estimate_prevalence(few.Y, few.probabilities, many.probabilities, [LABEL], [THRESHOLD], confidence, 1).total.labels[LABEL]
        alone, counted = found.labelled_interval or (0.0, 1.0), wilson_interval(found.counted * unlabelled, unlabelled, confidence)
        powered = found.interval or alone  # if a label is rare, no labelled post of the sample may have it
        for by, (low, high) in zip(held, (powered, alone, counted), strict=True):
            held[by] += low <= share <= high
    for by, count in held.items():
        yield Rate(f"share of {share:.0%}", by, confidence, int(count), runs)


def guarantee(recall: float, confidence: float, sample: int, runs: int, rng: Generator) -> Iterator[Rate]:
    """Measure how often thresholds reach a recall on other posts of the population.

    Parameters
    ----------
    recall : float
        Recall to guarantee. The evaluation must have a row of costs for the share that is then missed, as it has for 1 - 0.9.
    confidence : float
        Confidence of the guarantee.
    sample : int
        Number of posts on which a threshold is chosen.
    runs : int
        Number of samples.
    rng : numpy.random.Generator
    """
    posts = hard_posts(200_000, rng)
    y, p = posts.Y[:, 0], posts.probabilities[:, 0]
    held = dict.fromkeys(("guaranteed", "cheapest of the sample"), 0)
    for _ in range(runs):
        chosen, fresh = np.split(rng.permutation(len(y)), [sample])
        wanted = Evaluation(recall=recall, guarantee=confidence)
        found = compute_thresholds(posts.Y[chosen], posts.probabilities[chosen], [LABEL], [THRESHOLD], wanted, np.ones(sample, bool))[LABEL]
        naive = next(row for row in found.cost if np.isclose(row.miss, 1 - recall))
        positives = p[fresh][y[fresh] == 1]
        for by, threshold in zip(held, (found.guarantee.threshold, naive.threshold), strict=True):
            held[by] += (positives >= threshold).mean() >= recall
    for by, count in held.items():
        yield Rate(f"recall of {recall:.0%}", by, confidence, int(count), runs)


def simulate(runs: int, seed: int, progress: Callable[[str], None]) -> list[Rate]:
    """Measure the rates of each method, and of the naive method that it replaces.

    Parameters
    ----------
    runs : int
        Number of samples for each rate.
    seed : int
        Random seed.
    progress : callable
        Called with a description of each step.
    """
    rng = np.random.default_rng(seed)
    metrics = ("precision", "recall", "f1", "average_precision", "brier", "ece")
    progress("resampling authors")
    rates = [*bootstrap(posts_by, 250, metrics, "bootstrap", runs, rng)]
    rates += bootstrap(calibrated_posts, 800, ("ece",), "bootstrap, probabilities right", runs, rng)
    rates += bootstrap(posts_by, 250, ("f1", "average_precision"), "bootstrap of single posts", runs, rng, whole=False)
    progress("estimating shares")
    for share, confidence in ((0.2, 0.95), (0.2, 0.8), (0.01, 0.95)):
        rates += prevalence(share, confidence, 600, 4000, runs, rng)
    progress("choosing thresholds")
    return [*rates, *guarantee(0.9, 0.9, 1500, runs, rng)]


def _table(rates: list[Rate]) -> Table:
    table = Table(title=f"how often each holds, in {rates[0].runs:,} samples")
    for name in ("of", "by", "nominal", "found", "by chance"):
        table.add_column(name, justify="left" if name in ("of", "by") else "right")
    for rate in rates:
        low, high = rate.by_chance
        table.add_row(rate.of, rate.by, f"{rate.nominal:.0%}", f"{rate.held / rate.runs:.1%}", f"{low:.1%}–{high:.1%}")
    return table


def main(
    runs: Annotated[int, typer.Option(min=1, help="Number of samples for each rate.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how often intervals cover the truth and guarantees hold, and compare that with the nominal rates."""
    with terminal.steps() as progress:
        rates = simulate(runs, seed, progress)
    console = terminal.output()
    if as_json:
        console.print_json(data=[rate.as_dict() for rate in rates])
    else:
        console.print(_table(rates))


if __name__ == "__main__":
    terminal.run(main)
