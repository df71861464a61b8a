"""The output folder of a job, with parts and, for each part, the record that it is complete."""

import hashlib
import json
import re
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InputError
from models.folders import check_local
from pipeline.errors import IncompleteError, LockedError
from pipeline.files import UNFINISHED, OutputError, WholeFile, is_left_behind, whole_file
from pipeline.records import STDIN
from pipeline.scoring.completion import Completion
from pipeline.scoring.store_lock import locked_in_store
from pipeline.stores import StorePath, ahead

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MANIFEST, REJECTS, RECORDS, _LOCK = "manifest.json", "rejects.jsonl", "_shards", "lock"
_FORGETTING = "forgetting"  # the manifest of a job, while posts are being removed from its parts

_LONGEST_LINE = 2**27  # maximum size of a line of rejects, whose id may be as long as a record

_SHARD = r"[0-9a-f]{12}-\d{5,}"
_PART = re.compile(rf"part-{_SHARD}\.(?:parquet|jsonl|csv)")
_LOCKS = re.compile(rf"{_LOCK}(?:-[0-9a-f]{{16}})?")
_RECORD = re.compile(rf"{_SHARD}\.json")
_INTENDED = ".intended"
_NOTE = re.compile(rf"{_PART.pattern}{re.escape(_INTENDED)}")
_LEFT = re.compile(
    rf"(?:{_PART.pattern}|{_RECORD.pattern}|{re.escape(MANIFEST)}|{re.escape(REJECTS)}|{_FORGETTING})\.[0-9a-f]+{re.escape(UNFINISHED)}"
)


@cache
def _form() -> "TypeAdapter[Completion]":
    from pydantic import TypeAdapter

    return TypeAdapter(Completion)


def _validated(content: bytes) -> Completion:
    try:
        return _form().validate_json(content, strict=True)
    except ValueError:  # pydantic refuses names of files that are not UTF-8
        held = _object(content)
        names = {key: held[key] for key in ("file", "place") if isinstance(held.get(key), str)}
        return replace(_form().validate_json(json.dumps(held | dict.fromkeys(names, "")), strict=True), **names)


def _held(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_left_behind(path.name))


def _first_foreign(paths: Iterable[Path], may_be_ours: Callable[[Path], bool]) -> Path | None:
    """Return the first path that is not ours; one that another job has renamed or removed since the folder was listed is none."""
    for path in paths:
        with suppress(FileNotFoundError):
            if not may_be_ours(path):
                return path
    return None


def _may_be_ours(path: Path) -> bool:
    """Return whether a file of an output folder looks as if we had written it; we never write links."""
    kind = path.lstat().st_mode
    if path.name == RECORDS:
        return stat.S_ISDIR(kind)
    if not stat.S_ISREG(kind):
        return False
    if path.name in (MANIFEST, REJECTS):
        with path.open("rb") as file:
            line = file.read(1)
            if line == b"{":  # otherwise it need not be read, however large it is
                line += file.read() if path.name == MANIFEST else file.readline(_LONGEST_LINE)
        keys = {"model", "options", "files", "shards"} if path.name == MANIFEST else {"file", "row", "reason"}
        return _object(line).keys() >= keys or (path.name == REJECTS and not line)
    return bool(_PART.fullmatch(path.name) or _LEFT.fullmatch(path.name))


