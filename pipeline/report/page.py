"""Renders an evaluation as a single HTML page that needs no network and no script."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.evaluation.results import Behaviour, Difference, Differences, Functionality, LabelPrevalence, Results, Slice, Verdict
from pipeline.model_location import shown_model
from pipeline.report.plots import Dot, plot_dots, plot_reliability, plot_review, plot_thresholds
from pipeline.report.tables import no_intervals_note, rounded_down

if TYPE_CHECKING:
    from jinja2 import Template

_UNDEFINED = "–"
_SPACE = "\u00a0"  # no-break space

# Name and short description of each metric.
METRIC_NAMES = {
    "f1": ("F1", "balance of recall and precision, from 0 to 1"),
    "recall": ("recall", "share of the posts with the label that are found"),
    "precision": ("precision", "share of the marked posts that have the label"),
    "average_precision": ("average precision", "mean precision over all thresholds: how well posts are ranked"),
    "brier": ("Brier score", "mean squared error of the probabilities; lower is better"),
    "ece": ("calibration error", "mean distance between probability and share; lower is better"),
    "macro_f1": ("macro-F1", "mean of the labels’ F1"),
    "mean_average_precision": ("mean average precision", "mean of the labels’ average precision"),
    "micro_f1": ("micro-F1", "F1 over all decisions together"),
    "exact_match": ("exact match", "share of posts with every label right"),
    "one_minus_hamming_loss": ("1 − Hamming loss", "share of individual decisions that are right"),
    "example_jaccard": ("Jaccard", "mean overlap between given and true labels"),
}
OVERALL = ("macro_f1", "mean_average_precision", "micro_f1", "exact_match", "one_minus_hamming_loss", "example_jaccard")
PLOTTED = ("f1", "recall", "precision", "average_precision")


def number(value: float | None, digits: int = 3) -> str:
    """Format a number, such as ``0.813``; None becomes a dash.

    Parameters
    ----------
    value : float or None
    digits : int
        Number of decimals.
    """
    return _UNDEFINED if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Format a difference, such as ``+0.013``; None becomes a dash.

    Parameters
    ----------
    value : float or None
    digits : int
        Number of decimals; one more is shown if these would make the difference look like zero.
    """
    if value is None:
        return _UNDEFINED
    digits += bool(value) and abs(value) < 0.5 * 10**-digits
    return f"{value:+.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """Format a share, such as ``3.1 %``: ``5 %`` if it is exact, two decimals below 1 %, and a dash for None."""
    if value is None:
        return _UNDEFINED
    share = round(100.0 * value, 9)
    return f"{share:.{0 if share.is_integer() else 2 if share < 1 else 1}f}{_SPACE}%"


def interval(bounds: Sequence[float] | None, digits: int = 3, *, sign: bool = False) -> str:
    """Format an interval, such as ``[0.790–0.835]``; None becomes an empty string.

    Parameters
    ----------
    bounds : sequence of two float, or None
    digits : int
        Number of decimals.
    sign : bool
        Whether to show plus signs, for intervals of differences.
    """
    if bounds is None:
        return ""
    low, high = (signed(end, digits) if sign else number(end, digits) for end in bounds)
    return f"[{low} to {high}]" if sign else f"[{low}–{high}]"


def percents(bounds: Sequence[float] | None) -> str:
    """Format an interval of shares, such as ``[1.2–5.7 %]``; None becomes an empty string."""
    return "" if bounds is None else f"[{percent(bounds[0]).removesuffix(f'{_SPACE}%')}–{percent(bounds[1])}]"


def plain(name: str) -> str:
    """Return a name as words, without underscores."""
    return name.replace("_", " ")


def sentence(name: str) -> str:
    """Return a name with a capital first letter and its other letters unchanged."""
    return name[:1].upper() + name[1:]


def listed(names: Sequence[str], nothing: str = "none") -> str:
    """Join names, such as ``one, two and three``.

    Parameters
    ----------
    names : sequence of str
    nothing : str
        What to return if there are no names.

    Examples
    --------
    >>> listed(["one", "two", "three"])
    'one, two and three'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or nothing


def _said(dots: Sequence[Dot]) -> str:
    return "; ".join(f"{dot.name} {number(dot.value, 2)} {interval(dot.interval, 2)}".strip() for dot in dots)


def _dots(results: Results, metric: str) -> list[Dot]:
    """Return a dot for each label with its metric; labels without positives are undefined."""
    dots = []
    for label, values in results.labels.items():
        bounds = results.intervals.labels[label]
        shown = (getattr(values, metric), getattr(bounds, metric)) if values.support else (None, None)
        dots.append(Dot(plain(label), *shown))
    return dots


def _metric_plots(results: Results) -> Iterator[tuple[str, str]]:
    for metric in PLOTTED:
        dots, name = _dots(results, metric), METRIC_NAMES[metric][0]
        yield name, plot_dots(f"plot-{metric}", f"{name} of each label with its interval: {_said(dots)}", dots, name)


