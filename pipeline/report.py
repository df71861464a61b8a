"""Results as tables for a terminal and figures for a run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from pipeline.metrics import reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.corpora import Corpus

_COLUMNS = ("precision", "recall", "f1", "average_precision", "roc_auc", "brier", "ece", "threshold")
_OVERALL = ("macro_f1", "micro_f1", "mean_average_precision", "exact_match", "one_minus_hamming_loss", "example_jaccard")

_SHORT = {"average_precision": "AP", "mean_average_precision": "mAP", "one_minus_hamming_loss": "1-hamming"}


def _heading(name: str) -> str:
    return _SHORT.get(name, name.replace("_", " "))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def label_table(metrics: Mapping[str, Any], title: str) -> Table:
    """Per-label metrics, a row each."""
    table = Table(title=f"{title}, {metrics['posts']:,} posts", title_justify="left")
    table.add_column("label")
    for name in (*_COLUMNS, "support"):
        table.add_column(_heading(name), justify="right")
    for label, values in metrics["labels"].items():
        table.add_row(label, *(_number(values[name]) for name in _COLUMNS), f"{values['support']:,}")
    return table


def overall_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Overall metrics, a row for each named set of them (the model, the baselines, the model on new texts)."""
    table = Table()
    table.add_column("")
    for name in ("posts", *_OVERALL):
        table.add_column(_heading(name), justify="right")
    for title, metrics in rows.items():
        table.add_row(title, f"{metrics['posts']:,}", *(_number(metrics[name]) for name in _OVERALL))
    return table


def metrics_tables(metrics: Mapping[str, Any], title: str) -> list[Table]:
    """All tables of an evaluation: per label, then overall beside the baselines, with and without repeated texts."""
    rows = {"model": metrics, "all zero": metrics["baselines"]["all_zero"], "prior": metrics["baselines"]["prior"]}
    if new := metrics.get("new_texts_only"):
        rows |= {"model, texts in no other split": new, "all zero, texts in no other split": new["baselines"]["all_zero"]}
    return [label_table(metrics, title), overall_table(rows)]


def corpus_table(corpus: "Corpus") -> Table:
    """Posts and positives per split."""
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
    """What a user should know about the corpus, a line each."""
    notes = []
    if corpus.overlap and (corpus.overlap.repeated or corpus.overlap.leaked_texts or corpus.overlap.leaked_authors):
        found = corpus.overlap
        notes.append(
            f"train: {found.repeated:,} posts repeat an earlier one ({found.conflicting:,} with other labels), "
            f"{found.leaked_texts:,} stand in another split, {found.leaked_authors:,} are by an author in another split; "
            f"{found.dropped:,} dropped"
        )
    notes += [f"ignored label {name}: {count:,} times" for name, count in corpus.ignored.items()]
    notes += [f"no split, passed over: {path}" for path in corpus.passed_over]
    return notes


def figures(Y: NDArray[np.int8], probabilities: NDArray[np.float32], labels: Sequence[str]) -> dict[str, "Figure"]:
    """Precision-recall and reliability curves by file name, one figure a label."""
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve

    drawn = {}
    for k, label in enumerate(labels):
        if not Y[:, k].any():
            continue
        figure = Figure(figsize=(9, 4), layout="constrained")
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
