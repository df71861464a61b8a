"""Paths in object stores, such as ``s3://bucket/posts``, for reading posts and writing scores where there is no disk."""

import errno
import io
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from glob import has_magic
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar

from models.errors import InputError
from models.folders import address_in

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

SCHEMES = ("s3", "gs", "abfs", "abfss", "hdfs")
ATTEMPTS = 6  # number of attempts per request, with pauses that grow to 16 seconds
CONNECTING, ANSWERING = 10.0, 30.0  # seconds to wait for a connection, and for the next bytes of an answer
THREADS = 16  # how many small objects are read at a time
_BUFFER = 2 * 2**20  # bytes per request

_DENIED = "access is denied; give credentials as the store's other programs take them, such as AWS_PROFILE or a role"
# What the errors of AWS's library begin with, and what we say instead: its own sentences are long and may quote the request.
_CAUSES = {
    "NO_SUCH_BUCKET": (errno.ENOENT, "there is no such bucket"),
    "RESOURCE_NOT_FOUND": (errno.ENOENT, "there is no such bucket"),
    **dict.fromkeys(["ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "UNRECOGNIZED_CLIENT"], (errno.EACCES, _DENIED)),
    **dict.fromkeys(["SIGNATURE_DOES_NOT_MATCH", "INVALID_SIGNATURE", "EXPIRED_TOKEN", "MISSING_AUTHENTICATION"], (errno.EACCES, _DENIED)),
    "NETWORK_CONNECTION": (errno.ECONNABORTED, "the store cannot be reached, or the connection broke off"),
}
_HTTP = {"301": (errno.EACCES, "the bucket is in another region; name it in AWS_REGION"), "403": (errno.EACCES, _DENIED)}

Item = TypeVar("Item")
Result = TypeVar("Result")


def path_of(name: str | Path) -> Path:
    """Return the path that a name stands for, on this machine or in an object store.

    Parameters
    ----------
    name : str or Path
        A path, or an address such as ``s3://bucket/posts``.

    Raises
    ------
    InputError
        When it is an address of another kind, is not written with two slashes, or holds a password.

    Examples
    --------
    >>> path_of("posts"), str(path_of("s3://bucket/posts") / "monday.csv")
    (PosixPath('posts'), 's3://bucket/posts/monday.csv')
    """
    if isinstance(name, StorePath):
        return name
    if not (address := address_in(name)):
        return Path(name)
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(f"{address}: is not an address of an object store that we know; give a path, or begin the address with {known}")
    if not str(name).startswith(f"{scheme}://"):
        raise InputError(f"{name}: as a path, this is a folder called '{scheme}:'; write {address} (in Python, as a str)")
    if rest.startswith("…@"):
        raise InputError(
            f"{address}: must not hold a password; give credentials as the store's other programs take them, such as AWS_PROFILE"
        )
    if not rest.strip("/"):
        raise InputError(f"{address}: lacks the name of a bucket; write {scheme}://BUCKET/FOLDER")
    return StorePath(str(name))


@cache
def _store(scheme: str, authority: str) -> tuple["FileSystem", str]:
    """Connect to a store, and return how its library names the bucket; credentials are found in the usual places."""
    from pyarrow import fs

    if scheme != "s3":
        return fs.FileSystem.from_uri(f"{scheme}://{authority}/")  # type: ignore[no-any-return]
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    written, _, host = endpoint.rpartition("://")
    limits = {"connect_timeout": CONNECTING, "request_timeout": ANSWERING, "retry_strategy": fs.AwsStandardS3RetryStrategy(ATTEMPTS)}
    place = {"endpoint_override": host.rstrip("/"), "scheme": written or "https"} if endpoint else {}
    return fs.S3FileSystem(allow_delayed_open=True, **limits, **place), authority


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what a function returns for each item, in order, while threads are already working on the next ones.

    Parameters
    ----------
    work : callable
        What to do with an item.
    items : iterable
        The items.
    """
    upcoming = deque[Any]()
    with ThreadPoolExecutor(THREADS) as pool:
        for item in items:
            upcoming.append(pool.submit(work, item))
            if len(upcoming) > THREADS:
                yield upcoming.popleft().result()
        while upcoming:
            yield upcoming.popleft().result()


class StorePath(PosixPath):
    """The path of an object, or of what looks like a folder, in an object store.

    An object appears as a whole, at once, or not at all. A path that was listed remembers what the listing said of it.
    """

    _listed: os.stat_result | None = None

    def __str__(self) -> str:
        first, *rest = self.parts or ("",)
        return "/".join([f"{first}/" if first.endswith(":") else first, *rest])

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not on this machine")

    @property
    def _key(self) -> str:
        return "/".join([_store(self.parts[0][:-1], self.parts[1])[1].strip("/"), *self.parts[2:]])

    @property
    def _files(self) -> "FileSystem":
        return _store(self.parts[0][:-1], self.parts[1])[0]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise errors of the store as Python's own, with a short reason.

        Raises
        ------
        OSError
            When the block raises one.
        """
        from pyarrow import ArrowException

        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self)) from None
        except (OSError, ArrowException) as error:
            code, status = re.search(r"AWS Error (\w+)", str(error)), re.search(r"HTTP status (\d+)", str(error))
            known = _CAUSES.get(code[1]) if code else None
            known = known or (_HTTP.get(status[1]) if status else None)
            number, reason = known or (
                errno.EIO,
                f"the store answered {status[1] if status else code[1] if code else type(error).__name__}",
            )
            raise OSError(number, reason, str(self)) from None

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        """Return the size of an object and when it was written."""
        if self._listed is None:
            with self.told():
                (info,) = self._files.get_file_info([self._key])
            return _state(info, str(self))
        return self._listed

    def fresh(self) -> Self:
        """Return the same path without what a listing said of it."""
        return type(self)(str(self))

    def exists(self, **_: Any) -> bool:
        """Return whether this path is an object or a folder that holds one."""
        if len(self.parts) < 2:  # the path is above the bucket
            return False
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, **_: Any) -> bool:
        """Return whether this path is a folder that holds objects."""
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, **_: Any) -> bool:
        """Return whether this path is an object."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def is_fifo(self) -> bool:
        """Return False."""
        return False

    def resolve(self, strict: bool = False) -> Self:  # noqa: ARG002
        """Return this path."""
        return self

    def absolute(self) -> Self:
        """Return this path."""
        return self

    def iterdir(self) -> Generator[Self]:
        """Yield what is in a folder."""
        from pyarrow import fs

        with self.told():
            found = self._files.get_file_info(fs.FileSelector(self._key, allow_not_found=False))
        for info in found:
            path = self / info.base_name
            path._listed = _state(info, str(path))
            yield path

    def glob(self, pattern: str, **_: Any) -> Iterator[Self]:  # type: ignore[override]
        """Yield what a pattern matches."""
        return self._matching(pattern.split("/"))

    def rglob(self, pattern: str, **_: Any) -> Iterator[Self]:  # type: ignore[override]
        """Yield what a pattern matches at any depth."""
        return self._matching(["**", *pattern.split("/")])

    def matches(self) -> list[Path]:
        """Return what this path matches if it is read as a glob."""
        return sorted(type(self)(*self.parts[:2])._matching(self.parts[2:]))

    def _matching(self, pattern: Iterable[str]) -> Iterator[Self]:
        """Yield what a pattern matches, given segment by segment, as `glob.glob` does."""
        if not (pattern := list(pattern)):
            yield self
            return
        first, *rest = pattern
        if not has_magic(first):
            below = self / first
            if rest or below.exists():
                yield from below._matching(rest)
            return
        if first == "**":
            yield from self._matching(rest)
        for path in self.iterdir() if self.is_dir() else ():
            if path.name.startswith(".") and not first.startswith("."):
                continue
            if first == "**":
                yield from path._matching(pattern) if path.is_dir() else [path] * (not rest)
            elif fnmatchcase(path.name, first) and (path.is_dir() or not rest):
                yield from path._matching(rest)

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """Open an object for reading bytes; anything else is an error."""
        if mode != "rb":
            raise io.UnsupportedOperation(f"{self} can only be read as bytes or written as a whole")
        return io.BufferedReader(StoreFile(self), _BUFFER)

    def native(self) -> Any:
        """Open an object for reading by Arrow."""
        with self.told():
            return self._files.open_input_file(self._key)

    def write_bytes(self, data: Any) -> int:
        """Write an object as a whole."""

        def write() -> None:
            with self.told(), self._files.open_output_stream(self._key, compression=None) as stream:
                stream.write(data)

        with ThreadPoolExecutor(1) as thread:  # a signal between opening and writing would leave an empty object
            thread.submit(write).result()
        return len(data)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:  # noqa: ARG002
        """Write an empty object."""
        self.write_bytes(b"")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            with self.told():
                self._files.delete_file(self._key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there as soon as something is in it."""


def _state(info: "FileInfo", name: str) -> os.stat_result:
    """Return what a store says about an object, in Python's form."""
    from pyarrow import fs

    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(errno.ENOENT, "no such object", name)
    kind = stat.S_IFDIR if info.type == fs.FileType.Directory else stat.S_IFREG
    seconds = (info.mtime_ns or 0) // 10**9
    return os.stat_result((kind, 0, 0, 1, 0, 0, info.size or 0, seconds, seconds, seconds), {"st_mtime_ns": info.mtime_ns or 0})


class StoreFile(io.RawIOBase):
    """An object that is open for reading.

    Parameters
    ----------
    path : StorePath
        Its path.
    """

    def __init__(self, path: StorePath) -> None:
        self.path = path
        self._file = path.native()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position, and return it."""
        self._file.seek(offset, whence)
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as there are, up to the size of the buffer."""
        with self.path.told():
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        """Close the object."""
        if not self.closed:
            self._file.close()
        super().close()
