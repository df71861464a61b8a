"""Shows results as tables in a terminal and as figures for a run."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Context
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from models.description import OperatingPoint
from pipeline.corpora.problems import counted
from pipeline.evaluation.bootstrap import FEWEST_AUTHORS
from pipeline.evaluation.results import (
    Behaviour,
    Comparison,
    Decision,
    Difference,
    Intervals,
    LabelThresholds,
    Prevalence,
    Results,
    SplitMetrics,
)
from pipeline.evaluation.swaps import Swaps
from pipeline.metrics import Metrics, reliability
from pipeline.model_location import shown_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.corpora import Corpus

_COLUMNS = ("precision", "recall", "f1", "average_precision", "roc_auc", "brier", "ece", "threshold")
_OVERALL = ("macro_f1", "micro_f1", "mean_average_precision", "exact_match", "one_minus_hamming_loss", "example_jaccard")

_COMPARED = ("f1", "average_precision", "brier")
_WEAKEST = 10
_THREE_DIGITS = Context(prec=3, rounding=ROUND_FLOOR)

_SHORT = {"average_precision": "AP", "mean_average_precision": "mAP", "one_minus_hamming_loss": "1-hamming"}


def _heading(name: str) -> str:
    return _SHORT.get(name, name.replace("_", " "))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """Format a number, with its interval below it."""
    return _number(value) + (f"\n[dim]{interval[0]:.3f}–{interval[1]:.3f}[/dim]" if interval else "")


def rounded_down(threshold: float | None) -> str:
    """Format a threshold, rounded down to three significant digits, so that it misses no more posts if ``score.py --threshold`` gets it."""
    return "–" if threshold is None else f"{_THREE_DIGITS.create_decimal(str(threshold)):f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def label_table(metrics: Metrics, title: str, intervals: Intervals | None = None) -> Table:
    """Make a table of metrics with a row for each label.

    Parameters
    ----------
    metrics : Metrics
    title : str
        Title of the table.
    intervals : Intervals, optional
        Intervals to show below the metrics.
    """
    without = " or ".join(label for label, values in metrics.labels.items() if not values.support)
    caption = f"No post has {without}, so its F1 counts as 0 in the mean over the labels." if without else None
    table = Table(title=f"{title}, {counted(metrics.posts, 'post')}", title_justify="left", caption=caption)
    table.add_column("label")
    for name in (*_COLUMNS, "support"):
        table.add_column(_heading(name), justify="right")
    for label, values in metrics.labels.items():
        bounds = intervals.labels[label] if intervals else None
        cells = (_with_interval(getattr(values, name), getattr(bounds, name, None)) for name in _COLUMNS)
        table.add_row(label, *cells, f"{values.support:,}")
    return table


def overall_table(rows: Mapping[str, Metrics], intervals: Intervals | None = None) -> Table:
    """Make a table of overall metrics, with a row for the model, each baseline, and so on.

    Parameters
    ----------
    rows : mapping of str to Metrics
        Metrics by the name of the row.
    intervals : Intervals, optional
        Intervals for the first row.
    """
    table = Table()
    table.add_column("")
    for name in ("posts", *_OVERALL):
        table.add_column(_heading(name), justify="right")
    for number, (title, metrics) in enumerate(rows.items()):
        bounds = None if number else intervals
        cells = (_with_interval(getattr(metrics, name), getattr(bounds, name, None)) for name in _OVERALL)
        table.add_row(title, f"{metrics.posts:,}", *cells)
    return table


def metrics_tables(metrics: SplitMetrics, title: str, intervals: Intervals | None = None) -> list[Table]:
    """Make tables of metrics: per label, then overall beside the baselines, with and without repeated texts.

    If it is known which posts the model was trained on, there is also a row without those.

    Parameters
    ----------
    metrics : SplitMetrics
    title : str
        Title of the first table.
    intervals : Intervals, optional
        Intervals to show below the metrics.
    """
    baselines = metrics.baselines
    rows: dict[str, Metrics] = {"model": metrics}
    if isinstance(metrics, Results) and metrics.seen_in_training and (unseen := metrics.seen_in_training.without):
        rows |= {"model, not seen in training": unseen}
    rows |= {"all zero": baselines.all_zero, "every label": baselines.all_one, "prior": baselines.prior}
    if new := metrics.new_texts_only:
        rows |= {"model, texts in no other split": new, "all zero, texts in no other split": new.baselines.all_zero}
    return [label_table(metrics, title, intervals), overall_table(rows, intervals)]


def no_intervals_note(results: Results) -> str:
    """Return a sentence that says that there are too few authors for intervals; empty if there are enough."""
    authors = results.sample.authors
    if authors >= FEWEST_AUTHORS:
        return ""
    found = "there are only {}" if authors == results.posts else "the posts are by {}"
    of_what = counted(authors, "post" if authors == results.posts else "author")
    return f"no intervals: {found.format(of_what)}, but at least {FEWEST_AUTHORS} are needed"


def _difference_cell(found: Difference, theirs: float | None) -> str:
    if found.difference is None:
        return found.verdict
    if found.interval is None:
        return f"{found.difference:+.3f}\n[dim]other {_number(theirs)}[/dim]"
    low, high = found.interval
    return f"{found.difference:+.3f}\n[dim]{low:+.3f} to {high:+.3f}[/dim]\n{found.verdict}"


def comparison_table(comparison: Comparison, confidence: float, other_name: str = "") -> Table:
    """Make a table of differences from another model, with intervals and verdicts, or with the other's values if there are no intervals."""
    called = ", ".join(filter(None, [escape(other_name), shown_model(comparison.model)]))
    found, other = comparison.differences, comparison.metrics
    real = found.macro_f1.interval is not None
    shown = "difference and its interval" if real else "difference, and the other model's value"
    by_chance = f"If the models are equal, about {100 * (1 - confidence):.2g}% of the differences look real by chance."
    caption = by_chance if real else "With so few authors, nobody can tell which differences are due to chance."
    table = Table(title=f"Compared with {called}: {shown}", title_justify="left", caption=caption)
    for name in ("", *_COMPARED):
        table.add_column(_heading(name))
    overall = [_difference_cell(getattr(found, name), getattr(other, name)) for name in ("macro_f1", "mean_average_precision")]
    table.add_row("macro f1, mAP", *overall, "", end_section=True)
    for label, compared in found.labels.items():
        cells = (_difference_cell(getattr(compared, name), getattr(other.labels[label], name)) for name in _COMPARED)
        table.add_row(label, *cells, end_section=True)
    return table


