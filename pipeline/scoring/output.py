"""The output folder of a job, with parts and, for each part, the record that it is complete."""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.errors import InputError
from models.folders import is_litter
from pipeline.files import UNFINISHED, OutputError, whole_file
from pipeline.scoring.shards import Shard

MANIFEST, REJECTS, RECORDS = "manifest.json", "rejects.jsonl", "_shards"

_PART = re.compile(r"part-[0-9a-f]{12}-\d{5,}\.(?:parquet|jsonl|csv)")


@dataclass
class Completion:
    """The record of a finished shard.

    Attributes
    ----------
    file, number, first_row, digest : str, int, int, str
        See `Shard`.
    model, options : str
        Digests of the model and of the options.
    part : str
        Name of the output file.
    sha256 : str
        SHA-256 of the output file.
    read, scored : int
        Number of rows read and of posts scored; read = scored + number of rejects.
    reused : int
        Number of scored posts that repeat a text, so that the model was not needed.
    labels : dict of str to int
        Number of scored posts that were given each label.
    review : int
        Number of scored posts with a label for review.
    rejects : list of (int, str)
        Row number and reason of each reject.
    seconds : float
        Wall time.
    repeated, rounded : int
        Number of scored posts with such ids; see `Ids`.
    sample : list of int
        `Ids.sample`.
    stream : dict of str to float
        `Predictions.stream`, summed.
    """

    file: str
    number: int
    first_row: int
    digest: str
    model: str
    options: str
    part: str
    sha256: str = ""
    read: int = 0
    scored: int = 0
    reused: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    review: int = 0
    rejects: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0
    repeated: int = 0
    rounded: int = 0
    sample: list[int] = field(default_factory=list)
    stream: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the shard."""
        return Path(self.part).stem.removeprefix("part-")

    @classmethod
    def of(cls, shard: Shard, model: str, options: str, kind: str) -> "Completion":
        """Begin the record of a shard.

        Parameters
        ----------
        shard : Shard
            The shard to score.
        model, options : str
            Digests of the model and of the options.
        kind : str
            Format of the output, which is the file's extension.
        """
        return cls(shard.file, shard.number, shard.first_row, shard.digest, model, options, f"part-{shard.name}.{kind}")


class Output:
    """The output folder of a job.

    Parameters
    ----------
    folder : Path
        The folder; it may be missing, empty or an earlier output. What file managers leave in folders is ignored and left in place.

    Raises
    ------
    InputError
        When it is anything else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records = folder / RECORDS
        try:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file; choose another --out")
            names = [path.name for path in folder.iterdir() if not is_litter(path.name)] if folder.exists() else []
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror or error}); choose another --out") from None
        others = [
            name
            for name in names
            if name not in (MANIFEST, REJECTS, RECORDS) and not _PART.fullmatch(name) and not name.endswith(UNFINISHED)
        ]
        if others or (names and RECORDS not in names):
            raise InputError(f"{folder}: holds something else ({(others or names)[0]}); choose another --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and lock it against other jobs for the duration of the block.

        Raises
        ------
        InputError
            When it cannot be written, or another job is writing to it.
        """
        from filelock import FileLock, Timeout

        with ExitStack() as stack:
            try:
                self._records.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self._records / "lock", timeout=0))
            except Timeout:
                raise InputError(f"{self.folder}: another job is writing to it; wait for it to end, or choose another --out") from None
            except OSError as error:
                raise InputError(f"{self.folder}: cannot be written ({error.strerror or error}); choose another --out") from None
            yield

    def completion(self, name: str) -> Completion | None:
        """Return the record of a shard, or None if it is missing or damaged."""
        try:
            return Completion(**json.loads((self._records / f"{name}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def completions(self) -> Iterator[Completion]:
        """Yield all records, sorted by name."""
        for path in sorted(self._records.glob("*.json")):
            if found := self.completion(path.stem):
                yield found

    def has(self, wanted: Completion) -> bool:
        """Return whether the folder holds an intact part, with its record, for the same shard, model and options."""
        found = self.completion(wanted.name)
        if not found:
            return False
        same = all(getattr(found, key) == getattr(wanted, key) for key in ("file", "first_row", "digest", "model", "options", "part"))
        return same and self._digest(found.part) == found.sha256

    def _digest(self, part: str) -> str | None:
        try:
            with (self.folder / part).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    @contextmanager
    def part(self, completion: Completion) -> Iterator[io.BufferedRandom]:
        """Yield a file for a part; after the block, the file is put in place and `completion`, which the block fills in, is recorded.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        with whole_file(self.folder / completion.part, outdated=self.folder / MANIFEST) as file:
            yield file
            file.seek(0)
            completion.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with whole_file(self._records / f"{completion.name}.json") as file:
            file.write(json.dumps(asdict(completion)).encode())

    def remove_all_but(self, completions: set[str]) -> None:
        """Remove unfinished files, and the parts and records of all shards but these; if any are removed, also remove the manifest.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        parts = {found.part for name in completions if (found := self.completion(name))}
        try:
            stale = [path for path in self.folder.iterdir() if _PART.fullmatch(path.name) and path.name not in parts]
            stale += [path for path in self._records.glob("*.json") if path.stem not in completions]
            if stale:
                (self.folder / MANIFEST).unlink(missing_ok=True)  # it would no longer be correct
            for path in [*stale, *self.folder.glob(f"*{UNFINISHED}"), *self._records.glob(f"*{UNFINISHED}")]:
                path.unlink()
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error})") from None
