"""Draws plots for a page: small SVGs with selectable text and the page's own colours, whose bytes are the same every time."""

import html
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.evaluation.results import LabelThresholds
from pipeline.metrics import ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that matplotlib draws with, and those of the page's style sheet that replace them.
_INK, _LINE, _FIRST, _SECOND = "#010100", "#010101", "#010102", "#010103"
_COLOURS = {_INK: "currentColor", _LINE: "var(--line)", _FIRST: "var(--first)", _SECOND: "var(--second)"}

_WIDTH = 340  # width of every plot in CSS pixels, which fits the screen of a phone
_LONGEST = 40  # maximum number of characters of a name that are shown

_STYLE: dict[Any, Any] = {
    **{"svg.fonttype": "none", "text.parse_math": False, "font.size": 12, "axes.titlesize": 12, "axes.labelsize": 12},
    **{"text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _LINE, "xtick.color": _LINE, "ytick.color": _LINE},
    **{"xtick.labelcolor": _INK, "ytick.labelcolor": _INK, "axes.grid": True, "grid.color": _LINE, "grid.linewidth": 0.6},
    **{"axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 12},
}


@dataclass(frozen=True)
class Dot:
    """A value with its interval, both None if the value is undefined; `also` is a second value to show beside the first."""

    name: str
    value: float | None
    interval: Sequence[float] | None
    also: float | None = None


@dataclass
class _Drawing:
    axes: "Axes"
    svg: str = ""


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _inline(svg: str, identifier: str, title: str) -> str:
    """Turn a figure saved by matplotlib into a named image inside a page."""
    body = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<defs>\s*</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")  # the ids of groups would repeat in every plot
    body = re.sub(r' font-family: [^;"]*;| transform="rotate\(-?0 [^"]*"', "", body)  # so that the page's font is used
    for stand_in, colour in _COLOURS.items():
        body = re.sub(rf"(stroke|fill): {stand_in}", rf"\1: {colour}", body)
    view = re.search(r'viewBox="[^"]*"', body)
    opening = f'<svg class="plot" {view and view[0]} role="img" aria-labelledby="{identifier}"><title id="{identifier}">'
    return f"{opening}{html.escape(title)}</title>{body[body.index('>') + 1 :]}".strip()


@contextmanager
def _drawing(identifier: str, title: str, height: int, *, left: int = 44, top: int = 30) -> Iterator[_Drawing]:
    """Yield axes to draw on; `svg` is set afterwards."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE | {"svg.hashsalt": identifier}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # browsers have the glyphs that matplotlib lacks
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        figure.subplots_adjust(left=left / _WIDTH, right=1 - 14 / _WIDTH, bottom=44 / height, top=1 - top / height)
        drawing = _Drawing(figure.add_subplot())
        yield drawing
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawing.svg = _inline(file.getvalue(), identifier, title)


def _shares(axes: "Axes", *which: Literal["x", "y"]) -> None:
    """Make axes run from 0 to 1."""
    ticks, names = [0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"]
    if "x" in which:
        axes.set_xticks(ticks, names)
        axes.set_xlim(-0.02, 1.02)
    if "y" in which:
        axes.set_yticks(ticks, names)
        axes.set_ylim(-0.02, 1.02)


def plot_dots(
    identifier: str,
    title: str,
    dots: Sequence[Dot],
    axis: str,
    around: Literal["unit", "zero", "share"] = "unit",
    missing: str = "undefined",
) -> str:
    """Plot values as dots and intervals as whiskers, one row each.

    Parameters
    ----------
    identifier : str
        Id of the plot, unique on the page.
    title : str
        Description of the plot, for people who cannot see it.
    dots : sequence of Dot
        One for each row.
    axis : str
        Label of the axis.
    around : {"unit", "zero", "share"}
        Range of the axis: 0 to 1 ("unit"), symmetric around zero ("zero"), or from zero to the largest value ("share").
    missing : str
        What to write beside the name of an undefined value.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with _drawing(identifier, title, 56 + 40 * len(dots), left=14, top=12) as drawing:
        axes = drawing.axes
        for row, dot in enumerate(dots):
            name = _shorten(dot.name) if dot.value is not None else f"{_shorten(dot.name)}: {missing}"
            axes.text(0, row - 0.3, name, transform=axes.get_yaxis_transform(), va="center")
            if dot.interval:
                axes.plot(dot.interval, [row + 0.1] * 2, color=_FIRST, linewidth=2, solid_capstyle="butt", marker="|", markersize=8)
            if dot.value is not None:
                axes.plot(dot.value, row + 0.1, color=_FIRST, marker="o", markersize=7)
            if dot.also is not None:
                axes.plot(dot.also, row + 0.1, color=_SECOND, marker="D", markersize=7, fillstyle="none", markeredgewidth=1.8)
        if around == "unit":
            _shares(axes, "x")
        else:
            reach = 1.1 * max(abs(end) for dot in dots for end in [dot.value or 0, dot.also or 0, *(dot.interval or ())]) or 0.01
            axes.set_xlim(-reach if around == "zero" else 0, reach)
            axes.locator_params(axis="x", nbins=5)
        if around == "zero":
            axes.axvline(0, color=_INK, linewidth=1)
        axes.set(ylim=(len(dots) - 0.5, -0.6), yticks=[], xlabel=axis)
        axes.spines["left"].set_visible(False)
    return drawing.svg


def plot_reliability(identifier: str, title: str, bins: Sequence[ReliabilityBin], *, intervals: bool) -> str:
    """Plot the share of positives against the probability.

    Parameters
    ----------
    identifier : str
        Id of the plot, unique on the page.
    title : str
        Description of the plot, for people who cannot see it.
    bins : sequence of ReliabilityBin
        From `pipeline.metrics.reliability_intervals`.
    intervals : bool
        Whether to plot the intervals.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with _drawing(identifier, title, 300) as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        for found in bins:
            if intervals:
                axes.plot([found.probability] * 2, found.interval, color=_FIRST, linewidth=2, marker="_", markersize=8)
            axes.plot(found.probability, found.share, color=_FIRST, marker="o", markersize=6)
        _shares(axes, "x", "y")
        axes.set(xlabel="probability given")
        axes.set_title("share that has the label", loc="left")
    return drawing.svg


def _defined(values: Iterable[float | None]) -> list[float]:
    """Replace None by NaN, for which matplotlib leaves a gap."""
    return [math.nan if value is None else value for value in values]


def plot_thresholds(identifier: str, title: str, found: LabelThresholds) -> str:
    """Plot precision and recall of a label against the threshold.

    Parameters
    ----------
    identifier : str
        Id of the plot, unique on the page.
    title : str
        Description of the plot, for people who cannot see it.
    found : LabelThresholds
        From `pipeline.evaluation.threshold_costs.compute_thresholds`.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    curve = found.curve
    with _drawing(identifier, title, 300, top=62) as drawing:
        axes = drawing.axes
        thresholds = [row.threshold for row in curve]
        axes.plot(thresholds, _defined(row.recall for row in curve), color=_FIRST, linewidth=2, label="recall")
        axes.plot(
            thresholds, _defined(row.precision for row in curve), color=_SECOND, linewidth=2, linestyle=(0, (5, 2)), label="precision"
        )
        axes.axvline(found.chosen.threshold, color=_INK, linewidth=1.2, label="model’s threshold")
        if (guaranteed := found.guarantee.threshold) is not None:
            axes.axvline(guaranteed, color=_INK, linewidth=1.2, linestyle=(0, (1, 2)), label="guaranteed recall")
        _shares(axes, "x", "y")
        axes.set(xlabel="threshold")
        axes.figure.legend(loc="upper left", ncols=2, handlelength=1.8, columnspacing=1.4, borderaxespad=0.2)
    return drawing.svg


def plot_review(identifier: str, title: str, found: LabelThresholds) -> str:
    """Plot recall of a label against the share of posts to review.

    Parameters
    ----------
    identifier : str
        Id of the plot, unique on the page.
    title : str
        Description of the plot, for people who cannot see it.
    found : LabelThresholds
        From `pipeline.evaluation.threshold_costs.compute_thresholds`.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    shares = _defined([*(row.share_at_random for row in found.curve), 0.0])
    recalls = _defined([*(row.recall for row in found.curve), 0.0])
    with _drawing(identifier, title, 300, top=62) as drawing:
        axes = drawing.axes
        axes.plot(shares, recalls, color=_FIRST, linewidth=2, label="recall")
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)), label="posts drawn at random")
        own = found.chosen
        if own.share_at_random is not None and own.recall is not None:
            axes.plot(own.share_at_random, own.recall, color=_INK, marker="o", linestyle="none", label="model’s threshold")
        _shares(axes, "x", "y")
        axes.set(xlabel="share of posts to review")
        axes.figure.legend(loc="upper left", ncols=2, handlelength=1.8, columnspacing=1.4, borderaxespad=0.2)
    return drawing.svg
