"""Stand-off annotations: labels of posts, identified by a hash of their words instead of their text."""

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from models.config import ROOT
from models.errors import InputError
from models.hashtags import without_hashtag_words
from models.text import EMAIL, PHONE, URL, USER, normalise
from pipeline.annotations.first_form import normalise_1
from pipeline.records import BrokenRow, Row, name_of, read_rows

FORM = 2  # version of the words that are hashed: increase it when `canonical_words` changes, also through `normalise`
FORMS = (1, 2)  # versions that can be joined
SHORT = 5  # minimum number of words: many people write the same shorter texts, and anyone can guess them
LONG = 100  # letters and digits: a post with at least this many that ends in "..." may be cut off, and is matched by its beginning
FOLDER = ROOT / "data" / "annotations"

_HASH, _HASH_BYTES = "hash_v", 16
_PASSED_ON = re.compile(f"^(?:rt {USER} ?:? ?)+")
_MASK = re.compile("|".join([URL, EMAIL, PHONE, USER]))
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known about a post, apart from its text.

    Attributes
    ----------
    hash : str
        `fingerprint` of the text.
    split : str
        ``train``, ``validation`` or ``test``.
    labels : tuple of str
        In the order of the label set; empty for a post without labels.
    experiencer, source, stratum, unsure : str or None
        As in the corpus; `experiencer` is None for a text of fewer than `SHORT` words.
    author : str or None
        A number shared by the posts of one author; None if the author has only one post, or the text has fewer than `SHORT` words.
    cut : str or None
        Number of letters and digits in a post that seems cut off (see `LONG`): longer copies of it begin with these.
    form : int
        Version of the words that are hashed.
    """

    hash: str
    split: str
    labels: tuple[str, ...]
    experiencer: str | None = None
    source: str | None = None
    stratum: str | None = None
    unsure: str | None = None
    author: str | None = None
    cut: str | None = None
    form: int = FORM


_FURTHER = [field.name for field in fields(Annotation)][3:-1]


def canonical_words(text: str, form: int = FORM) -> list[str]:
    """Return the words that all copies of a post share.

    First, the text is normalised (see `models.text.normalise`). Then "RT @someone:" at its beginning and all masks (links, e-mail
    addresses, handles, phone numbers) are removed. The rest is case-folded, NFKC-normalised again and split into runs of letters and
    digits.

    Parameters
    ----------
    text : str
        The post, already masked or not.
    form : int
        One of `FORMS`; the first one uses the normaliser of its time.

    Examples
    --------
    >>> canonical_words("RT @someone: Me TOO, at work! https://example.org")
    ['me', 'too', 'at', 'work']
    """
    normalised = normalise_1(text) if form == 1 else without_hashtag_words(normalise(text))
    bare = _MASK.sub(" ", _PASSED_ON.sub("", normalised))
    return _WORD.findall(unicodedata.normalize("NFKC", bare.casefold()))


def fingerprint(words: Sequence[str]) -> str:
    """Return the first 16 bytes, in hexadecimal, of the SHA-256 of canonical words (concatenated, as UTF-8)."""
    return hashlib.sha256("".join(words).encode()).hexdigest()[: 2 * _HASH_BYTES]


def write_annotations(annotations: Iterable[Annotation], path: Path) -> None:
    """Write annotations as CSV; the name of the first column holds the version of the canonical form.

    Parameters
    ----------
    annotations : iterable of Annotation
    path : Path
        File to write; missing folders above it are made.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([f"{_HASH}{FORM}", "split", "labels", *_FURTHER])
            for one in annotations:
                writer.writerow([one.hash, one.split, ";".join(one.labels), *(getattr(one, name) for name in _FURTHER)])
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None


def _annotation(row: Row, path: Path) -> Annotation:
    place, values = f"{path}, row {row.number}", row.fields
    from pipeline.corpora import SPLITS

    made = next((name for name in values if re.fullmatch(rf"{_HASH}\d+", name)), "no hash")
    form = next((form for form in FORMS if made == f"{_HASH}{form}"), None)
    if form is None:
        known = " and ".join(f"{_HASH}{form}" for form in FORMS)
        raise InputError(f"{place}: the column is {made}, but this release reads {known}; use annotations and code from the same release")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _HASH_BYTES}}}", str(values[made])):
        raise InputError(f"{place}: {made} must be {2 * _HASH_BYTES} hexadecimal digits; use the file as it was published")
    if values["split"] not in SPLITS:
        raise InputError(f"{place}: split must be one of {', '.join(SPLITS)}; use the file as it was published")
    if values.get("cut") and not re.fullmatch(r"\d{1,5}", str(values["cut"])):
        raise InputError(f"{place}: cut must be a number; use the file as it was published")
    labels = tuple(name for name in str(values["labels"] or "").split(";") if name)
    return Annotation(values[made], values["split"], labels, **{name: values.get(name) or None for name in _FURTHER}, form=form)


def read_annotations(path: Path) -> tuple[dict[str, Annotation], int]:
    """Read annotations.

    Parameters
    ----------
    path : Path
        A file that `write_annotations` wrote, or a folder of such files.

    Returns
    -------
    annotations : dict of str to Annotation
        Annotations by hash.
    conflicting : int
        Number of texts for which rows have different labels or splits; these are left out.

    Raises
    ------
    InputError
        If a file or row cannot be used. The message names it and how to fix it.
    """
    files = sorted(file for file in path.iterdir() if name_of(file)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no annotations found; give the folder data/annotations, or one of its files")
    found: dict[str, Annotation | None] = {}
    for file in files:
        for row in read_rows(file, ["split", "labels"]):
            if isinstance(row, BrokenRow):
                raise InputError(f"{file}, row {row.number}: {row.reason}; use the file as it was published")
            new = _annotation(row, file)
            known = found.setdefault(new.hash, new)
            if known and (known.labels, known.split) != (new.labels, new.split):
                found[new.hash] = None
    annotations = {key: annotation for key, annotation in found.items() if annotation}
    return annotations, len(found) - len(annotations)
