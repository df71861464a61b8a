"""Describes a run or a registered model in Markdown, for colleagues who open MLflow's UI."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from pipeline import __version__
from pipeline.corpora import SPLITS
from pipeline.evaluation.measuring import HELD_OUT, TUNED_ON_THESE
from pipeline.evaluation.results import Intervals, Results, SplitMetrics
from pipeline.model_location import shown_model
from pipeline.report.page import METRIC_NAMES, interval, listed, number, percent, signed
from pipeline.report.tables import no_intervals_note

_SHOWN = ("precision", "recall", "f1", "average_precision")
_LABELS = 40  # maximum number of rows of a table, so that a description is not cut


def short_name(sources: Sequence[str]) -> str:
    """Return a few words for the sources of a corpus, such as ``starter`` for ``data/starter``.

    Parameters
    ----------
    sources : sequence of str
        The config's ``data.sources``.

    Examples
    --------
    >>> short_name(["train=data/a.jsonl", "hub:someone/posts"])
    'a.jsonl + posts'
    """
    roles = "|".join((*SPLITS, "unlabelled"))
    names = list(dict.fromkeys(PurePath(re.sub(rf"^({roles})=|^hub:", "", source)).name or source for source in sources))
    return " + ".join([*names[:2], *([f"{len(names) - 2} more"] if len(names) > 2 else [])])


def _cell(value: float | None, bounds: Sequence[float] | None) -> str:
    return f"{number(value)} {interval(bounds)}".strip()


def metrics_note(metrics: SplitMetrics, intervals: Intervals | None = None) -> str:
    """Return a table of metrics by label, and a sentence about all labels.

    Parameters
    ----------
    metrics : SplitMetrics
    intervals : Intervals, optional
        Intervals to show beside the metrics.
    """
    lines = [f"| label | posts with it | {' | '.join(METRIC_NAMES[name][0] for name in _SHOWN)} |", "|---|--:|" + "--:|" * len(_SHOWN)]
    for label, values in list(metrics.labels.items())[:_LABELS]:
        bounds = intervals.labels[label] if intervals else None
        cells = [_cell(getattr(values, name) if values.support else None, getattr(bounds, name, None)) for name in _SHOWN]
        lines.append(f"| {label} | {values.support:,} | {' | '.join(cells)} |")
    macro = _cell(metrics.macro_f1, getattr(intervals, "macro_f1", None))
    ranked = _cell(metrics.mean_average_precision, getattr(intervals, "mean_average_precision", None))
    without, silent = number(metrics.baselines.prior.macro_f1), percent(metrics.baselines.all_zero.exact_match)
    overall = (
        f"Macro-F1 is **{macro}** ({without} without reading posts), and mean average precision is {ranked}. "
        f"Every label is right for {percent(metrics.exact_match)} of the posts; if no label is given, for {silent}."
    )
    return "\n".join([*lines, "", overall])


def tuned_on(evaluated: str | None) -> str:
    """Say in brackets that thresholds were chosen on the posts that were measured, if they were."""
    return f" ({TUNED_ON_THESE})" if evaluated == HELD_OUT else ""


def training_note(kind: str, labels: str, sources: Sequence[str], posts: int, metrics: SplitMetrics, evaluated: str, digest: str) -> str:
    """Describe a training run.

    Parameters
    ----------
    kind : str
        The config's ``model.type``.
    labels : str
        Name of the label set.
    sources : sequence of str
        The config's ``data.sources``.
    posts : int
        Number of posts that the model was trained on.
    metrics : SplitMetrics
        Its metrics.
    evaluated : str
        Which posts these were measured on.
    digest : str
        Digest of the model.
    """
    return (
        f"A **{kind}** model for the labels `{labels}`, trained on {posts:,} posts of {listed([f'`{source}`' for source in sources])}. "
        f"Measured on **{evaluated}**, {metrics.posts:,} posts{tuned_on(evaluated)}:\n\n{metrics_note(metrics)}\n\n"
        f"Model `{digest[:12]}`, disclosure-pipeline {__version__}. `config.yaml` says how to train it again."
    )


def evaluation_note(name: str, sources: Sequence[str], results: Results) -> str:
    """Describe an evaluation run.

    Parameters
    ----------
    name : str
        What the model is called.
    sources : sequence of str
        The config's ``data.sources``.
    results : Results
        What was found.
    """
    few = no_intervals_note(results)
    certain = f"There are {few}." if few else f"In brackets are {percent(results.sample.confidence)} intervals."
    lines = [
        f"The model **{name}** (`{results.model[:12]}`), measured on **{results.evaluated}** of "
        f"{listed([f'`{source}`' for source in sources])}, {results.posts:,} posts. {certain}",
        metrics_note(results, results.intervals),
    ]
    if behaviour := results.behaviour:
        lines.append(f"It passed {behaviour.passed:,} of {behaviour.cases:,} behavioural cases.")
    if swaps := results.swaps:
        jobs = swaps.jobs
        lines.append(
            f"Swaps of words that must not matter move a mean probability by up to {number(swaps.shift)} and change up to "
            f"{percent(swaps.changed)} of decisions. Of {jobs.posts:,} harmless posts that name a job, it marks {len(jobs.marked):,}."
        )
    if comparison := results.comparison:
        found = comparison.differences.macro_f1
        verdict = found.verdict if found.interval else signed(found.difference)
        lines.append(f"Macro-F1 compared with {shown_model(comparison.model)}: {verdict}.")
    if promotion := results.promotion:
        failed = [gate.gate for gate in promotion.gates if not gate.passed]
        lines.append("**Promoted.**" if promotion.promoted else f"**Not promoted**: it failed {listed(failed[:5])}.")
    return "\n\n".join([*lines, "The report is `evaluation/report.html`, among the artifacts."])


def version_note(digest: str, description: Mapping[str, Any], card: str | None) -> str:
    """Describe a registered model's version, from what the model's directory says.

    Parameters
    ----------
    digest : str
        Digest of the model.
    description : mapping
        The content of ``model.json``.
    card : str or None
        The content of the model's card, if it has one.
    """
    config, learned = description["config"], description.get("training_data", {})
    posts = f", trained on {learned['posts']:,} posts" if "posts" in learned else ""
    lines = [f"**{config['model']['type']}**{posts}, labels `{config['labels']['name']}`; model `{digest[:12]}`."]
    measured = dict(description.get("metrics", {}))
    evaluated = measured.pop("evaluated", None)
    with suppress(ValidationError):  # an earlier release may have measured other things
        found = metrics_note(SplitMetrics.model_validate(measured))
        lines += [f"Measured on **{evaluated}** when it was trained{tuned_on(evaluated)}:\n\n{found}"]
    if card is not None:
        lines.append(re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL).strip())  # without the header for the hub
    return "\n\n".join(lines)
