"""Checks and locks the folder of a sweep, and writes results to it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from models.errors import InputError
from pipeline.config import Config
from pipeline.files import OutputError, whole_file
from pipeline.sweep.space import Sweep, lay_over, overlay_of
from pipeline.sweep.trials import Trial, ranked, trials_csv

STUDY, BEST, TRIALS, SPEC = "study.db", "best.yaml", "trials.csv", "sweep.yaml"
_LOCK = "lock"


def check_folder(folder: Path) -> None:
    """Check, before any work is done, that a folder is missing, empty or holds an earlier sweep.

    Raises
    ------
    InputError
        If it holds other files or cannot be read.
    """
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}); choose another --out") from None
    others = sorted(name for name in names if not name.startswith((STUDY, BEST, TRIALS, SPEC, _LOCK)))  # unfinished files have a suffix
    if STUDY not in names:
        others += sorted(names - {_LOCK})
    if others:
        raise InputError(f"{folder}: holds other files, such as {others[0]}; choose another --out")


def remove_stale(folder: Path, digest: str) -> None:
    """Remove results of other sweeps, so that they cannot be mistaken for the results of this sweep if it fails.

    Parameters
    ----------
    folder : Path
        Folder of the sweep.
    digest : str
        Digest of the sweep whose results are kept.

    Raises
    ------
    InputError
        If results cannot be removed.
    """
    try:
        best = folder / BEST
        if best.exists() and f"# Sweep {digest}\n".encode() in best.read_bytes():
            return
        for name in (BEST, TRIALS, SPEC):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: earlier results cannot be removed ({error.strerror or error}); choose another --out") from None


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder and keep other sweeps out of it.

    Raises
    ------
    InputError
        If it cannot be written to, or another sweep is using it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0).acquire()
    except Timeout:
        raise InputError(f"{folder}: another sweep is using this folder; wait for it or choose another --out") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from None
    with lock:
        yield


def write_results(folder: Path, digest: str, origin: str, config: Config, sweep: Sweep, trials: Sequence[Trial]) -> list[Path]:
    """Write the best config (an overlay for ``train.py --config``), the table of trials, and the sweep itself.

    Parameters
    ----------
    folder : Path
        Folder to write to.
    digest : str
        Digest of the study.
    origin : str
        Where the sweep came from, for the comment in ``best.yaml``.
    config : Config
        The config that trials changed.
    sweep : Sweep
        Written as ``sweep.yaml``.
    trials : sequence of Trial
        All trials; at least one must have succeeded.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    best = ranked(trials)[0]
    laid = lay_over(config, best.values, origin)
    comment = (
        f"# Trial {best.number}, the best of {len(trials)} of {origin}: "
        f"{sweep.metric} {best.value:.4f} on author-disjoint folds of train.\n"
        f"# Sweep {digest}\n"  # `remove_stale` looks for this line
    )
    contents = {
        BEST: comment + yaml.safe_dump(overlay_of(laid, best.values), sort_keys=False, allow_unicode=True),
        TRIALS: trials_csv(trials),
        SPEC: yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False),
    }
    try:
        for name, content in contents.items():
            with whole_file(folder / name) as file:
                file.write(content.encode())
    except OutputError as error:
        raise InputError(f"{error}; choose another --out") from None
    return [folder / name for name in contents]
