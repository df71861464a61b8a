"""Locks a folder of an object store, where there are neither locks nor renaming, for one job at a time."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from pipeline.errors import LockedError
from pipeline.stores import StorePath

LEASE = 60.0  # seconds without renewal after which the job of a lock counts as killed
_RENEWALS = 4  # number of renewals in this time
_LOOK = 1.0  # seconds between looks at the lock of another job


class _Lock:
    """An empty object, which says by the time of its last writing that its job is alive."""

    def __init__(self, folder: StorePath) -> None:
        self.folder = folder
        self.path = folder / f"lock-{secrets.token_hex(8)}"
        self.ended, self._lost = Event(), Event()

    def renew(self) -> float:
        """Write the object, and return when that was by the store's clock."""
        began = time.monotonic()
        self.path.touch()
        self._renewed = began  # only now: as long as the store takes nothing, the lock gets older
        return self.path.stat().st_mtime_ns / 1e9

    def others(self) -> dict[StorePath, float]:
        """Return the other jobs' locks, and when they were renewed."""
        with suppress(FileNotFoundError):
            return {path: path.stat().st_mtime_ns / 1e9 for path in self.folder.glob("lock-*") if path != self.path}
        return {}

    def release(self) -> None:
        """Remove the object; if that is not possible, it will soon be too old to count."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Renew until the job ends, or until one renewal came too late, so that another job may have begun."""
        while not self.ended.wait(LEASE / _RENEWALS):
            late = time.monotonic() - self._renewed > LEASE * (1 - 1 / _RENEWALS)
            with suppress(OSError):
                if late or not self.path.exists():
                    self._lost.set()
                    return
                self.renew()

    def is_lost(self) -> bool:
        """Return whether another job may have begun; a request that renews the lock may also take longer than the lock is valid."""
        return self._lost.is_set() or time.monotonic() - self._renewed > LEASE


def _wait_for_others(lock: _Lock, shown: Path) -> None:
    """Return once there is no other job's lock; remove those that are not renewed, and raise an error if one is.

    Of jobs that begin at the same time, one must stay. It waits until the others have gone, or until they turn out to be at work: a job
    that has begun keeps renewing its lock, while one that has not gives up after a look or two.
    """
    first: dict[StorePath, float] = {}
    now = lock.renew()
    while others := lock.others():
        for path, renewed in others.items():
            since = renewed - first.setdefault(path, renewed)
            # Another job that has not begun yet renews its lock just as often: the one whose lock has the smaller name stays.
            if since > (0 if path.name < lock.path.name else LEASE / _RENEWALS):
                raise LockedError(f"{shown}: another job is writing to it; wait for it to end, or choose another --out")
            if now - renewed > LEASE:
                path.unlink(missing_ok=True)
        time.sleep(_LOOK)
        now = lock.renew()


@contextmanager
def locked_in_store(folder: StorePath, shown: Path) -> Iterator[Callable[[], bool]]:
    """Lock a folder while the block lasts, and yield a function that says whether the lock is lost, as after a long pause of the machine.

    Each job writes an object of its own, and only then looks for others', so that of two jobs at least one sees the other. It writes its
    object again and again; one that was not renewed for a minute was left by a job that was killed, and is removed. Times are compared by
    the store's clock. The store must show an object to everybody as soon as it is written, as S3, Google's and Azure's do.

    Parameters
    ----------
    folder : StorePath
        Where the objects are written.
    shown : Path
        The folder to name in messages.

    Raises
    ------
    LockedError
        When another job holds the folder.
    OSError
        When the store cannot be written.
    """
    lock = _Lock(folder)
    with ExitStack() as stack:
        stack.callback(lock.release)
        _wait_for_others(lock, shown)
        renewing = Thread(target=lock.keep, daemon=True)
        renewing.start()
        stack.callback(renewing.join)
        stack.callback(lock.ended.set)
        yield lock.is_lost
