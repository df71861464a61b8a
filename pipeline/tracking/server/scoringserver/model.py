"""The model in a scoring process: it takes the bytes of requests and gives back bytes, so that the front never looks into a post."""

import json
import logging
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.metadata import version
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

    from pipeline.routing.serving import ServedQueues

_PIECE_TEXTS, _PIECE_CHARS = 256, 100_000
_FORMS = ("dataframe_records", "dataframe_split")
_EXAMPLE = 'such as {"dataframe_records": [{"text": "…"}]}'
_REASONS = 20  # maximum number of errors of texts that are counted separately

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Refused(Exception):  # noqa: N818  # the request is at fault, not the server
    """A request is refused.

    Attributes
    ----------
    status : int
        The status of the answer.
    reason : str
        Why, in a word by which refusals are counted.
    message : str
        Why, in a sentence that quotes nothing of the request.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, reason, message)
        self.status, self.reason, self.message = status, reason, message


class Mistake(Exception):  # noqa: N818
    """Something unexpected went wrong: the type of the error and its place, but not its message, which may quote a text."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(kind, place)
        self.kind, self.place = kind, place


class Scored(NamedTuple):
    """What became of some posts.

    Attributes
    ----------
    content : bytes
        The predictions of a piece of a request, for `Model.finish`, or the JSON that answers a request.
    posts : int
        Number of posts.
    errors : dict of str to int
        Number of posts that could not be scored, by reason.
    """

    content: bytes
    posts: int
    errors: dict[str, int]


def _records(given: object) -> list[Any]:
    """Return the value of ``text`` in each record, or None; raise `ValueError` unless `given` is a list of records with texts."""
    if not isinstance(given, list) or not all(isinstance(record, dict) for record in given):
        raise ValueError("dataframe_records must be a list of objects")
    if given and not any("text" in record for record in given):
        raise ValueError("no record has the key 'text'")
    return [record.get("text") for record in given]


