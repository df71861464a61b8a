"""Says which spaCy pipelines a config or a model may name: only packages that were installed as spaCy pipelines.

spaCy would import any installed package of that name, and would read a folder, whose configuration can itself name packages. A model
directory, which may come from anybody, must not choose code.
"""

from importlib.metadata import entry_points

from models.errors import InputError

BLANK = "blank"


def check_pipeline(name: str) -> None:
    """Check, without importing anything, that a name is that of an installed spaCy pipeline, or ``blank``.

    Parameters
    ----------
    name : str
        Value of ``text.spacy_pipeline``. Packages that ``spacy package`` builds, such as ``en_core_web_sm``, state in their metadata that
        they are pipelines.

    Raises
    ------
    InputError
        When it is neither.
    """
    if name != BLANK and name not in entry_points(group="spacy_models").names:
        raise InputError(
            f"spaCy pipeline {name!r} is not installed as a package of spaCy; install it (spacy download, or pip install a folder that "
            "spacy package made), or set text.spacy_pipeline: blank"
        )
