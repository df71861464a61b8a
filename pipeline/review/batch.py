"""A batch of posts to label, and its files: what was chosen and why, and what annotators get."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from models.config import LabelSet
from models.errors import InputError
from models.folders import new_folder
from pipeline.records import BrokenRow, read_rows
from pipeline.records.cells import to_cell
from pipeline.result_base import Result
from pipeline.review.choosing import RANDOM

BATCH_FILE, SUMMARY_FILE, INTERFACE_FILE, TASKS_FILE, POSTS_FILE = "batch.csv", "batch.json", "interface.xml", "tasks.json", "posts.csv"
QUESTION, NOTHING = "labels", "none"  # name of the question in Label Studio, and the choice for posts without any label
_OURS = ("id", "text", "stratum", "predicted", "annotator")


class Planned(NamedTuple):
    """What `batch.csv` says about a post: why it was chosen, whether annotators see the prediction, and the labels predicted."""

    stratum: str
    shown: bool
    predicted: frozenset[str]


@dataclass(frozen=True)
class ChosenPost:
    """A post of a batch.

    Attributes
    ----------
    id, text : str
    planned : Planned
    probabilities : dict of str to float
        The model's probabilities, by label.
    kept : dict of str to str or None
        Further columns that annotators get.
    """

    id: str
    text: str
    planned: Planned
    probabilities: dict[str, float]
    kept: dict[str, str | None] = field(default_factory=dict)

    def prediction(self, labels: LabelSet) -> list[str]:
        """Return the predicted labels in order, or `NOTHING` if there are none."""
        nothing = [] if NOTHING in labels.names else [NOTHING]
        return [name for name in labels.names if name in self.planned.predicted] or nothing

    @property
    def told(self) -> str:
        """What annotators may know about the stratum: one that names a label would tell them what the model suspects."""
        return RANDOM if self.planned.stratum == RANDOM else "chosen"


class BatchSummary(Result):
    """What a batch holds, in numbers.

    Attributes
    ----------
    posts : int
        Number of posts.
    strata : dict of str to int
        Posts by stratum.
    blind : int
        Posts whose prediction annotators do not see.
    predicted : dict of str to int
        Posts by predicted label.
    read : int
        Posts that were read.
    left_out : dict of str to int
        Posts that could not be chosen, by reason.
    model : str
        Digest of the model.
    seed : int
        Random seed.
    """

    posts: int
    strata: dict[str, int]
    blind: int
    predicted: dict[str, int]
    read: int
    left_out: dict[str, int]
    model: str
    seed: int


def summarise(
    chosen: Sequence[ChosenPost], labels: LabelSet, read: int, left_out: Mapping[str, int], model: str, seed: int
) -> BatchSummary:
    """Count what a batch holds; the parameters are those of `BatchSummary`."""
    predicted = Counter(name for post in chosen for name in post.planned.predicted)
    return BatchSummary(
        posts=len(chosen),
        strata=dict(Counter(post.planned.stratum for post in chosen)),
        blind=sum(not post.planned.shown for post in chosen),
        predicted={name: predicted[name] for name in labels.names},
        read=read,
        left_out=dict(left_out),
        model=model,
        seed=seed,
    )


def render_interface(labels: LabelSet, *, blur: bool = True) -> str:
    """Return the labelling interface of Label Studio, with the labels and their definitions.

    Parameters
    ----------
    labels : LabelSet
        The labels to ask for; auxiliary ones are asked for, too.
    blur : bool
        Whether a post is blurred until the annotator points at it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("interface.xml.j2")
    return template.render(labels=labels, question=QUESTION, nothing=None if NOTHING in labels.names else NOTHING, blur=blur)


def to_task(post: ChosenPost, labels: LabelSet, model: str) -> dict[str, Any]:
    """Return a post as a task of Label Studio, with the prediction unless it is to be labelled blind.

    Parameters
    ----------
    post : ChosenPost
    labels : LabelSet
        The label set of the model.
    model : str
        Digest of the model.
    """
    value = {"choices": post.prediction(labels)}
    result = [{"from_name": QUESTION, "to_name": "text", "type": "choices", "value": value}]
    score = max(post.probabilities.values(), default=0.0)
    data = {**post.kept, "id": post.id, "text": post.text, "stratum": post.told}
    shown = [{"model_version": model[:12], "score": score, "result": result}] if post.planned.shown else []
    return {"data": data, "predictions": shown}


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, mark: bool = False) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, lineterminator="\r\n" if mark else "\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-8-sig" if mark else "utf-8", "replace")  # spreadsheets recognise UTF-8 by the mark