def behaviour_table(behaviour: Behaviour) -> Table:
    """Make a table of the functionalities that fail most."""
    weakest = sorted(behaviour.functionalities.items(), key=lambda found: (found[1].rate, found[0]))[:_WEAKEST]
    title = f"Behaviour: {behaviour.passed:,} of {behaviour.cases:,} cases passed ({_share(behaviour.rate)}); the weakest"
    table = Table(title=title, title_justify="left")
    for name in ("functionality", "passed", "cases"):
        table.add_column(name, justify="left" if name == "functionality" else "right")
    for name, found in weakest:
        table.add_row(name, str(found.passed), str(found.cases))
    return table


def swaps_table(swaps: Swaps) -> Table:
    """Make a table of what each kind of swap does, with the group whose probability moves most."""
    right = "" if swaps.right is None else f", {swaps.right:.0%} of which it labels right"
    marked = swaps.jobs.marked
    jobs = f"{len(marked)} of {swaps.jobs.posts:,} harmless posts that name a job are marked"
    table = Table(
        title=f"Swaps in {swaps.carriers:,} posts{right}",
        title_justify="left",
        caption=f"{jobs}{': ' if marked else ''}{', '.join(marked)}",
    )
    for name in ("swapped", "largest mean shift", "of", "decisions changed", "by neutral words alone"):
        table.add_column(name, justify="left" if name in {"swapped", "of"} else "right")
    for kind, found in swaps.kinds.items():
        group, worst = found.worst
        alone = f"{found.control.shift:+.3f}, {_share(found.control.changed)}" if found.control else "–"
        table.add_row(kind, f"{worst.shift:+.3f}", f"{group}: {worst.label}", _share(found.changed), alone)
    return table


