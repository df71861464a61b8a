"""The folder that a job writes: parts, and beside each the record that it is complete."""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.errors import InputError
from pipeline.scoring.shards import Shard

MANIFEST, REJECTS, RECORDS = "manifest.json", "rejects.jsonl", "_shards"

_UNFINISHED = ".unfinished"
_PART = re.compile(r"part-[0-9a-f]{12}-\d{5,}\.(?:parquet|jsonl|csv)")


class OutputError(Exception):
    """The disk does not take what is written to it."""


@contextmanager
def whole_file(path: Path, outdated: Path | None = None) -> Iterator[io.BufferedRandom]:
    """Open a file that takes its place only once all of it is on the disk; what stands there, and `outdated`, stays till then.

    Raises
    ------
    OutputError
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}{_UNFINISHED}")
    try:
        with beside.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if outdated:
            outdated.unlink(missing_ok=True)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be written ({error.strerror or error})") from None
    finally:
        beside.unlink(missing_ok=True)


@dataclass
class Completion:
    """What became of a shard.

    Attributes
    ----------
    file, number, first_row, digest : str, int, int, str
        See `Shard`.
    model, options : str
        Digests.
    part : str
        Name of the output file.
    sha256 : str
        Of the part.
    read, scored : int
        Rows and posts; read = scored + the number of rejects.
    reused : int
        Posts that needed no model, as repetitions.
    labels : dict of str to int
        Scored posts that were given the label.
    review : int
        Scored posts with a label for review.
    rejects : list of (int, str)
        Row and reason.
    seconds : float
        Wall time.
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

    @property
    def name(self) -> str:
        """Of the shard."""
        return Path(self.part).stem.removeprefix("part-")

    @classmethod
    def of(cls, shard: Shard, model: str, options: str, kind: str) -> "Completion":
        """Begin the record of a shard."""
        return cls(shard.file, shard.number, shard.first_row, shard.digest, model, options, f"part-{shard.name}.{kind}")


class Output:
    """A job's output folder.

    Parameters
    ----------
    folder : Path
        May be absent, empty or an earlier output.

    Raises
    ------
    InputError
        When it is something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records = folder / RECORDS
        try:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file; choose another --out")
            names = [path.name for path in folder.iterdir()] if folder.exists() else []
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror or error}); choose another --out") from None
        others = [
            name
            for name in names
            if name not in (MANIFEST, REJECTS, RECORDS) and not _PART.fullmatch(name) and not name.endswith(_UNFINISHED)
        ]
        if others or (names and RECORDS not in names):
            raise InputError(f"{folder}: holds something else ({(others or names)[0]}); choose another --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep other jobs out of it.

        Raises
        ------
        InputError
            When it cannot be written, or another job is at work there.
        """
        from filelock import FileLock, Timeout

        with ExitStack() as stack:
            try:
                self._records.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self._records / "lock", timeout=0))
            except Timeout:
                raise InputError(f"{self.folder}: another job is writing there; wait for it or choose another --out") from None
            except OSError as error:
                raise InputError(f"{self.folder}: cannot be written ({error.strerror or error}); choose another --out") from None
            yield

    def completion(self, name: str) -> Completion | None:
        """The record of a shard; one that is damaged counts for nothing."""
        try:
            return Completion(**json.loads((self._records / f"{name}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def completions(self) -> Iterator[Completion]:
        """All records, in the order of their names."""
        for path in sorted(self._records.glob("*.json")):
            if found := self.completion(path.stem):
                yield found

    def has(self, wanted: Completion) -> bool:
        """Whether the part of this very work, with its record, is there and whole."""
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
        """Give a file for a part; once written, it takes its place, and `completion`, filled in by then, is recorded.

        Raises
        ------
        OutputError
        """
        with whole_file(self.folder / completion.part, outdated=self.folder / MANIFEST) as file:
            yield file
            file.seek(0)
            completion.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with whole_file(self._records / f"{completion.name}.json") as file:
            file.write(json.dumps(asdict(completion)).encode())

    def remove_all_but(self, completions: set[str]) -> None:
        """Remove the parts and records of shards that are not among these names, with them the manifest, and what was left unfinished.

        Raises
        ------
        OutputError
        """
        parts = {found.part for name in completions if (found := self.completion(name))}
        try:
            stale = [path for path in self.folder.iterdir() if _PART.fullmatch(path.name) and path.name not in parts]
            stale += [path for path in self._records.glob("*.json") if path.stem not in completions]
            if stale:
                (self.folder / MANIFEST).unlink(missing_ok=True)  # it would be true no more
            for path in [*stale, *self.folder.glob(f"*{_UNFINISHED}"), *self._records.glob(f"*{_UNFINISHED}")]:
                path.unlink()
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error})") from None
