"""Turns a table of posts in memory into a table of predictions."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import datasets
import numpy as np
import pandas as pd

from models import Classifier
from models.errors import InputError
from pipeline.records import Row
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.posts import as_string, batches
from pipeline.scoring.predict import predict, scorer_of


def _value(value: Any) -> Any:
    """Return a cell as a file would hold it: NumPy's numbers become Python's, and a missing value becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)) else value


def _rows(posts: pd.DataFrame | datasets.Dataset, columns: list[str]) -> Iterator[Row]:
    cells = (posts[column] for column in columns)
    for number, values in enumerate(zip(*cells, strict=True), 1):
        yield Row(number, dict(zip(columns, map(_value, values), strict=True)))


def _strings(cells: Iterable[Any], written: Callable[[Any], str | None]) -> list[str | None]:
    return [None if (value := _value(cell)) is None else written(value) for cell in cells]


def _predictions(posts: pd.DataFrame | datasets.Dataset, scorer: DistinctScorer, options: Options) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for good, broken in batches(_rows(posts, options.columns), options):
        predicted = iter(predict(scorer, good, options).table.to_pylist() if good else ())
        rejected = {row.number: {"model": scorer.model.digest_, "error": row.reason} for row in broken}
        for number in range(len(found) + 1, len(found) + len(good) + len(broken) + 1):
            found.append(rejected[number] if number in rejected else next(predicted))
    return found


def _seat(frame: pd.DataFrame, model: Classifier, options: Options) -> None:
    """Keep the capacities of queues among all rows of a table."""
    from pipeline.routing.contest import seat_all

    rows = np.flatnonzero(frame["error"].isna())
    probabilities = frame[[f"prob_{label}" for label in model.labels]].to_numpy(np.float32)[rows]
    if options.route:
        given = (model.labels, frame["id"].to_numpy()[rows], probabilities, options.decide(model, probabilities))
        names = options.queue_names(seat_all(options.route, *given))
        frame.loc[rows, "queue"] = np.array(names.to_pylist() if names else [], object)


def score_table(posts: pd.DataFrame | datasets.Dataset, model: Classifier, options: Options | None = None) -> pd.DataFrame:
    """Score the posts of a table; a post that cannot be scored keeps its row, and ``error`` says why.

    Parameters
    ----------
    posts : DataFrame or datasets.Dataset, n_posts rows
        With a text column of strings, and an id column of strings or integers unless ``options.id_column`` is None: then rows are numbered.
    model : Classifier
    options : Options, optional
        As for files; its ``format`` has no effect here.

    Returns
    -------
    DataFrame, n_posts rows
        The columns that a scored file has (see ``pipeline/predictions.py``), and ``error``: None, or why this
        post has no probabilities and labels. Its index is that of `posts`.

    Raises
    ------
    InputError
        If a column is missing, or an option does not suit the model.
    TypeError
        If `posts`, `model` or `options` is something else, such as a path.
    sklearn.exceptions.NotFittedError
        If `model` has not been fitted.

    Examples
    --------
    >>> posts = pd.DataFrame({"id": [7, 8], "text": ["I believe you. Thank you for speaking up.", None]})
    >>> score_table(posts, Classifier.released())[["id", "labels", "error"]].values.tolist()
    [['7', ['solidarity_support'], None], ['8', None, 'text is null']]
    """
    if not isinstance(model, Classifier):
        raise TypeError(f"model must be a Classifier, as Classifier.load(folder) returns, but got {type(model).__name__}")
    model.check_is_fitted()
    options = Options() if options is None else options
    if not isinstance(options, Options):
        raise TypeError(f"options must be Options, as in Options(explain=True), but got {type(options).__name__}")
    options.thresholds_of(model.labels, model.operating_points_)  # so that an error comes before any work
    if not isinstance(posts, pd.DataFrame | datasets.Dataset | datasets.IterableDataset):
        raise TypeError(f"posts must be a DataFrame or a datasets.Dataset with a single split, but got {type(posts).__name__}")
    names = list(posts.columns if isinstance(posts, pd.DataFrame) else posts.column_names)
    for column in options.columns:
        if names.count(column) != 1:
            found = "no column" if column not in names else "several columns"
            fixes = {
                options.text_column: "Options(text_column=NAME)",
                options.id_column: "Options(id_column=NAME), or number the rows: Options(id_column=None)",
            }
            fix = fixes.get(column, "Options(keep=(NAME,))")
            raise InputError(f"the table has {found} {column!r} among {', '.join(map(str, names))}; name the right one, as in {fix}")
    schema = options.schema(model.labels, ["error"])
    rows = _predictions(posts, scorer_of(model, unfamiliar=options.unfamiliar), options)
    probabilities = {f"prob_{label}": "float32" for label in model.labels}
    frame = pd.DataFrame(rows, columns=schema.names, dtype=object).astype(probabilities)
    frame = frame.where(frame.notna(), None)
    numbers = range(1, len(frame) + 1)
    frame["id"] = pd.Series(_strings(numbers if options.id_column is None else posts[options.id_column], str), dtype=object)
    if options.route:
        _seat(frame, model, options)
    for name in options.keep:
        frame[name] = pd.Series(_strings(posts[name], as_string), dtype=object)
    return frame.set_axis(posts.index) if isinstance(posts, pd.DataFrame) else frame
