"""Recognises what labelling tools export, and finds out who gave which labels to which post."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from models.errors import InputError
from pipeline.corpora.labels_cell import FLAGS, LabelCells, flag_of
from pipeline.corpora.layout import option
from pipeline.corpora.problems import counted
from pipeline.records import Row
from pipeline.records.cells import from_cell

# Columns about the annotation in Label Studio's flat exports.
_OF_ANNOTATION = {"annotation_id", "annotator", "lead_time", "created_at", "updated_at", "agreement"}


class Vote(NamedTuple):
    """What one annotator says about a post.

    Attributes
    ----------
    given : object
        The labels, as a cell that `LabelCells` reads.
    asked : frozenset of str or None
        What the annotator was asked about, as the tool writes it; None for all labels.
    annotator : str or None
        Who it was; None if the tool does not say.
    """

    given: Any
    asked: frozenset[str] | None = None
    annotator: str | None = None


@dataclass
class Post:
    """A post of an export: the number of its first row, its values by column, and a vote from each annotator."""

    number: int
    fields: dict[str, Any]
    votes: list[Vote]


@dataclass
class Export:
    """What was found in an export.

    Attributes
    ----------
    tool : str
        What the rows were recognised as.
    posts : list of Post
        The posts that somebody has labelled.
    labels_from : str
        Where the labels are from.
    no_labels : Counter of str
        What was not taken as labels, such as rejected answers, and how often it occurs.
    left_out : int
        Posts to which nobody gave an answer that counts.
    """

    tool: str
    posts: list[Post] = field(default_factory=list)
    labels_from: str = "nothing, because no annotator answered"
    no_labels: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    def __str__(self) -> str:
        no_labels = ", ".join(counted(count, what) for what, count in self.no_labels.items() if count)
        told = [f"an export from {self.tool}: {counted(len(self.posts), 'post')}, labels from {self.labels_from}"]
        told += [f"not taken as labels: {no_labels}"] if no_labels else []
        told += [f"{counted(self.left_out, 'post')} left out, because nobody gave an answer that counts"] if self.left_out else []
        return "; ".join(told)

    def add(self, number: int, fields: dict[str, Any], votes: list[Vote]) -> None:
        """Add a post, or count it if it has no vote."""
        if votes:
            self.posts.append(Post(number, fields, votes))
        else:
            self.left_out += 1


def majority(votes: Iterable[tuple[Iterable[str], frozenset[str] | None]]) -> tuple[list[str], int]:
    """Return the labels given by more than half of the annotators who were asked about them, and the number of labels that fewer gave.

    Parameters
    ----------
    votes : iterable of (labels, asked)
        The labels that an annotator gives, and those that the annotator was asked about (None for all).

    Examples
    --------
    >>> majority([(["assault"], None), (["assault", "street_harassment"], None), ([], None)])
    (['assault'], 1)
    """
    ballots = [(set(labels), asked) for labels, asked in votes]
    given = Counter(name for labels, _ in ballots for name in labels)
    asked_about = {name: sum(asked is None or name in labels | asked for labels, asked in ballots) for name in given}
    kept = [name for name, times in given.items() if 2 * times > asked_about[name]]
    return kept, len(given) - len(kept)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _key(value: Any, row: Row) -> Hashable:
    """Return what identifies a post, or the number of its row if nothing does."""
    return row.number if value is None else str(value)


def _name(value: Any) -> str | None:
    """Return an annotator's name, which tools write as a number, a text or a mapping with either."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("email", "username", "id") if value.get(key) is not None), None)
    return str(value).strip() if isinstance(value, str | int) and str(value).strip() else None


def _question(export: Export, names: Iterable[str], wanted: str) -> str:
    """Choose the question that asks for labels, among those that annotators answered."""
    found = sorted(set(names))
    chosen = wanted if wanted in found else found[0] if len(found) == 1 else None
    if chosen is None:
        options = " or ".join(option("labels", name) for name in found)
        several = f"with several questions; say which one asks for the labels: {options}"
        raise InputError(
            f"is an export from {export.tool} {several if found else 'in which no label is about a whole post; label posts with choices'}"
        )
    export.labels_from = repr(chosen)
    return chosen