def _may_be_record(path: Path) -> bool:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return False
    if _LOCKS.fullmatch(path.name) or _NOTE.fullmatch(path.name):
        return found.st_size == 0
    return path.name == _FORGETTING or bool(_RECORD.fullmatch(path.name) or _LEFT.fullmatch(path.name))


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
        if not isinstance(folder, StorePath):
            check_local(folder)
        self._is_lost: Callable[[], bool] | None = None
        self.folder = folder
        self._records = folder / RECORDS
        if folder == STDIN:
            raise InputError("-: scores are written to a folder, not to standard output; choose another --out")
        try:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file; choose another --out")
            held = _held(folder) if folder.exists() else []
            other = _first_foreign(held, _may_be_ours)
            if not other and held and self._records not in held:
                other = held[0]
            if not other and held:
                other = _first_foreign(_held(self._records), _may_be_record)
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror or error}); choose another --out") from None
        if other:
            raise InputError(f"{folder}: holds other files, such as {other.relative_to(folder)}; choose another --out")

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
                if isinstance(self._records, StorePath):
                    self._is_lost = stack.enter_context(locked_in_store(self._records, self.folder))
                else:
                    self._records.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(FileLock(self._records / _LOCK, timeout=0))
            except Timeout:
                raise LockedError(f"{self.folder}: another job is writing to it; wait for it to end, or choose another --out") from None
            except OSError as error:
                raise InputError(f"{self.folder}: cannot be written ({error.strerror or error}); choose another --out") from None
            yield

    def completion(self, name: str) -> Completion | None:
        """Return the record of a shard, or None if it is missing or damaged.

        Raises
        ------
        OutputError
            When an object store does not say whether it has the record.
        """
        try:
            found = _validated((self._records / f"{name}.json").read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(self.folder, StorePath) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise OutputError(f"{self.folder}: cannot be read ({error.strerror})") from None
            return None
        return found if _PART.fullmatch(found.part) and found.name == name and found.is_plausible else None

    def read(self, names: Iterable[str]) -> Iterator[Completion | None]:
        """Yield the records of shards, each as `completion` returns it."""
        return ahead(self.completion, names) if isinstance(self.folder, StorePath) else map(self.completion, names)

    def completions(self) -> Iterator[Completion]:
        """Yield all records, sorted by name."""
        return filter(None, self.read(sorted(path.stem for path in self._records.glob("*.json"))))

    def check_lock(self) -> None:
        """Raise an error if another job may have taken the folder over, as after a long pause of this machine.

        Raises
        ------
        OutputError
            When that is so.
        """
        if self._is_lost and self._is_lost():
            raise OutputError(f"{self.folder}: the lock was lost, because it was not renewed for too long")

    def has(self, wanted: Completion, found: Completion) -> bool:
        """Return whether the folder holds an intact part, with the record that was found, for the same shard, model and options.

        If the part was replaced and the job was interrupted before the new record was written, it is written now.
        """
        if not all(getattr(found, key) == getattr(wanted, key) for key in ("file", "first_row", "digest", "model", "options", "part")):
            return False
        digest = self._digest(found.part)
        if found.replacing and digest == found.replacing.get("sha256"):
            self._record(_validated(json.dumps(found.replacing).encode()))
            return True
        return digest == found.sha256

    def _digest(self, part: str) -> str | None:
        try:
            with (self.folder / part).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    @contextmanager
    def part(self, completion: Completion) -> Iterator[WholeFile]:
        """Yield a file for a part; after the block, the file is put in place and `completion`, which the block fills in, is recorded.

        Until a record names the part, an empty file bears its name, so that a part that is found without a record is known to be ours.
        After an error, that file stays, because the part may be there already; the end of the next job removes it.

        Raises
        ------
        OutputError
            When the folder cannot be written, or its lock was lost.
        """
        self.check_lock()
        before = self.completion(completion.name)
        intended, former = [self._records / f"{part}{_INTENDED}" for part in (completion.part, before.part if before else completion.part)]
        with self._told():
            if not before or former != intended:
                intended.touch()
        with whole_file(self.folder / completion.part, outdated=self.folder / MANIFEST) as file:
            yield file
            file.seek(0)
            completion.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with self._told():
            if former != intended:
                former.touch()  # the former part has another format
        self._record(completion)
        with self._told():
            self._remove_intended([former, intended], {completion.part})

    def _record(self, completion: Completion) -> None:
        with whole_file(self._records / f"{completion.name}.json") as file:
            file.write(json.dumps(asdict(completion)).encode())

    def replace(self, before: Completion, wanted: Completion, content: bytes) -> None:
        """Give a finished part another content. Whenever this is interrupted, `part_content` takes the part for intact.

        Parameters
        ----------
        before, wanted : Completion
            The record that the part has, and the one that it is to have.
        content : bytes
            The content.

        Raises
        ------
        OutputError
            When the folder cannot be written, or its lock was lost.
        """
        self.check_lock()
        wanted.replacing, wanted.sha256 = {}, hashlib.sha256(content).hexdigest()
        self._record(replace(before, replacing=asdict(wanted)))
        with self.part(wanted) as file:
            file.write(content)

    @property
    def forgetting(self) -> Path:
        """The manifest that the folder had before posts began to be removed from its parts; it is there until all are removed."""
        return self._records / _FORGETTING

    def check_unchanged(self, manifest: bytes) -> None:
        """Raise an error if the job is not as it was when its manifest was read, because posts may have been forgotten since.

        Parameters
        ----------
        manifest : bytes
            Its manifest then.

        Raises
        ------
        IncompleteError
            When it was changed, or is being changed.
        """
        with suppress(FileNotFoundError):
            if not self.forgetting.exists() and (self.folder / MANIFEST).read_bytes() == manifest:
                return
        raise IncompleteError(f"{self.folder}: was changed while it was read; run the same command again once the change is complete")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error})") from None

    def _remove_intended(self, intended: Iterable[Path], kept: Container[str]) -> None:
        """Remove the parts that were begun, or replaced, and that no record names, and the notes about them."""
        for path in dict.fromkeys(intended):
            if path.stem not in kept:
                (self.folder / path.stem).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def remove_all_but(self, completions: set[str]) -> None:
        """Remove what an earlier job left: unfinished files, and the records of all other shards, with the parts that they name.

        If a part is removed, the manifest is, too. Nothing else is ever removed.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        with self._told():
            found = {self._records / f"{done.name}.json": done for done in self.completions()}
            stale = {path: done for path, done in found.items() if done.name not in completions}
            intended = [path for path in _held(self._records) if path.suffix == _INTENDED]
            if stale or intended:
                (self.folder / MANIFEST).unlink(missing_ok=True)  # it would no longer be correct
            if not completions:
                self.forgetting.unlink(missing_ok=True)
            for path, done in stale.items():
                (self.folder / done.part).unlink(missing_ok=True)
                path.unlink()
            self._remove_intended(intended, {done.part for path, done in found.items() if path not in stale})
            for path in [*_held(self.folder), *_held(self._records)]:
                if _LEFT.fullmatch(path.name):
                    path.unlink()

    def check_nothing_else(self) -> None:
        """Raise an error if there is a part that no record names: whoever reads all parts would take its rows for ours.

        Raises
        ------
        OutputError
            When there is one.
        """
        named = {found.part for found in self.completions()}
        if others := [path for path in _held(self.folder) if _PART.fullmatch(path.name) and path.name not in named]:
            raise OutputError(f"{others[0]}: is not ours, because no record in {RECORDS} names it; move it away")
