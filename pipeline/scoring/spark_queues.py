"""Keep the capacities of queues on Spark: posts are scored and written once, and then read again to send them to queues."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import Classifier
from pipeline.routing.contest import FIELDS, Contest, Places, Seats, best, seat, winners
from pipeline.routing.rules import Routing
from pipeline.scoring.options import Options
from pipeline.scoring.summary import Summary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_CONTENDERS = "rule int, probability float, lot long, place long"
_COUNTS = "queue int, turned_away long"


class _Rules(NamedTuple):
    """What executors need to know; the columns are those of the predictions, and a last one that tells posts apart."""

    routing: Routing
    labels: list[str]
    thresholds: list[float]
    names: list[str]

    def column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        return batch.column(self.names.index(name))

    def scores(self, batch: pa.RecordBatch) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the probabilities of posts (NaN for a post that was rejected), and the rules that they meet."""
        columns = [self.column(batch, f"prob_{label}").to_numpy(zero_copy_only=False) for label in self.labels]
        probabilities = np.stack(columns, axis=1).astype(np.float32)
        return probabilities, self.routing.met(self.labels, probabilities, probabilities >= np.array(self.thresholds, np.float32))

    def seats(self, batch: pa.RecordBatch, won: Mapping[int, Places]) -> Seats:
        places = batch.columns[-1].to_numpy()
        _, met = self.scores(batch)
        return seat(self.routing, met, {rule: np.flatnonzero(np.isin(places, posts)) for rule, posts in won.items()})


# ---- on the executors ----


def _contend(batches: Iterable[pa.RecordBatch], rules: _Rules) -> Iterator[pa.RecordBatch]:
    contest = Contest(rules.routing, rules.labels)
    for batch in batches:
        probabilities, met = rules.scores(batch)
        contest.add(rules.column(batch, "id").to_pylist(), probabilities, met, batch.columns[-1].to_numpy())
    for number, kept in contest.contenders().items():
        columns = [np.full(len(kept), number, np.int32), kept["probability"], kept["lot"].view(np.int64), kept["place"]]
        yield pa.RecordBatch.from_arrays([pa.array(np.ascontiguousarray(column)) for column in columns], ["rule", *(FIELDS.names or ())])


def _seat(batches: Iterable[pa.RecordBatch], rules: _Rules, won: Mapping[int, Places]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        queues = [[*rules.routing.names, None][number] for number in rules.seats(batch, won).queue.tolist()]
        columns = dict(zip(rules.names, batch.columns, strict=False)) | {"queue": pa.array(queues, pa.string())}
        yield pa.RecordBatch.from_arrays(list(columns.values()), [str(number) for number in range(len(columns))])


def _count(batches: Iterable[pa.RecordBatch], rules: _Rules, won: Mapping[int, Places]) -> Iterator[pa.RecordBatch]:
    """Count the posts that each queue turned away; ``n_queues`` stands for posts in none."""
    for batch in batches:
        seats = rules.seats(batch, won)
        counts = [*seats.turned_away.sum(axis=0).tolist(), int(seats.left_out.sum())]
        yield pa.RecordBatch.from_arrays([pa.array(range(len(counts)), pa.int32()), pa.array(counts, pa.int64())], ["queue", "turned_away"])


# ---- on the driver ----


def _winners(posts: "DataFrame", rules: _Rules) -> dict[int, Places]:
    found: dict[int, list[tuple[float, int, int]]] = {}
    for rule, probability, lot, place in posts.mapInArrow(partial(_contend, rules=rules), _CONTENDERS).collect():
        found.setdefault(rule, []).append((probability, lot % 2**64, place))
    return winners(rules.routing, {rule: best(np.array(rows, FIELDS), len(rows)) for rule, rows in found.items()})


def scratch_copy(scored: "DataFrame", folder: str, pattern: str) -> "DataFrame":
    """Write predictions to a folder, and return a data frame that reads them, with numbers for names and a column that tells rows apart.

    Parameters
    ----------
    scored : DataFrame
        Predictions.
    folder, pattern : str
        Address of the folder, which must not exist, for writing and for reading.
    """
    from pyspark.sql import functions as sql

    numbered = scored.toDF(*(str(number) for number in range(len(scored.columns))))  # Parquet cannot hold every name
    numbered.withColumn("place", sql.monotonically_increasing_id()).write.parquet(folder)
    return scored.sparkSession.read.parquet(pattern)


def seated(posts: "DataFrame", names: list[str], model: Classifier, options: Options, summary: Summary) -> "DataFrame":
    """Return predictions with the queues for which there is room.

    Parameters
    ----------
    posts : DataFrame
        A `scratch_copy` of predictions with the queues that posts would have if all queues had room.
    names : list of str
        Names of the columns of the predictions.
    model : Classifier
        The model.
    options : Options
        The options of the job, which ask for queues.
    summary : Summary
        Receives the numbers of posts that were turned away.
    """
    thresholds = list(options.thresholds_of(model.labels, model.operating_points_).values())
    if options.route is None:
        raise ValueError("the options do not ask for queues")
    routing, schema = options.route, posts.drop("place").schema
    rules = _Rules(routing, list(model.labels), thresholds, names)
    won = _winners(posts, rules)
    counts = posts.mapInArrow(partial(_count, rules=rules, won=won), _COUNTS).groupBy("queue").sum("turned_away").collect()
    turned_away = dict(map(tuple, counts))
    summary.turned_away.update({name: turned_away.get(number, 0) for number, name in enumerate(routing.names)})
    summary.left_out = turned_away.get(len(routing.names), 0)
    return posts.mapInArrow(partial(_seat, rules=rules, won=won), schema).toDF(*names)
