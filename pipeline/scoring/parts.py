"""Score one shard and write its part of the output."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from models.errors import InputError, NormaliserWarning
from models.storage import read_description
from pipeline.predictions import prediction_writer
from pipeline.records import BrokenRow, Row
from pipeline.scoring.completion import Completion
from pipeline.scoring.finished import count_queues
from pipeline.scoring.ids import Ids
from pipeline.scoring.options import Options
from pipeline.scoring.output import Output
from pipeline.scoring.posts import BATCH_POSTS, Post, batches, reject
from pipeline.scoring.predict import predict, scorer_of
from pipeline.scoring.shards import Shard, read_shard

DEADLY = "scoring it kills the process or takes too long (too little memory?)"


@dataclass(frozen=True)
class ModelFolder:
    """A model directory, which each process loads for itself, with its digest, labels and operating points.

    Attributes
    ----------
    folder : Path
        The model directory.
    digest : str
        The model's digest.
    labels : list of str
        The model's labels.
    points : dict of str to list of float
        The thresholds of these labels at each operating point.
    """

    folder: Path
    digest: str
    labels: list[str]
    points: dict[str, list[float]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and verify ``model.json``, but not the weights.

        Raises
        ------
        InputError
            When there is no model, or it was changed.
        """
        from models.description import Description

        digest, description = read_description(folder)
        described = Description.model_validate(description)
        points = {name: list(thresholds.values()) for name, thresholds in described.thresholds_at.items()}
        return cls(folder, digest, described.labels, points)


class PartWriter:
    """Score shards and write their parts.

    Parameters
    ----------
    source : ModelFolder
        The model.
    options : Options
        The options of the job.
    folder : Path
        The output folder.

    Raises
    ------
    InputError
        When the model cannot be loaded, or was replaced after the job began.
    """

    def __init__(self, source: ModelFolder, options: Options, folder: Path) -> None:
        from models import Classifier

        self.options = options
        self.output = Output(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NormaliserWarning)  # `ModelFolder.read` has warned already
            self.model = Classifier.load(source.folder)
        if self.model.digest_ != source.digest:
            raise InputError("the model was replaced while the job was running; run it again with --start-over or another --out")
        self.scorer = scorer_of(self.model, unfamiliar=options.unfamiliar)
        self.schema = options.schema(self.model.labels)

    def __call__(self, shard: Shard, at: Callable[[int], Any] = lambda row: None) -> Completion:
        """Score a shard, write its part and record that it is done.

        Parameters
        ----------
        shard : Shard
            The shard.
        at : callable
            Called with 0 after each batch of posts, and with the number of a row before it is scored alone.

        Raises
        ------
        InputError
            When the shard cannot be read.
        OutputError
            When the part cannot be written.
        """
        started, computed = time.perf_counter(), self.scorer.computed
        done = Completion.of(shard, self.model.digest_, self.options.digest, self.options.format)
        done.labels = dict.fromkeys(self.model.labels, 0)
        done.size = len(shard.content)
        done.route = self.options.route.digest if self.options.route else ""  # also if no post of the shard can be scored
        ids = Ids()
        with self.output.part(done) as file:
            with prediction_writer(file, self.options.format, self.schema) as write:
                for posts, broken in batches(self._rows(shard, at), self.options, shard.file, 1 if shard.alone else BATCH_POSTS):
                    ids.add(post.id for post in posts)
                    if posts:
                        write(self._table(posts, done))
                    done.scored += len(posts)
                    done.read += len(posts) + len(broken)
                    done.reject(broken)
                    at(0)
            done.repeated, done.rounded, done.sample = ids.repeated, ids.rounded, ids.sample
            done.reused = done.scored - (self.scorer.computed - computed)
            done.seconds = round(time.perf_counter() - started, 3)
        return done

    def _rows(self, shard: Shard, at: Callable[[int], Any]) -> Iterator[Row | BrokenRow]:
        """Yield the rows of a shard; if each is scored alone, report its number first."""
        for row in read_shard(shard):
            if row.number in shard.without and isinstance(row, Row):
                yield reject(row, DEADLY, self.options)
            else:
                if shard.alone:
                    at(row.number)
                yield row

    def _table(self, posts: list[Post], done: Completion) -> pa.Table:
        """Return the predictions for posts, and count their labels in `done`."""
        predictions = predict(self.scorer, posts, self.options)
        if predictions.review is not None:
            done.review += int(predictions.review.any(axis=1).sum())
        for name, total in predictions.stream.items():
            done.stream[name] = done.stream.get(name, 0.0) + total
        for label, count in zip(self.model.labels, predictions.decided.sum(axis=0).tolist(), strict=True):
            done.labels[label] += count
        if self.options.route and predictions.queued is not None:
            count_queues(done, self.options.route, predictions.queued)
        return predictions.table