def thresholds_table(thresholds: Mapping[str, LabelThresholds]) -> Table:
    """Make a table of what it costs to miss few posts, and of thresholds whose recall is guaranteed."""
    promised = next(iter(thresholds.values())).guarantee
    held = "for all labels together" if promised.labels > 1 else "for each label alone"
    table = Table(title="Thresholds, and the share to review (of posts drawn at random if evaluation.natural is set)", title_justify="left")
    table.add_column("label")
    headings = (f"miss at most {cost.miss:.0%}" for cost in next((found.cost for found in thresholds.values() if found.cost), []))
    for heading in (*headings, f"recall guaranteed {held} at {promised.confidence:.0%} confidence"):
        table.add_column(heading, justify="right")
    for label, found in thresholds.items():
        cells = [f"{rounded_down(row.threshold)}: {_share(row.share_at_random)}" for row in found.cost]
        cells += ["–"] * (len(table.columns) - 2 - len(cells))
        sure = found.guarantee
        row = f"{sure.target:.0%} from {rounded_down(sure.threshold)}: {_share(sure.share_at_random)}"
        table.add_row(label, *cells, "too few authors" if sure.reason else row)
    return table


def prevalence_table(prevalence: Prevalence) -> Table:
    """Make a table of the share of each label among unlabelled posts, overall and by month."""
    total = prevalence.total
    title = f"Share of each label among {total.posts:,} unlabelled posts, estimated with {total.labelled:,} labelled ones"
    doubt = "These shares hold only if the labelled posts were drawn at random from the same posts; if so, set evaluation.natural=all."
    drawn = prevalence.at_random
    table = Table(title=f"{title}{' drawn at random' if drawn else ''}", title_justify="left", caption=None if drawn else doubt)
    for name in ("", "label", "estimate", "interval", "counted", "labelled positives"):
        table.add_column(name, justify="left" if name in {"", "label"} else "right")
    for period, estimates in {"all": total, **(prevalence.months or {})}.items():
        for number, (label, found) in enumerate(estimates.labels.items()):
            _, rarer = found.rarer(estimates.labelled)
            bounds = f"{found.interval[0]:.1%}–{found.interval[1]:.1%}" if found.interval else f"too few {rarer}s"
            cells = (_share(found.estimate), bounds, _share(found.counted), f"{found.positives:,}")
            last = number + 1 == len(estimates.labels)
            table.add_row("" if number else period, label, *cells, end_section=last)
    return table


def promotion_table(promotion: Decision) -> Table:
    """Make a table of the gates that failed; its title says how many passed."""
    failed = [gate for gate in promotion.gates if not gate.passed]
    passed = f"{len(promotion.gates) - len(failed)} of {len(promotion.gates)} gates passed"
    table = Table(title=f"{'Promoted' if promotion.promoted else 'Not promoted'}: {passed}", title_justify="left")
    for name in ("not passed", "found"):
        table.add_column(name)
    for gate in failed:
        table.add_row(gate.gate, gate.found)
    return table


def points_table(points: Mapping[str, OperatingPoint]) -> Table:
    """Make a table of what each operating point costs, as measured on held-out folds of train."""
    title = "Operating points on held-out folds of train: recall and precision, and the share of ordinary posts that are marked"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for label in next(iter(points.values())).labels:
        table.add_column(label, justify="right")
    table.add_column("ordinary posts", justify="right")
    for name, point in points.items():
        costs = (f"{_number(cost.recall)}  {_number(cost.precision)}" for cost in point.labels.values())
        table.add_row(name, *costs, _share(point.false_alarms))
    return table


def evaluation_tables(results: Results, title: str, other_name: str = "") -> list[Table]:
    """Make the tables of an evaluation that a terminal can show; slices and data are only in the report.

    Parameters
    ----------
    results : Results
        All results of the evaluation.
    title : str
        Title of the first table.
    other_name : str
        Path or name of the model that it was compared with.
    """
    tables = metrics_tables(results, title, results.intervals)
    tables += [comparison_table(results.comparison, results.sample.confidence, other_name)] if results.comparison else []
    tables += [thresholds_table(results.thresholds)]
    tables += [behaviour_table(results.behaviour)] if results.behaviour else []
    tables += [swaps_table(results.swaps)] if results.swaps else []
    tables += [prevalence_table(results.prevalence)] if results.prevalence else []
    tables += [promotion_table(results.promotion)] if results.promotion else []
    return tables


