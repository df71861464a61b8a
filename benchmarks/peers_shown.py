"""Shows the results of benchmarks/peers.py as a table in a terminal or in Markdown, and as a plot of quality against speed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}"


def _estimate(found: Mapping[str, Any]) -> str:
    bounds = found["interval"]
    return _percent(found["value"]) + (f" [{_percent(bounds[0])}, {_percent(bounds[1])}]" if bounds else "")


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def _speed(rate: float | None, tokenizer: float | None) -> tuple[str, str]:
    return (f"{rate:,.0f}", f"{rate / tokenizer:.2g}") if rate and tokenizer else ("–", "–")


COLUMNS = [
    *("", "macro-F1", "mAP", "F1 by label", "worst ECE", "behaviour", "off-domain"),
    *("train s", "posts/s", "× tokenizer", "MB"),
]


def table_rows(peers: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return a row per peer with the columns `COLUMNS`, shares in percent; the best macro-F1 comes first."""
    ordered = sorted(peers.values(), key=lambda found: -found["macro_f1"]["value"])
    return [
        [
            found["title"],
            _estimate(found["macro_f1"]),
            _percent(found["mean_average_precision"]["value"]),
            " / ".join(_percent(values["f1"], 0) for values in found["labels"].values()),
            f"{max(values['ece'] for values in found['labels'].values()):.3f}",
            _percent(found["behaviour"]["rate"]),
            f"{_percent(found['off_domain']['harassment'], 2)} / {_percent(found['off_domain']['solidarity'], 2)}",
            _seconds(found["train_seconds"]),
            *_speed(found["posts_per_second"], found["tokenizer_posts_per_second"]),
            f"{found['bytes'] / 1e6:,.1f}",
        ]
        for found in ordered
    ]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown."""
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table(rows: Sequence[Sequence[str]]) -> Table:
    """Return the table for a terminal."""
    shown = Table(title="Percent, with 95 % intervals; one core", title_justify="left", padding=(0, 0))
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name else "left")
    for row in rows:
        shown.add_row(*row)
    return shown


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of (speed, quality) pairs that no other pair beats in both, fastest first."""
    chosen, best = [], -1.0
    for index in sorted(range(len(points)), key=lambda each: (-points[each][0], -points[each][1])):
        if points[index][1] > best:
            chosen.append(index)
            best = points[index][1]
    return chosen


def _times_tokenizer(found: Mapping[str, Any]) -> float:
    """Return the speed as a multiple of the tokenizer's."""
    return float(found["posts_per_second"] / found["tokenizer_posts_per_second"])


def _draw(axes: "Axes", shown: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draw a metric against speed; `shown` is sorted from slowest to fastest."""
    points = [(_times_tokenizer(found), found[metric]["value"]) for found in shown]
    best = [points[index] for index in front(points)]
    axes.plot(*zip(*best, strict=True), color="0.7", linewidth=1, zorder=1) if best else None
    for found, (faster, quality) in zip(shown, points, strict=True):
        low, high = found[metric]["interval"] or (quality, quality)
        ours = found["title"].startswith("ours")
        colour = "tab:red" if ours else "tab:blue"
        axes.errorbar(faster, quality, [[max(0, quality - low)], [max(0, high - quality)]], fmt="o", color=colour, elinewidth=0.8)
        # Beyond a third of the logarithmic axis, names other than ours stand left of their points, because the fast ones are close
        # together.
        left = not ours and faster**3 > points[0][0] ** 2 * points[-1][0]
        axes.annotate(found["title"], (faster, quality), (-5 if left else 5, 4), textcoords="offset points", ha="right" if left else "left")
    axes.margins(x=0.15)
    axes.grid(color="0.92")


def plot(peers: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw mAP and macro-F1 against speed, with a line through the models that no other model beats in both.

    Parameters
    ----------
    peers : mapping of str to mapping
        Results by name; peers whose speed was not measured are left out.
    path : Path
        SVG file to write.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = sorted((found for found in peers.values() if found["posts_per_second"]), key=_times_tokenizer)
    with mpl.rc_context({"svg.hashsalt": "peers", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(10, 9), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True)
        _draw(upper, shown, "mean_average_precision")
        _draw(lower, shown, "macro_f1")
        upper.set(ylabel="mAP, test split (95 % interval)")
        lower.set(xscale="log", xlabel="speed on one core, × the bare spaCy tokenizer's", ylabel="macro-F1, test split (95 % interval)")
        figure.savefig(path, metadata={"Date": None})
