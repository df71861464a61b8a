"""Reads what annotators said: who gave which labels to which post."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from models.config import LabelSet
from models.errors import InputError
from models.folders import check_local
from pipeline.config import Columns
from pipeline.corpora.exports import Post, Vote, recognise
from pipeline.corpora.labels_cell import LabelCells
from pipeline.corpora.layout import lay_out
from pipeline.corpora.problems import counted
from pipeline.records import Row, read_rows
from pipeline.review.batch import NOTHING
from pipeline.scoring.inputs import find_inputs


class Answer(NamedTuple):
    """The labels that an annotator gave to a post, and those that the annotator was asked about."""

    labels: frozenset[str]
    asked: frozenset[str]


@dataclass
class Answers:
    """What several annotators said about posts.

    Attributes
    ----------
    labels : list of str
        The labels and auxiliary labels that they may give.
    by_post : dict of str to dict of str to Answer
        Answers by id of the post and name of the annotator.
    posts : dict of str to dict
        The post's columns, by id, as the first file has them.
    notes : list of str
        How the files were read, one line each.
    """

    labels: list[str]
    by_post: dict[str, dict[str, Answer]] = field(default_factory=dict)
    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def annotators(self) -> list[str]:
        """Names of all annotators, in order."""
        return sorted({name for answers in self.by_post.values() for name in answers})


def _posts_of(path: Path, columns: Columns, cells: LabelCells, notes: list[str]) -> list[Post]:
    """Return the posts of a file with the votes on them; the labels of a plain file are the votes of the annotator it is named after."""
    rows = list[Row]()
    for row in read_rows(path, [], tell=lambda file, what: notes.append(f"{file}: {what}")):
        if not isinstance(row, Row):
            raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
        rows.append(row)
    try:
        question = columns.labels if isinstance(columns.labels, str) else "labels"
        if export := recognise(rows, question, cells):
            notes.append(f"{path}: {export}")
            return export.posts
        found = lay_out(columns, [row.fields for row in rows], cells, True).columns
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    notes.append(f"{path}: {counted(len(rows), 'post')}, labelled by one annotator, {path.stem}")
    of = found.labels
    given = [row.fields.get(of) if isinstance(of, str) else {label: row.fields.get(name) for label, name in of.items()} for row in rows]
    ids = [{"id": row.fields.get(found.id) if found.id else None, "text": row.fields.get(found.text)} for row in rows]
    return [Post(row.number, row.fields | own, [Vote(cell, annotator=path.stem)]) for row, own, cell in zip(rows, ids, given, strict=True)]


def _answer(vote: Vote, cells: LabelCells, place: str) -> Answer:
    labels, unknown = cells.read(vote.given)
    if labels and unknown == [NOTHING]:
        raise InputError(f"{place}: has both {NOTHING} and a label from one annotator; correct the answer in the tool, and export again")
    if unknown:
        raise InputError(f"{place}: {len(unknown)} of the labels are unknown; the labels are {', '.join(cells.known)}")
    asked = frozenset(cells.match(name) or name for name in vote.asked) if vote.asked is not None else frozenset(cells.known)
    given = frozenset(labels) & set(cells.known)
    return Answer(given, (asked | given) & frozenset(cells.known))


def read_answers(files: Sequence[str], labels: LabelSet, columns: Columns) -> Answers:
    """Read files that annotators, or the tools that they used, wrote.

    Parameters
    ----------
    files : sequence of str
        Exports of labelling tools, signed CSV files of a batch, or one file of labelled posts for each annotator.
    labels : LabelSet
        Labels that they may give.
    columns : Columns
        Which column of a plain file holds what.

    Returns
    -------
    Answers
        If somebody answered twice for a post, only the later answer.

    Raises
    ------
    InputError
        If a file cannot be read, posts of several files have no ids, or an answer has an unknown label. The message quotes no cell.

    Examples
    --------
    >>> from pipeline.config_files import load_config
    >>> config = load_config()
    >>> answers = read_answers(["data/starter/test.jsonl"], config.labels, config.data.columns)
    >>> len(answers.by_post), answers.annotators
    (426, ['test'])
    """
    cells, answers = LabelCells(labels), Answers([*labels.names, *labels.auxiliary])
    again = defaultdict[str, set[str]](set)
    for name in files:
        check_local(name)
    paths = find_inputs(files)
    for path in paths:
        for post in _posts_of(path, columns, cells, answers.notes):
            place, identifier = f"{path}, row {post.number}", post.fields.get("id")
            if identifier is None and len(paths) == 1:
                identifier = f"{path.stem}-{post.number}"
            if isinstance(identifier, float) and identifier.is_integer():
                identifier = int(identifier)
            if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
                raise InputError(f"{place}: the post has no id, and answers are compared by id; give each post its id")
            of_post = answers.by_post.setdefault(str(identifier), {})
            answers.posts.setdefault(str(identifier), post.fields)
            for number, vote in enumerate(post.votes, 1):
                name = vote.annotator or f"annotator {number}"
                # A tool may ask about one label at a time.
                new, old = _answer(vote, cells, place), of_post.get(name, Answer(frozenset(), frozenset()))
                if new.asked & old.asked:
                    again[name].add(str(identifier))
                of_post[name] = Answer(new.labels | (old.labels - new.asked), new.asked | old.asked)
    answers.notes += [f"{name} answered again for {counted(len(ids), 'post')}; the later answer counts" for name, ids in again.items()]
    if not any(answers.by_post.values()):
        raise InputError(
            f"{', '.join(files)}: nobody has labelled a post; in posts.csv, put your name in the column annotator for each post you read"
        )
    return answers
