"""What an earlier job was asked to do, as its manifest says."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from models.errors import InputError
from pipeline.scoring.options import Options
from pipeline.scoring.output import MANIFEST
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
    """

    model: str
    options: Options
    files: dict[str, FileSummary]

    @classmethod
    def read(cls, folder: Path) -> "Earlier":
        """Read the manifest of an output folder.

        Parameters
        ----------
        folder : Path
            An output folder of ``score.py``.

        Raises
        ------
        InputError
            When the job is not complete, or the manifest is damaged or has an option that this release does not know.
        """
        from pydantic import TypeAdapter

        from pipeline.routing.rules import Routing

        path = folder / MANIFEST
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
        return found