def _label_studio(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:  # noqa: ARG001
    """Read tasks; the labels are the choices in their annotations."""
    annotations = {row.number: _dicts(row.fields.get("annotations", row.fields.get("completions"))) for row in rows}
    results = [each for of_task in annotations.values() for annotation in of_task for each in _dicts(annotation.get("result"))]
    choices = [str(each.get("from_name")) for each in results if each.get("type") == "choices"]
    question = _question(export, choices, wanted) if results else None
    for row in rows:
        votes = []
        for annotation in annotations[row.number]:
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                export.no_labels["cancelled annotation"] += 1
            else:
                given = [each.get("value") for each in _dicts(annotation.get("result")) if each.get("from_name") == question]
                votes.append(Vote(given, annotator=_name(annotation.get("completed_by"))))
        for name in ("predictions", "drafts"):
            export.no_labels[name.removesuffix("s")] += len(_dicts(row.fields.get(name)))
        data = row.fields["data"]
        export.add(row.number, data | {"id": row.fields.get("id") if data.get("id") is None else data["id"]}, votes)


def _label_studio_flat(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:
    """Read one row per annotation; the labels are in the column named after the question, which JSON-MIN leaves out where it is empty."""

    def lists_labels(name: str) -> bool:
        read = [cells.read(row.fields.get(name)) for row in rows]
        return any(names for names, _ in read) and not any(unknown for _, unknown in read)

    columns = {name for row in rows for name in row.fields} - _OF_ANNOTATION
    question = _question(export, [wanted] if wanted in columns else filter(lists_labels, columns), wanted)
    posts: dict[Hashable, Post] = {}
    for row in rows:
        fields = {name: value for name, value in row.fields.items() if name not in _OF_ANNOTATION}
        post = posts.setdefault(_key(fields.get("id"), row), Post(row.number, fields, []))
        post.votes.append(Vote(row.fields.get(question), annotator=_name(row.fields.get("annotator"))))
    export.posts = list(posts.values())


def _handed_over(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:  # noqa: ARG001
    """Read rows that `pipeline.review` handed over as CSV: the labels are marked in their columns, and a row that was read is signed."""
    columns = cells.columns(dict.fromkeys(name for row in rows for name in row.fields))
    if lacking := [name for name in cells.names if name not in columns]:
        raise InputError(f"no column for {', '.join(lacking)}; add one for each label, and leave its cells blank where nobody gave it")
    export.labels_from = f"the columns {', '.join(columns)}"
    posts: dict[Hashable, Post] = {}
    for row in rows:
        post = posts.setdefault(_key(row.fields.get("id"), row), Post(row.number, row.fields, []))
        marks = {label: row.fields.get(column) for label, column in columns.items()}
        if wrong := [label for label, mark in marks.items() if flag_of(mark) is None]:
            raise InputError(f"row {row.number}: the column {columns[wrong[0]]!r} holds something other than {FLAGS}; correct the cell")
        if name := _name(row.fields.get("annotator")):
            post.votes.append(Vote(marks, annotator=name))
    for post in posts.values():
        text = post.fields.get("text")
        export.add(post.number, post.fields | ({"text": from_cell(text)} if isinstance(text, str) else {}), post.votes)


def _named(choice: dict[str, Any], cells: LabelCells) -> str:
    """Return the label that one of Prodigy's choices stands for, by its id or else by its text."""
    names = [str(choice.get("id")), str(choice.get("text"))]
    return next(filter(cells.match, names), names[0])


def _prodigy(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:
    """Read one row per answer: options that were accepted, or one label that was accepted or rejected."""
    if not any(name in row.fields for row in rows for name in ("accept", "label", "options")):
        _question(export, [], wanted)
    export.labels_from = "accepted answers"
    posts: dict[Hashable, Post] = {}
    votes: dict[Hashable, dict[tuple[str, str], Vote]] = {}  # an annotator's later answer to a task replaces the earlier one
    accepted: dict[Hashable, set[tuple[str, str]]] = {}
    for row in rows:
        fields, answer = row.fields, row.fields.get("answer")
        key = _key(fields.get("_input_hash", fields.get("text")), row)
        options = {str(each.get("id")): _named(each, cells) for each in _dicts(fields.get("options"))}
        single = [fields["label"]] if isinstance(fields.get("label"), str) and "accept" not in fields else []
        posts.setdefault(key, Post(row.number, _dict(fields.get("meta")) | fields, []))
        of_post, accepted_here = votes.setdefault(key, {}), accepted.setdefault(key, set())
        task = str(fields.get("_task_hash", [*single, *options]))
        annotator = str(fields.get("_annotator_id") or fields.get("_session_id") or sum(task == known for _, known in of_post))
        of_post.pop((annotator, task), None)
        accepted_here.discard((annotator, task))
        if answer == "accept":
            accepted_here.add((annotator, task))
        else:
            export.no_labels["rejected answer" if answer == "reject" else "ignored answer"] += 1
        if answer == "accept" or (answer == "reject" and single):
            chosen = fields.get("accept") or single
            given = (
                [options.get(str(each), each) for each in (chosen if isinstance(chosen, list) else [chosen])] if answer == "accept" else []
            )
            of_post[annotator, task] = Vote(given, frozenset(single or options.values()) or None, annotator)
    for key, post in posts.items():
        export.add(post.number, post.fields, list(votes[key].values()) if accepted[key] else [])


def _argilla_responses(fields: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the responses to each question, whichever of Argilla's forms they are in."""
    responses = fields.get("responses")
    if isinstance(responses, dict):
        return {question: _dicts(given) for question, given in responses.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for response in _dicts(responses):
        for question, given in _dict(response.get("values")).items():
            found.setdefault(question, []).append({"status": response.get("status"), "user_id": response.get("user_id"), **_dict(given)})
    for name, given in fields.items():  # in a data set, responses are flattened
        if name.endswith(".responses"):
            parts = zip_longest(_list(given), _list(fields.get(f"{name}.status")), _list(fields.get(f"{name}.users")))
            found[name.removesuffix(".responses")] = [{"value": value, "status": status, "user_id": user} for value, status, user in parts]
        elif (of_question := _dicts(given)) and all({"value", "status"} <= set(each) for each in of_question):
            found[name] = of_question
    return found


def _argilla(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:  # noqa: ARG001
    """Read records; the labels are the submitted responses to a question."""
    responses = {row.number: _argilla_responses(row.fields) for row in rows}
    questions = [name for each in responses.values() for name, given in each.items() if given]
    question = _question(export, questions, wanted) if questions else ""
    for row in rows:
        votes = []
        for response in responses[row.number].get(question, []):
            status = str(response.get("status") or "submitted").rpartition(".")[2].lower()
            if status == "submitted":
                votes.append(Vote(response.get("value"), annotator=_name(response.get("user_id"))))
            else:
                export.no_labels[f"{status} response"] += 1
        nested = [_dict(row.fields.get(name)) for name in ("metadata", "fields")]
        export.add(row.number, {**row.fields, **nested[0], **nested[1]} if "fields" in row.fields else row.fields, votes)


def _doccano(export: Export, rows: Sequence[Row], wanted: str, cells: LabelCells) -> None:  # noqa: ARG001
    """Read documents with the labels of all annotators together."""
    column = wanted if any(wanted in row.fields for row in rows) else "label"
    export.labels_from = repr(column)
    for row in rows:
        text = {"text": row.fields["data"]} if "text" not in row.fields else {}
        export.add(row.number, row.fields | text, [Vote(row.fields.get(column))])


def _is_argilla(fields: dict[str, Any]) -> bool:
    if isinstance(fields.get("fields"), dict):
        return "responses" in fields
    return bool(_argilla_responses({name: value for name, value in fields.items() if name != "responses"}))


class _Tool(NamedTuple):
    name: str
    recognises: Callable[[dict[str, Any]], bool]  # called with the fields of a row
    read: Callable[[Export, Sequence[Row], str, LabelCells], None]


_TOOLS = (
    _Tool(
        "Label Studio (JSON)",
        lambda row: isinstance(row.get("data"), dict) and any(isinstance(row.get(name), list) for name in ("annotations", "completions")),
        _label_studio,
    ),
    _Tool("disclosure label-next (CSV)", lambda row: {"annotator", "stratum", "predicted", "text"} <= set(row), _handed_over),
    _Tool("Label Studio (JSON-MIN or CSV)", lambda row: {"annotation_id", "annotator", "lead_time"} <= set(row), _label_studio_flat),
    _Tool(
        "Prodigy",
        lambda row: row.get("answer") in ("accept", "reject", "ignore") and any(name in row for name in ("_task_hash", "accept", "label")),
        _prodigy,
    ),
    _Tool("Argilla", _is_argilla, _argilla),
    _Tool("Doccano", lambda row: "label" in row and ("Comments" if "text" in row else "data") in row, _doccano),
)


def recognise(rows: Sequence[Row], wanted: str, cells: LabelCells) -> Export | None:
    """Read rows as an export from a labelling tool.

    Parameters
    ----------
    rows : sequence of Row
        All rows of a file or data set.
    wanted : str
        ``data.columns.labels``, which may name the question that asks for labels.
    cells : LabelCells
        Tells which columns hold labels.

    Returns
    -------
    Export or None
        None if the rows are not shaped like any tool's export.

    Raises
    ------
    InputError
        If an export has no labels, or does not say which question asks for them. The message does not name the file.
    """
    for tool in _TOOLS:
        if rows and all(tool.recognises(row.fields) for row in rows):
            export = Export(tool.name)
            tool.read(export, rows, wanted, cells)
            if not export.posts:
                raise InputError(
                    f"is an export from {tool.name} in which no post has finished labels; export it again once posts are labelled"
                )
            return export
    return None