def _plan(chosen: Sequence[ChosenPost], labels: LabelSet, model: str) -> bytes:
    probabilities = [f"prob_{name}" for name in labels.names]
    rows = [
        {
            **{"id": post.id, "stratum": post.planned.stratum, "shown": "yes" if post.planned.shown else "no", "model": model},
            "predicted": ";".join(name for name in labels.names if name in post.planned.predicted),
            **{f"prob_{name}": f"{p:.6g}" for name, p in post.probabilities.items()},
        }
        for post in chosen
    ]
    return _csv(rows, ["id", "stratum", "shown", "predicted", *probabilities, "model"])


def _sheet(chosen: Sequence[ChosenPost], labels: LabelSet) -> bytes:
    """Return the batch as a table in which annotators mark labels and sign the rows that they read."""
    kept = list(chosen[0].kept) if chosen else []
    rows = [
        {
            **{name: to_cell(value or "") for name, value in post.kept.items()},
            **{"id": post.id, "text": to_cell(post.text), "stratum": post.told},
            "predicted": ", ".join(post.prediction(labels)) if post.planned.shown else "",
        }
        for post in chosen
    ]
    return _csv(rows, ["id", "text", *kept, "stratum", "predicted", *labels.names, *labels.auxiliary, "annotator"], mark=True)


def check_kept(columns: Sequence[str], labels: LabelSet) -> None:
    """Raise an error if a column to hand over has the name of one that every batch has.

    Raises
    ------
    InputError
        The message names the column.
    """
    if taken := [name for name in columns if name in {*_OURS, *labels.names, *labels.auxiliary}]:
        raise InputError(f"--keep {taken[0]}: a batch already has a column of this name; rename the column in the input")


def write_batch(
    chosen: Sequence[ChosenPost], labels: LabelSet, summary: BatchSummary, out: Path, *, with_texts: bool = False, blur: bool = True
) -> None:
    """Write the files of a batch; nothing that exists is replaced, since annotators may have worked on it.

    Parameters
    ----------
    chosen : sequence of ChosenPost
        In the order in which annotators get them.
    labels : LabelSet
        The label set of the model.
    summary : BatchSummary
        The result of `summarise`.
    out : Path
        Folder to write.
    with_texts : bool
        Whether to write the two files with the texts of the posts, which annotators need.
    blur : bool
        As in `render_interface`.

    Raises
    ------
    InputError
        If the folder is not empty or cannot be written.
    """
    files = {
        BATCH_FILE: _plan(chosen, labels, summary.model),
        SUMMARY_FILE: f"{summary.model_dump_json(indent=1)}\n".encode(),
        INTERFACE_FILE: render_interface(labels, blur=blur).encode(),
    }
    if with_texts:
        tasks = [to_task(post, labels, summary.model) for post in chosen]
        files[TASKS_FILE] = json.dumps(tasks, ensure_ascii=False, indent=1).encode("utf-8", "replace")
        files[POSTS_FILE] = _sheet(chosen, labels)
    with new_folder(out, ()) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)


def read_batch(folder: Path) -> dict[str, Planned]:
    """Read which posts a batch holds.

    Parameters
    ----------
    folder : Path
        A folder that `write_batch` wrote.

    Returns
    -------
    dict of str to Planned
        By id.

    Raises
    ------
    InputError
        If the folder has no readable ``batch.csv``.
    """
    path, planned = folder / BATCH_FILE, dict[str, Planned]()
    if not path.is_file():
        raise InputError(f"{folder}: holds no {BATCH_FILE}; give a folder that disclosure label-next wrote")
    for row in read_rows(path, ["id", "stratum", "shown", "predicted"]):
        shown = None if isinstance(row, BrokenRow) else {"yes": True, "no": False}.get(str(row.fields["shown"]))
        if isinstance(row, BrokenRow) or shown is None:
            raise InputError(f"{path}, row {row.number}: is damaged; use the file as disclosure label-next wrote it")
        predicted = frozenset(name for name in str(row.fields["predicted"] or "").split(";") if name)
        planned[str(row.fields["id"])] = Planned(str(row.fields["stratum"]), shown, predicted)
    return planned


def read_texts(folder: Path) -> list[str]:
    """Read the texts of the posts of a batch.

    Parameters
    ----------
    folder : Path
        A folder that `write_batch` wrote.

    Returns
    -------
    list of str
        Empty if the batch was written without texts.

    Raises
    ------
    InputError
        If ``tasks.json`` is damaged. The message quotes nothing of it.
    """
    path = folder / TASKS_FILE
    try:
        return [str(task["data"]["text"]) for task in json.loads(path.read_bytes())] if path.is_file() else []
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(f"{path}: is damaged; use the file as disclosure label-next wrote it, or delete it") from None