def _difference_plots(differences: Differences) -> Iterator[tuple[str, str]]:
    for metric in ("f1", "average_precision"):
        compared: dict[str, Difference] = {plain(label): getattr(values, metric) for label, values in differences.labels.items()}
        dots = [Dot(name, each.difference, each.interval) for name, each in compared.items()]
        name = METRIC_NAMES[metric][0]
        said = "; ".join(f"{label} {signed(each.difference)}, {each.verdict}" for label, each in compared.items())
        title = f"Difference in {name} of each label, this model minus the other: {said}"
        yield name, plot_dots(f"plot-difference-{metric}", title, dots, "this model minus the other", "zero")


def _prevalence_plot(labels: Mapping[str, LabelPrevalence]) -> str:
    dots = [Dot(plain(label), found.estimate, found.interval, found.counted) for label, found in labels.items()]
    said = "; ".join(
        f"{dot.name} {percent(dot.value)} {percents(dot.interval)}, plain count {percent(dot.also)}"
        for dot in dots
        if dot.value is not None
    )
    title = f"Estimated share of each label with its interval, and the plain count: {said or 'too few labelled posts'}"
    return plot_dots("plot-prevalence", title, dots, "share of posts", "share", "too few labelled posts")


@dataclass(frozen=True)
class _Plots:
    """SVG of every plot on the page; lists hold one plot per label, in order."""

    metrics: list[tuple[str, str]]
    reliability: list[str]
    thresholds: list[str]
    review: list[str]
    differences: list[tuple[str, str]]
    prevalence: str


def _plots(results: Results) -> _Plots:
    reliability, thresholds, review, intervals = [], [], [], not no_intervals_note(results)
    for k, label in enumerate(results.labels):
        found, name = results.thresholds[label], plain(label)
        bins = results.reliability[label]
        title = f"Share of posts with {name} against the probability given"
        reliability.append(plot_reliability(f"plot-reliability-{k}", title, bins, intervals=intervals))
        thresholds.append(plot_thresholds(f"plot-threshold-{k}", f"Precision and recall of {name} against the threshold", found))
        review.append(plot_review(f"plot-review-{k}", f"Recall of {name} against the share of posts to review", found))
    return _Plots(
        metrics=list(_metric_plots(results)),
        reliability=reliability,
        thresholds=thresholds,
        review=review,
        differences=list(_difference_plots(results.comparison.differences)) if results.comparison else [],
        prevalence=_prevalence_plot(results.prevalence.total.labels) if results.prevalence else "",
    )


def _verdicts(results: Results, differences: Differences) -> dict[Verdict, list[str]]:
    """Return the names of metrics by verdict; for each label, only those of F1 and average precision."""
    found: dict[Verdict, list[str]] = {"better": [], "worse": [], "no real difference": [], "cannot tell": []}
    for metric, compared in (("macro_f1", differences.macro_f1), ("mean_average_precision", differences.mean_average_precision)):
        found[compared.verdict].append(METRIC_NAMES[metric][0])
    for label, of_label in differences.labels.items():
        for metric, compared in (("f1", of_label.f1), ("average_precision", of_label.average_precision)):
            verdict = compared.verdict if results.labels[label].support else "cannot tell"
            found[verdict].append(f"{METRIC_NAMES[metric][0]} of {plain(label)}")
    return found


def _by_column(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    """Group slices by column; the column that marks posts drawn at random comes first."""
    columns: dict[str, list[Slice]] = {}
    for part in slices:
        columns.setdefault(part.column, []).append(part)
    if "drawn" in columns:
        drawn = sorted(columns.pop("drawn"), key=lambda part: part.value != "at random")
        columns = {"drawn": drawn, **columns}
    return columns


def _by_rate(behaviour: Behaviour | None) -> list[tuple[str, Functionality]]:
    """Return functionalities, those with the lowest share of passed cases first."""
    return sorted(behaviour.functionalities.items(), key=lambda item: (item[1].rate, item[0])) if behaviour else []


@cache
def template(name: str) -> "Template":
    """Load a template of a page, with the filters that all of them use.

    Parameters
    ----------
    name : str
        Name of its file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for fill in (number, rounded_down, signed, percent, interval, percents, plain, sentence, listed, shown_model):
        environment.filters[fill.__name__] = fill
    return environment.get_template(name)


def render_page(about: Mapping[str, str], results: Results) -> str:
    """Render everything that an evaluation found, for data scientists and for people who make decisions about posts.

    Parameters
    ----------
    about : dict of str to str
        What was evaluated and where it came from, in the order in which it is shown.
    results : Results
        All results of the evaluation.

    Returns
    -------
    str
        HTML with its style and plots, without scripts or references to anything outside. It shows only ids and numbers of
        posts; the texts in it are those of behavioural cases. Equal results make equal pages.
    """
    page = template("page.html.j2").render(
        **{"about": about, "results": results, "plots": _plots(results), "names": METRIC_NAMES, "overall": OVERALL},
        verdicts=_verdicts(results, results.comparison.differences) if results.comparison else {},
        few=no_intervals_note(results),
        columns=_by_column(results.slices),
        functionalities=_by_rate(results.behaviour),
    )
    return f"{page.strip()}\n"
