"""Fingerprints of the posts that a model was trained on, by which an evaluation recognises them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError
from models.storage import FINGERPRINTS
from pipeline.corpora.corpus import Corpus
from pipeline.corpora.wording import FORM, fingerprint, wording


@dataclass(frozen=True)
class Fingerprints:
    """What a run keeps of the posts that its model was trained on: a hash of each post's words, and nothing else.

    Anyone who has a post can find out from them whether it was used in training. They are therefore kept in the run's folder, readable only
    by its owner, and in the run in MLflow, but never in a model that is registered, served or published. Posts of fewer than five words
    have no fingerprint, because too many people write the same.

    Attributes
    ----------
    model : str
        Digest of the model.
    hashes : frozenset of str
        From ``pipeline.corpora.wording.fingerprint``, of the train posts and the unlabelled ones.
    """

    model: str
    hashes: frozenset[str]

    @classmethod
    def of_training(cls, model: str, corpus: Corpus) -> "Fingerprints":
        """Compute the fingerprints of what a model learned from.

        Parameters
        ----------
        model : str
            Digest of the model.
        corpus : Corpus
            The corpus that the model was trained on.
        """
        texts = [text for rows in (corpus.splits["train"], corpus.unlabelled) for text in rows["text"][:]]
        return cls(model, frozenset(filter(None, (fingerprint(wording(text)) for text in texts))))

    def know(self, texts: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which posts the model was trained on, and which are too short to tell, each of shape (n_posts,)."""
        found = [fingerprint(wording(text)) for text in texts]
        return np.array([each in self.hashes for each in found], bool), np.array([each is None for each in found], bool)

    def write(self, folder: Path) -> Path:
        """Write ``fingerprints.json`` to a folder, readable only by its owner, and return its path.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        path = folder / FINGERPRINTS
        tree = {"form": FORM, "model": self.model, "fingerprints": sorted(self.hashes)}  # sorted, so that the order reveals nothing
        new = path.with_name(f".{path.name}")
        try:
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(tree, file)
            new.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        return path


def read_fingerprints(path: Path, model: str) -> Fingerprints | None:
    """Read the fingerprints of what a model was trained on.

    Parameters
    ----------
    path : Path
        The file.
    model : str
        Digest of the model.

    Returns
    -------
    Fingerprints or None
        None if the file is missing, belongs to somebody else, or holds the fingerprints of another model or of another version.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_bytes())
    except PermissionError:
        return None
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: is damaged; train the model again, or delete the file to do without it") from None
    try:
        form, digest, hashes = tree["form"], tree["model"], frozenset(map(str, tree["fingerprints"]))
    except (TypeError, LookupError):
        raise InputError(f"{path}: is damaged; train the model again, or delete the file to do without it") from None
    return Fingerprints(digest, hashes) if (form, digest) == (FORM, model) else None