def seen_note(results: Results) -> str:
    """Return a sentence that says how many of the evaluated posts the model was trained on."""
    seen, posts = results.seen_in_training, counted(results.posts, "post")
    if seen is None:
        return f"unknown: no fingerprints of this model's training posts were found; some of the {posts} may be among them"
    short = f", and {seen.short:,} {'is' if seen.short == 1 else 'are'} too short to tell" if seen.short else ""
    if not seen.posts:
        return f"none of the {posts} was seen in training{short}"
    share = f"{seen.share or 0:.1%}{' of those that are long enough to tell' if seen.short else ''}"
    found = f"{seen.posts:,} of the {posts} ({share}) {'was' if seen.posts == 1 else 'were'} seen in training{short}; "
    if seen.without is None:
        return f"{found}so the metrics say nothing about new posts; evaluate on posts that the model has not seen"
    return f"{found}without them, macro-F1 is {seen.without.macro_f1:.3f}, not {results.macro_f1:.3f}"


def corpus_table(corpus: "Corpus") -> Table:
    """Make a table of posts and positives per split."""
    table = Table(title="Corpus", title_justify="left")
    table.add_column("")
    for split in corpus.splits:
        table.add_column(split, justify="right")
    table.add_row("posts", *(f"{rows.num_rows:,}" for rows in corpus.splits.values()), end_section=True)
    for name in (*corpus.labels, *corpus.auxiliary):
        counts = [int(corpus.targets(split, [name]).sum()) for split in corpus.splits]
        table.add_row(name if name in corpus.labels else f"{name} (auxiliary)", *(f"{count:,}" for count in counts))
    return table


def corpus_notes(corpus: "Corpus") -> list[str]:
    """Return what a user should know about the corpus, one line each."""
    notes = list(corpus.notes)
    if corpus.cut and not any(author is not None for rows in corpus.splits.values() for author in rows["author"][:]):
        notes.append("there is no author column, so posts are split one by one")
    found = corpus.overlap
    if found and (found.repeated or found.leaked_texts or found.leaked_nearly or found.leaked_authors):
        notes.append(
            f"in train: {counted(found.repeated, 'repeat')} of an earlier post ({found.conflicting:,} with other labels), "
            f"{found.leaked_texts:,} of a post in another split, {found.leaked_nearly:,} more of such a post with a small change (as a "
            f"retweet or quote, with a link or a hashtag), {counted(found.leaked_authors, 'post')} by authors of another split; "
            f"{counted(found.dropped, 'post')} dropped"
        )
    if corpus.unlabelled.num_rows:
        notes.append(f"{counted(corpus.unlabelled.num_rows, 'post')} without labels to learn from")
    notes += [f"ignored label {name}: {counted(count, 'time')}" for name, count in corpus.ignored.items()]
    notes += [f"skipped, not named after a split: {path}" for path in corpus.passed_over]
    return notes


def figures(Y: NDArray[np.int8], probabilities: NDArray[np.float32], labels: Sequence[str]) -> dict[str, "Figure"]:
    """Draw precision-recall and reliability curves, one figure for each label with positives.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        True labels.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Their probabilities.
    labels : sequence of str
        Names of the labels, in the order of the columns.

    Returns
    -------
    dict of str to Figure
        Figures by file name.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve

    drawn = {}
    for k, label in enumerate(labels):
        if not Y[:, k].any():
            continue
        figure = Figure(figsize=(9, 4))
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.13, top=0.91)  # a layout that is computed takes twice as long
        curve, calibration = figure.subplots(1, 2)
        precision, recall, _ = precision_recall_curve(Y[:, k], probabilities[:, k])
        curve.plot(recall, precision)
        curve.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=label)
        mean_probability, share, posts = reliability(Y[:, k], probabilities[:, k])
        calibration.plot([0, 1], [0, 1], color="grey", linewidth=1)
        calibration.scatter(mean_probability, share, s=10 + 200 * posts / posts.max())
        calibration.set(xlabel="probability", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1), title="reliability (area: posts)")
        drawn[f"curves/{label}.png"] = figure
    return drawn
