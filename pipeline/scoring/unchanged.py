"""Find the files that a complete job has scored and that have not changed since, so that the next job need not read them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from models.errors import InputError
from pipeline.records import stamp_of
from pipeline.scoring.completion import place_of
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.options import Options
from pipeline.scoring.output import MANIFEST, Output
from pipeline.scoring.summary import FileSummary

# In seconds. A file may change twice and show the same modification time, because some file systems and stores count in seconds.
_SETTLED = 2.0


def stamp(path: Path) -> tuple[int, int] | None:
    """Return the size and the modification time of a file; None for a stream, or if the file cannot be found."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def is_settled(stamp: tuple[int, int] | None, written: int, seconds: float) -> bool:
    """Return whether a file was changed well before a job began, so that a later change would show in its stamp.

    Parameters
    ----------
    stamp : (int, int) or None
        The file's stamp.
    written : int
        When the job's manifest was written, in nanoseconds.
    seconds : float
        How long the job took.
    """
    return stamp is not None and stamp[1] < written - (seconds + _SETTLED) * 1e9


class Unchanged:
    """What the manifest of an output says about files that have not changed since.

    A file counts as unchanged if its size and its modification time are the same, and if it was changed well before that job began. A part
    counts as intact if it is older than the manifest. Everything else is read and compared in full.

    Parameters
    ----------
    output : Output
        The output folder.
    files : sequence of Path
        The inputs of the next job.
    model : str
        Digest of its model.
    options : Options
        Its options.

    Attributes
    ----------
    files : dict of Path to FileSummary
        What the manifest says about each unchanged file; empty if there is no manifest, or only one for another model or options.
    """

    def __init__(self, output: Output, files: Sequence[Path], model: str, options: Options) -> None:
        self._output, self._model, self._options = output, model, options.digest
        self.files: dict[Path, FileSummary] = {}
        try:
            self._written = (output.folder / MANIFEST).stat().st_mtime_ns  # first, because most jobs have none
            earlier = Earlier.read(output.folder)
        except (InputError, OSError):
            return
        if (earlier.model, earlier.options.digest) != (model, self._options):
            return
        for path in files:
            file = earlier.files.get(str(path))
            if file and is_settled(file.stamp, self._written, earlier.seconds) and stamp(path) == file.stamp:
                self.files[path] = file

    @cached_property
    def _parts(self) -> dict[str, int]:
        """When each part was written; a store is asked once for all."""
        return {path.name: path.stat().st_mtime_ns for path in self._output.folder.glob("part-*")}

    def shards(self, path: Path) -> list[str] | None:
        """Return the names of the shards of a file, if it is unchanged and its parts and records are all there, and otherwise None."""
        if not (file := self.files.get(path)):
            return None
        names = list[str]()
        for part, digest in file.parts.items():
            done = self._output.completion(Path(part).stem.removeprefix("part-"))
            if not done or (done.part, done.sha256, done.place) != (part, digest, place_of(path)):
                return None
            if (done.model, done.options) != (self._model, self._options) or self._parts.get(part, self._written) >= self._written:
                return None
            names.append(done.name)
        return names
