"""Files of posts to files of predictions, streaming."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.folders import new_folder
from pipeline.predictions import prediction_schema, prediction_table
from pipeline.records import BrokenRow, Row, read_rows

MANIFEST, REJECTS = "manifest.json", "rejects.jsonl"
BATCH = 4096

Post = tuple[str, str]  # id and text


class Scorer(Protocol):
    """What scoring asks of a classifier."""

    labels: list[str]
    digest_: str

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Posts to probabilities, shape (n_posts, n_labels)."""

    def decide(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Probabilities to decisions, shape (n_posts, n_labels)."""


@dataclass
class Summary:
    """What became of the posts of a scoring run.

    Attributes
    ----------
    model : str
        Digest of the model.
    files : dict of str to str
        Output file by input file.
    read, scored, rejected : int
        Posts; read = scored + rejected.
    reasons : dict of str to int
        Rejected posts by reason.
    labels : dict of str to int
        Scored posts that were given the label.
    seconds : float
        Wall time, reading and writing included.
    """

    model: str
    files: dict[str, str] = field(default_factory=dict)
    read: int = 0
    scored: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def _post(row: Row | BrokenRow, id_column: str, text_column: str) -> Post | BrokenRow:
    """Id and text of a row, or why it has none."""
    if isinstance(row, BrokenRow):
        return row
    identifier, text = row.fields.get(id_column), row.fields.get(text_column)
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        return BrokenRow(row.number, "id missing or neither string nor integer")
    if not isinstance(text, str):
        return BrokenRow(row.number, "text is null" if text is None else "text is no string")
    if not text.strip():
        return BrokenRow(row.number, "text is empty")
    return str(identifier), text


def _posts(path: Path, id_column: str, text_column: str) -> Iterator[Post | BrokenRow]:
    for row in read_rows(path, [id_column, text_column]):
        yield _post(row, id_column, text_column)


def _score(model: Scorer, posts: Sequence[Post], labels: Counter[str]) -> pa.Table:
    """Score posts, each distinct text once, and count the labels decided."""
    ids, texts = zip(*posts, strict=True)
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    probabilities = model.score(list(place))[[place[text] for text in texts]]
    decided = model.decide(probabilities)
    labels.update(dict(zip(model.labels, decided.sum(axis=0).tolist(), strict=True)))
    return prediction_table(ids, probabilities, decided, model.labels, model.digest_)


def score_files(
    model: Scorer,
    inputs: Sequence[Path],
    folder: Path,
    *,
    id_column: str = "id",
    text_column: str = "text",
    progress: Callable[[int], Any] = lambda posts: None,
) -> Summary:
    """Score files in bounded memory.

    Parameters
    ----------
    model : Scorer
    inputs : sequence of Path
        JSONL, CSV or Parquet files.
    folder : Path
        Gets ``part-00000.parquet`` and so on, one per input (see `prediction_schema`), ``rejects.jsonl`` (file, row
        and reason of posts that cannot be scored) and ``manifest.json`` (the summary); all at once, at the end. An
        earlier scoring output there is replaced.
    id_column, text_column : str
        Columns of the inputs.
    progress : callable, optional
        Told the number of posts after each batch.

    Raises
    ------
    InputError
        When a file cannot be read at all, lacks a column, is given twice or lies in `folder`, or the folder cannot be written; then
        nothing changes there.
    """
    if repeated := [path for path, times in Counter(inputs).items() if times > 1]:
        raise InputError(f"{repeated[0]}: given {inputs.count(repeated[0])} times; name each file once")
    for path in inputs:  # what is wrong with the last file shows before the first is scored
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: lies in the output folder {folder}, which is replaced; choose another --out")
        next(read_rows(path, [id_column, text_column]))
    started = time.perf_counter()
    summary = Summary(model.digest_, labels=Counter(dict.fromkeys(model.labels, 0)))
    with new_folder(folder, MANIFEST) as fresh, (fresh / REJECTS).open("w", encoding="utf-8") as rejects:
        for number, path in enumerate(inputs):
            part = summary.files[str(path)] = f"part-{number:05d}.parquet"
            posts = _posts(path, id_column, text_column)
            with pq.ParquetWriter(fresh / part, prediction_schema(model.labels), compression="zstd") as writer:
                while batch := list(islice(posts, BATCH)):
                    good = [post for post in batch if not isinstance(post, BrokenRow)]
                    broken = [row for row in batch if isinstance(row, BrokenRow)]
                    if good:
                        writer.write_table(_score(model, good, summary.labels))
                    for row in broken:
                        rejects.write(json.dumps({"file": str(path), "row": row.number, "reason": row.reason}) + "\n")
                    summary.read += len(batch)
                    summary.scored += len(good)
                    summary.rejected += len(broken)
                    summary.reasons.update(row.reason for row in broken)
                    progress(len(batch))
        summary.seconds = round(time.perf_counter() - started, 3)
        (fresh / MANIFEST).write_text(json.dumps(vars(summary), indent=1) + "\n", encoding="utf-8")
    return summary
