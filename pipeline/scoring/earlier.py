"""What an earlier job was asked to do, as its manifest says."""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from models.errors import InputError
from pipeline.scoring.completion import Completion
from pipeline.scoring.options import Options
from pipeline.scoring.output import MANIFEST, Output
from pipeline.scoring.summary import FileSummary


@dataclass
class Earlier:
    """A complete job.

    Attributes
    ----------
    model : str
        The model's digest.
    options : Options
        Its options.
    files : dict of str to FileSummary
        Its input files, with their parts.
    thresholds : dict of str to float
        The thresholds that decided, by label, in the order of the model's labels.
    software : dict of str to str
        Versions of packages, by name.
    seconds : float
        How long its last run took.
    tables : dict of str to int
        The version of each Delta table among its inputs.
    content : bytes
        The manifest as it was read.
    """

    model: str
    options: Options
    files: dict[str, FileSummary]
    thresholds: dict[str, float]
    software: dict[str, str]
    seconds: float
    tables: dict[str, int] = field(default_factory=dict)  # releases that knew no tables did not write it
    content: bytes = b""

    def records(self, output: Output, *, changed: bool = False) -> list[Completion]:
        """Return the records of the job's shards, in the order of its inputs.

        Parameters
        ----------
        output : Output
            The job's folder.
        changed : bool
            Whether its parts may have changed since.

        Raises
        ------
        InputError
            When they are not those of the manifest.
        """
        places = {name: number for number, name in enumerate(self.files)}
        parts = {part: changed or digest for file in self.files.values() for part, digest in file.parts.items()}
        records = list(output.completions())
        same = all((done.model, done.options) == (self.model, self.options.digest) for done in records)
        if not same or {done.part: changed or done.sha256 for done in records} != parts:
            raise InputError(f"{output.folder}: its records do not match its manifest; run score.py on it again")
        return sorted(records, key=lambda done: (places[done.file], done.number))

    @classmethod
    def read(cls, folder: Path, manifest: Path | None = None) -> "Earlier":
        """Read the manifest of an output folder.

        Parameters
        ----------
        folder : Path
            An output folder of ``score.py``.
        manifest : Path, optional
            Where it is now; by default, in the folder.

        Raises
        ------
        InputError
            When the job is not complete, or the manifest is damaged or has an option that this release does not know.
        """
        from pydantic import TypeAdapter

        from pipeline.routing.rules import Routing

        path = manifest or folder / MANIFEST
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a file; give a folder that score.py wrote")
        try:
            form = TypeAdapter(cls)
            form.rebuild(_types_namespace={"Routing": Routing})
            found = form.validate_json(content := path.read_bytes())
        except OSError as error:
            what = f"cannot be read ({error.strerror or error})"
            raise InputError(f"{path}: {what}; give the folder of a complete job; score.py completes one that was interrupted") from None
        except ValueError:
            raise InputError(f"{path}: is not a manifest of score.py; give a folder that score.py wrote") from None
        if unknown := json.loads(content)["options"].keys() - {field.name for field in fields(Options)}:
            raise InputError(f"{path}: has the option {min(unknown)!r}, which this release does not know; use the release that wrote it")
        return replace(found, content=content)


def what_differs(folder: Path, options: Options) -> str:
    """Say in what options differ from those of the job that wrote a folder.

    Parameters
    ----------
    folder : Path
        An output folder with parts by other options, or by another release.
    options : Options
        The options.
    """
    try:
        earlier = Earlier.read(folder)
    except InputError:  # that job was interrupted
        return "the options differ from the last time"
    before, now = earlier.options.to_dict(), options.to_dict()
    names = [name.replace("_", " ") for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if names:
        return f"the options differ from the last time ({', '.join(names)})"
    return f"it was written by release {earlier.software.get('disclosure-pipeline', 'unknown')}"
