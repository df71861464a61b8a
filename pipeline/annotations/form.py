"""Stand-off annotations: labels of posts under hashes of their words, without text."""

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from models.config import ROOT
from models.errors import InputError
from models.text import EMAIL, PHONE, URL, USER, normalise
from pipeline.corpora import SPLITS
from pipeline.records import BrokenRow, Row, name_of, read_rows

FORM = 1  # of the words that are hashed: every change to `canonical_words`, or to `normalise` that reaches it, is a new one
SHORT = 5  # words: what has fewer, many people write and anyone can guess
LONG = 100  # letters and digits: a post of so many that ends in "..." may be cut off, and is found by its beginning
FOLDER = ROOT / "data" / "annotations"

_HASH, _HASH_BYTES = f"hash_v{FORM}", 16
_PASSED_ON = re.compile(f"^(?:rt {USER} ?:? ?)+")
_MASK = re.compile("|".join([URL, EMAIL, PHONE, USER]))
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of a post beside its text.

    Attributes
    ----------
    hash : str
        `fingerprint` of the text.
    split : str
        ``train``, ``validation`` or ``test``.
    labels : tuple of str
        In the order of the label set; empty for a post that gets none.
    experiencer, source, stratum, unsure : str or None
        As in the corpus; no `experiencer` for a text of fewer than `SHORT` words.
    author : str or None
        A number shared by the posts of one author; none for an author of one post or for a text of fewer than `SHORT` words.
    cut : str or None
        How many letters and digits there are of a post that seems cut off (`LONG`): copies that go on begin with them.
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


_FURTHER = [field.name for field in fields(Annotation)][3:]


def canonical_words(text: str) -> list[str]:
    """Words of a post that all its copies share.

    The text is normalised (`models.text.normalise`: repaired, unescaped, NFKC, masked); "RT @someone:" at its beginning
    and all masks (links, e-mail addresses, handles, phone numbers) go; what is left is case-folded, NFKC again, and cut
    into runs of letters and digits.

    Parameters
    ----------
    text : str
        A post as it came, masked or not.
    """
    bare = _MASK.sub(" ", _PASSED_ON.sub("", normalise(text)))
    return _WORD.findall(unicodedata.normalize("NFKC", bare.casefold()))


def fingerprint(words: Sequence[str]) -> str:
    """SHA-256 of canonical words, joined by nothing, in UTF-8: the first 16 bytes in hexadecimal."""
    return hashlib.sha256("".join(words).encode()).hexdigest()[: 2 * _HASH_BYTES]


def write_annotations(annotations: Iterable[Annotation], path: Path) -> None:
    """Write annotations as CSV; the name of its first column tells the version of the canonical form.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([_HASH, "split", "labels", *_FURTHER])
            for one in annotations:
                writer.writerow([one.hash, one.split, ";".join(one.labels), *(getattr(one, name) for name in _FURTHER)])
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None


def _annotation(row: Row, path: Path) -> Annotation:
    place, values = f"{path}, row {row.number}", row.fields
    if _HASH not in values:
        made = next((name for name in values if re.fullmatch(r"hash_v\d+", name)), "no hash")
        raise InputError(f"{place}: got {made}, this version reads {_HASH}; take annotations and code of one release")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _HASH_BYTES}}}", str(values[_HASH])):
        raise InputError(f"{place}: {_HASH} is not {2 * _HASH_BYTES} hexadecimal digits; take the file as it was published")
    if values["split"] not in SPLITS:
        raise InputError(f"{place}: split is none of {', '.join(SPLITS)}; correct it")
    if values.get("cut") and not re.fullmatch(r"\d{1,5}", str(values["cut"])):
        raise InputError(f"{place}: cut is no number; take the file as it was published")
    labels = tuple(name for name in str(values["labels"] or "").split(";") if name)
    return Annotation(values[_HASH], values["split"], labels, **{name: values.get(name) or None for name in _FURTHER})


def read_annotations(path: Path) -> tuple[dict[str, Annotation], int]:
    """Read annotations.

    Parameters
    ----------
    path : Path
        A file that `write_annotations` wrote, or a folder of such files.

    Returns
    -------
    annotations : dict of str to Annotation
        By hash.
    conflicting : int
        Texts to which files give different labels or splits: these are left out.

    Raises
    ------
    InputError
        Naming file, row and remedy.
    """
    files = sorted(file for file in path.iterdir() if name_of(file)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no annotations there; give the folder data/annotations, or a file of it")
    found: dict[str, Annotation | None] = {}
    for file in files:
        for row in read_rows(file, ["split", "labels"]):
            if isinstance(row, BrokenRow):
                raise InputError(f"{file}, row {row.number}: {row.reason}; take the file as it was published")
            new = _annotation(row, file)
            known = found.setdefault(new.hash, new)
            if known and (known.labels, known.split) != (new.labels, new.split):
                found[new.hash] = None
    annotations = {key: annotation for key, annotation in found.items() if annotation}
    return annotations, len(found) - len(annotations)
