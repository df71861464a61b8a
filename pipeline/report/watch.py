"""Shows what watching found: tables on a terminal, and a short HTML page that needs no network and no script."""

from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from models.errors import InputError
from pipeline.files import OutputError, whole_file
from pipeline.report.page import interval, number, percent, percents, plain, template
from pipeline.report.plots import Dot, plot_dots
from pipeline.watching.results import Estimate, Group, Watched

RESULT, PAGE = "watch.json", "watch.html"
MOST_PLOTTED = 31  # groups in one plot, such as the days of a month


def _estimate(found: Estimate) -> str:
    return f"{number(found.value, 2)} {interval(found.band, 2)}".strip()


def _chance(p: float) -> str:
    """Return a p-value with two digits, unless it is so small that its digits say nothing."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def watch_tables(found: Watched) -> list[Table]:
    """Make the tables that the command prints.

    Parameters
    ----------
    found : Watched
    """
    title = f"Compared with {escape(found.reference)} ({found.reference_posts:,} different posts)"
    drift = Table("posts", "measure", "stability index", "distance", "p, corrected", "alarm", title=title, title_justify="left")
    expected = Table("posts", "label", "given", "expected share", "precision", "recall", "F1", "note", title_justify="left")
    expected.title = f"Expected without labels, with {percent(float(str(found.limits['confidence'])))} bands"
    for group in found.groups:
        name = f"{escape(group.name)} ({group.posts:,})"
        for measure, each in group.drift.items():
            drift.add_row(name, plain(measure), f"{each.psi:.3f}", f"{each.js:.3f}", _chance(each.p), "yes" if each.alarm else "no")
        if told := group.two_sample:
            drift.add_row(name, "all measures", f"AUC {told.auc:.3f}", "", _chance(told.p), "yes" if told.alarm else "no")
        for label, of in group.expected.items():
            share = f"{percent(of.share.value)} {percents(of.share.band)}".strip()
            rates = [_estimate(each) for each in (of.precision, of.recall, of.f1)]
            expected.add_row(name, plain(label), percent(of.given), share, *rates, "void" if group.void else "")
    return [drift, expected]


def _f1_plot(group: Group) -> str:
    dots = [Dot(plain(label), each.f1.value, each.f1.band) for label, each in group.expected.items()]
    said = "; ".join(f"{dot.name} {number(dot.value, 2)}" for dot in dots)
    return plot_dots("plot-f1", f"Expected F1 of each label with its band: {said}", dots, "expected F1")


def _share_plots(found: Watched) -> Iterator[tuple[str, str]]:
    """Yield the name of each label, and a plot of its expected share by group."""
    groups = found.groups[1:][-MOST_PLOTTED:]
    for number_, label in enumerate(found.groups[0].expected if groups else ()):
        shares = [(group.name, group.expected[label].share) for group in groups]
        dots = [
            Dot(name, share.value, share.band, group.expected[label].given) for (name, share), group in zip(shares, groups, strict=True)
        ]
        said = "; ".join(f"{dot.name} {percent(dot.value)}" for dot in dots)
        yield plain(label), plot_dots(f"plot-share-{number_}", f"Expected share of {plain(label)}: {said}", dots, "share of posts", "share")


def render_watched(found: Watched) -> str:
    """Render the page.

    Parameters
    ----------
    found : Watched

    Returns
    -------
    str
        HTML with its style and plots, without scripts or references to anything outside, and without text of posts.
    """
    page = template("watch.html.j2").render(
        found=found, every=found.groups[0], chance=_chance, f1=_f1_plot(found.groups[0]), shares=list(_share_plots(found))
    )
    return f"{page.strip()}\n"


def write_watched(found: Watched, folder: Path) -> None:
    """Write ``watch.json`` and the page.

    Parameters
    ----------
    found : Watched
    folder : Path
        Folder to write to; what an earlier run wrote there is replaced.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    written = {PAGE: render_watched(found), RESULT: found.model_dump_json(indent=1) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            with whole_file(folder / name) as file:
                file.write(content.encode())
    except (OSError, OutputError) as error:
        raise InputError(f"{folder}: cannot be written ({error}); choose another --out") from None