def _split(given: object) -> list[Any]:
    """Return the cell of the column ``text`` in each row; raise `ValueError` if `given` does not hold rows with one such column."""
    columns, rows = (given.get("columns"), given.get("data")) if isinstance(given, dict) else (None, None)
    if not isinstance(columns, list) or columns.count("text") != 1:
        raise ValueError("dataframe_split must have one column 'text' among its columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise ValueError("the data of dataframe_split must be a list of rows with a cell for each column")
    return [row[columns.index("text")] for row in rows]


def _params(given: object, known: list[str]) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise ValueError("params must be an object")
    params = given or {}
    if known and not params.keys() <= set(known):
        raise ValueError(f"params may hold only {', '.join(known)}")
    if not all(isinstance(value, str) for value in params.values()):
        raise ValueError("each of the params must be a string")
    return params


def _parse(body: bytes, rows: int, known: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the texts and params of a body; whatever is not a string becomes an empty text, which gets an error of its own."""
    try:
        given = json.loads(body)
    except RecursionError:
        raise Refused(400, "json", "the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise Refused(400, "json", "the body is not valid JSON (not UTF-8)") from None
    except ValueError as error:  # a message of JSONDecodeError quotes nothing
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
        raise Refused(400, "json", f"the body is not valid JSON ({reason}); send an object {_EXAMPLE}") from None
    forms = [form for form in _FORMS if isinstance(given, dict) and form in given]
    if len(forms) != 1:
        raise Refused(400, "form", f"the body must be a JSON dictionary with one of {', '.join(_FORMS)}, {_EXAMPLE}")
    try:
        texts = (_records if forms == ["dataframe_records"] else _split)(given[forms[0]])
        params = _params(given.get("params"), known)
        "".join(text for text in texts if isinstance(text, str)).encode()
    except UnicodeEncodeError:
        raise Refused(400, "json", "a text holds half a surrogate pair (surrogates not allowed); correct its escapes") from None
    except ValueError as error:
        raise Refused(400, "form", f"{error}; send an object {_EXAMPLE}") from None
    if len(texts) > rows:
        message = f"{len(texts):,} posts are more than the {rows:,} that a request may hold; send them in several requests"
        raise Refused(413, "posts", message)
    return [text if isinstance(text, str) else "" for text in texts], params


def _cost(text: str) -> int:
    """Return how many characters the model will read in a text, in which U+FDFA stands for eighteen."""
    return len(text) + 17 * text.count("\ufdfa")


def _pieces(texts: list[str]) -> Iterator[list[str]]:
    """Yield consecutive texts in pieces that take a fraction of a second; there is at least one piece, so that params are checked."""
    piece: list[str] = []
    chars = 0
    for text in texts:
        if piece and (len(piece) == _PIECE_TEXTS or chars + _cost(text) > _PIECE_CHARS):
            yield piece
            piece, chars = [], 0
        piece.append(text)
        chars += _cost(text)
    yield piece


class Model:
    """A model that reads, scores and writes the posts of requests.

    Parameters
    ----------
    model : PyFuncModel
        The model, loaded by MLflow.
    rows : int
        How many posts a request may hold.
    queues : ServedQueues, optional
        Adds queues to the answers.
    """

    def __init__(self, model: "PyFuncModel", rows: int, queues: "ServedQueues | None" = None) -> None:
        self._model, self._rows, self._queues = model, rows, queues
        schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
        self._known = [param.name for param in schema.params] if schema else []

    def start(self) -> str:
        """Return the version of MLflow."""
        return version("mlflow")

    def begin(self, body: bytes) -> Scored | list[bytes]:
        """Read the body of a request, and answer it if it is small; if not, return its pieces, each for `go_on`."""
        texts, params = _parse(body, self._rows, self._known)
        pieces = list(_pieces(texts))
        if len(pieces) == 1:
            return self._written([self._predict(texts, params)])
        return [pickle.dumps((piece, params)) for piece in pieces]

    def go_on(self, piece: bytes) -> bytes:
        """Score a piece of a request; the result is for `finish`."""
        return pickle.dumps(self._predict(*pickle.loads(piece)))  # noqa: S301  # our own, from `begin`

    def finish(self, scored: list[bytes]) -> Scored:
        """Write the answer to a request from its scored pieces."""
        return self._written([pickle.loads(table) for table in scored])  # noqa: S301  # our own, from `go_on`

    def _predict(self, texts: list[str], params: dict[str, Any]) -> "pd.DataFrame":
        import pandas as pd

        try:
            scored = self._model.predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}), params=params or None)
        except Exception as error:
            if type(error).__name__ == "InputError":  # an error of the model's own copy of `models`; it quotes no text
                raise Refused(400, "params", str(error)) from None
            raise
        if len(scored) != len(texts):
            raise RuntimeError("the model did not give one prediction for each text")
        return self._queues(scored) if self._queues else scored

    @staticmethod
    def _written(scored: list["pd.DataFrame"]) -> Scored:
        import pandas as pd
        from mlflow.pyfunc import scoring_server

        answer, whole = StringIO(), pd.concat(scored, ignore_index=True)
        scoring_server.predictions_to_json(whole, answer)  # type: ignore[no-untyped-call]
        errors = Counter(map(str, whole["error"].dropna())) if "error" in whole else Counter[str]()
        return Scored(answer.getvalue().encode(), len(whole), dict(errors.most_common(_REASONS)))


def without_message(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a function raise a `Mistake` in place of any error but `Refused`."""

    @wraps(function)
    def careful(*given: Given.args, **named: Given.kwargs) -> Result:
        try:
            return function(*given, **named)
        except Refused:
            raise
        except Exception as error:
            raise Mistake(type(error).__name__, "".join(traceback.format_tb(error.__traceback__))) from None

    return careful


def load(folder: str, rows: int, queues: dict[str, Any] | None = None) -> Model:
    """Load a logged model from a folder, and score a text, so that the first request waits for no import.

    Parameters
    ----------
    folder : str
        Folder of the model.
    rows : int
        How many posts a request may hold.
    queues : dict, optional
        What `pipeline.routing.serving.ServedQueues` takes.
    """
    from mlflow.pyfunc import load_model

    added = None
    if queues:
        from pipeline.routing.serving import ServedQueues

        added = ServedQueues(**queues)

    of_mlflow = logging.getLogger("mlflow")
    of_mlflow.handlers.clear()  # it would write lines of its own form
    of_mlflow.propagate = True
    model = Model(load_model(folder), rows, added)
    model.begin(b'{"dataframe_records": [{"text": "x"}]}')
    return model
