"""Stand-off annotations: labels of posts under hashes of their words, without text, and their join with copies of the posts."""

import csv
import hashlib
import json
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from pipeline import terminal
from pipeline.config import ROOT, load_config
from pipeline.corpora import SPLITS, Corpus, load_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.folders import check_output, new_folder
from pipeline.records import MAX_RECORD, BrokenRow, Row, csv_text, name_of, open_text, read_rows
from pipeline.text import EMAIL, MAX_CHARS, PHONE, URL, USER, normalise

FORM = 1  # of the words that are hashed: every change to `canonical_words`, or to `normalise` that reaches it, is a new one
SHORT = 5  # words: what has fewer, many people write and anyone can guess
LONG = 100  # letters and digits: a post of so many that ends in "..." may be cut off, and is found by its beginning
FOLDER = ROOT / "data" / "annotations"

_HASH, _HASH_BYTES = f"hash_v{FORM}", 16
_PASSED_ON = re.compile(f"^(?:rt {USER} ?:? ?)+")
_MASK = re.compile("|".join([URL, EMAIL, PHONE, USER]))
_CUT_OFF = re.compile(rf"\.\.\.(?: {URL})*$")
_WORD = re.compile(r"[^\W_]+")
_JSON = re.compile(r".*\.json(?:\.gz|\.zst)?")
_BETWEEN = re.compile(r"[\s,\[\]]*")
_UNDECODABLE = re.compile("[\udc80-\udcff]")  # as `csv_text` leaves it
_CHUNK = 2**16  # characters of a JSON file, at a time


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

    The text is normalised (`pipeline.text.normalise`: repaired, unescaped, NFKC, masked); "RT @someone:" at its beginning
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


def _cut(text: str, words: Sequence[str]) -> str | None:
    length = sum(map(len, words))
    return str(length) if length >= LONG and _CUT_OFF.search(normalise(text)) else None


def _grouped(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Put numbers in the place of authors, and nothing for one of a single post: what groups nothing need not be told."""
    posts = Counter(annotation.author for annotation in annotations if annotation.author)
    numbers: dict[str, str] = {}
    for annotation in annotations:
        if annotation.author and posts[annotation.author] > 1:
            numbers.setdefault(annotation.author, str(len(numbers) + 1))
    return [replace(annotation, author=numbers.get(annotation.author or "")) for annotation in annotations]


def annotate(corpus: Corpus) -> tuple[list[Annotation], dict[str, int]]:
    """Take the annotations off a corpus.

    Parameters
    ----------
    corpus : Corpus
        With the further columns ``experiencer``, ``stratum`` and ``unsure``.

    Returns
    -------
    annotations : list of Annotation
        One a text, sorted by hash.
    counts : dict of str to int
        ``posts``; of these ``merged`` (same words and labels as another, a held-out one where there is one), ``conflicting``
        (same words, other labels: left out) and ``wordless`` (left out); of the annotations ``short``.
    """
    counts = Counter(posts=0, merged=0, conflicting=0, wordless=0, short=0)
    found: dict[str, list[Annotation]] = defaultdict(list)
    short = set()
    for split in (name for name in reversed(SPLITS) if name in corpus.splits):
        rows = corpus.splits[split]
        further = (corpus.column(split, name) for name in ("experiencer", "stratum", "unsure"))
        for text, labels, source, author, experiencer, stratum, unsure in zip(
            rows["text"], rows["labels"], rows["source"], rows["author"], *further, strict=True
        ):
            counts["posts"] += 1
            if not (words := canonical_words(text)):
                counts["wordless"] += 1
                continue
            annotation = Annotation(
                fingerprint(words), split, tuple(labels), experiencer, source, stratum, unsure, author, _cut(text, words)
            )
            if len(words) < SHORT:
                short.add(annotation.hash)
                annotation = replace(annotation, experiencer=None, author=None)
            found[annotation.hash].append(annotation)
    kept = []
    for _, same in sorted(found.items()):
        if len({annotation.labels for annotation in same}) > 1:
            counts["conflicting"] += len(same)
        else:
            counts["merged"] += len(same) - 1
            kept.append(same[0])
    counts["short"] = sum(annotation.hash in short for annotation in kept)
    return _grouped(kept), dict(counts)


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


def _json_rows(file: TextIO, path: Path) -> Iterator[Row]:
    """Objects of a JSON file, in an array or one after another, in bounded memory."""
    decode = json.JSONDecoder().raw_decode
    text, start, number = "", 0, 0
    while True:
        start = _BETWEEN.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        try:
            found, end = decode(text, start)
        except (ValueError, RecursionError):
            text, start = text[start:], 0
            place = f"{path}, row {number + 1}"
            if len(text) > MAX_RECORD:
                raise InputError(f"{place}: not valid JSON, or longer than {MAX_RECORD >> 20} MiB; correct the file") from None
            if more := file.read(max(_CHUNK, len(text))):
                if _UNDECODABLE.search(more):
                    raise InputError(f"{place}, or soon after: not UTF-8; save the file as UTF-8") from None
                text += more
                continue
            if text:
                raise DamagedError(f"{place}: not valid JSON, or broken off; copy or write the file again") from None
            return
        number += 1
        if not isinstance(found, dict):
            raise InputError(f"{path}, row {number}: not a JSON object; give an array of objects")
        yield Row(number, found)
        start = end


def _json_posts(path: Path, column: str) -> Iterator[Row]:
    """Rows of a ``.json`` file, the first of which has the column."""
    number = 0
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with open_text(path) as (file, _), csv_text(file) as text:
            for row in _json_rows(text, path):
                number = row.number
                if number == 1 and column not in row.fields:
                    raise InputError(f"{path}, row 1: no column {column!r} among {len(row.fields)}; name the right one with --text-column")
                yield row
    except OSError as error:
        raise InputError(f"{path}, row {number + 1}: cannot be read ({error.strerror or error}); copy or write the file again") from None
    if not number:
        raise InputError(f"{path}: empty, no rows; give a file with posts")


def _texts(path: Path, column: str) -> Iterator[str]:
    """Texts of a file; an empty one where a row has none."""
    for row in _json_posts(path, column) if _JSON.fullmatch(path.name) else read_rows(path, [column]):
        if isinstance(row, BrokenRow):
            raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
        text = row.fields.get(column)
        if text is not None and not isinstance(text, str):
            raise InputError(
                f"{path}, row {row.number}: {column} is no text ({type(text).__name__}); name the right one with --text-column"
            )
        yield (text or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _beginning(text: str, key: str, length: int) -> str | None:
    """The part of a post that has this fingerprint and so many letters and digits, with "…" after it."""
    end = bisect_left(range(len(text)), length, key=lambda end: sum(map(len, canonical_words(text[:end]))))
    part = text[:end] + "…"
    return part if fingerprint(canonical_words(part)) == key else None


def _match(text: str, wanted: Mapping[str, Annotation], lengths: Sequence[int]) -> tuple[str, str] | None:
    """The annotation of a post, and as much of the post as was annotated; `lengths` are those of annotations cut off, descending."""
    if len(text) > MAX_CHARS:  # no post is so long, and normalising it takes long
        return None
    words = canonical_words(text)
    if (key := fingerprint(words)) in wanted:
        return key, text
    letters = "".join(words)
    for length in (length for length in lengths if length < len(letters)):
        key = fingerprint([letters[:length]])
        if key in wanted and wanted[key].cut and (part := _beginning(text, key, length)):
            return key, part
    return None


def _write_records(matched: dict[str, str], annotations: dict[str, Annotation], out: Path) -> None:
    records: dict[str, list[str]] = defaultdict(list)
    for key, text in sorted(matched.items()):
        further = asdict(annotations[key])
        split = further.pop("split")
        del further["cut"]
        record = {"id": further.pop("hash"), "text": text, **further}
        records[split].append(json.dumps(record, ensure_ascii=False) + "\n")
    with new_folder(out, "train.jsonl") as fresh:
        for split, lines in records.items():
            (fresh / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def join(texts: Sequence[Path], annotations: Path, out: Path, column: str = "text") -> dict[str, Any]:
    """Give posts their labels back.

    Parameters
    ----------
    texts : sequence of Path
        Files with posts: what `pipeline.records` reads, and ``.json`` with an array of objects. Read row by row.
    annotations : Path
        A file or folder, as `read_annotations` takes it.
    out : Path
        Folder, absent or empty: gets a JSONL file of labelled records a split, sorted by id (which is the hash).
    column : str
        Which column of `texts` holds the text.

    Returns
    -------
    dict
        ``texts`` read; of these ``without_text`` and ``matched``; of the matched ``repeated`` (an earlier one matched the same
        and is taken) and ``shortened`` (longer than what was annotated: its beginning is taken); ``conflicting`` annotations
        (left out); ``splits``: for each, ``annotations``, ``matched``, ``unmatched``.

    Raises
    ------
    InputError
        Naming file, row and remedy; also when nothing matches.
    """
    check_output(out, "train.jsonl")
    wanted, conflicting = read_annotations(annotations)
    lengths = sorted({int(one.cut) for one in wanted.values() if one.cut}, reverse=True)
    counts, matched = Counter(texts=0, without_text=0, matched=0, repeated=0, shortened=0), dict[str, str]()
    for path in texts:
        for text in _texts(path, column):
            counts["texts"] += 1
            counts["without_text"] += not text.strip()
            if found := _match(text, wanted, lengths):
                key, part = found
                counts.update(matched=1, repeated=int(key in matched), shortened=int(part is not text))
                matched.setdefault(key, part)
    if not matched:
        raise InputError(f"none of {counts['texts']:,} texts matches one of {len(wanted):,} annotations; check --texts and --text-column")
    _write_records(matched, wanted, out)
    of, had = Counter(one.split for one in wanted.values()), Counter(wanted[key].split for key in matched)
    splits = {name: {"annotations": of[name], "matched": had[name], "unmatched": of[name] - had[name]} for name in SPLITS if of[name]}
    return {**counts, "conflicting": conflicting, "splits": splits}


def _show(counts: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    shown = Table("split", "annotations", "matched", "unmatched")
    for name, row in counts["splits"].items():
        shown.add_row(name, *(f"{number:,}" for number in row.values()))
    console = terminal.output()
    console.print(shown)
    said = "{texts:,} texts read, {without_text:,} without text; {matched:,} matched ({repeated:,} repeat another, {shortened:,} shortened)"
    console.print(said.format(**counts) + f"; {counts['conflicting']:,} conflicting annotations left out")
    console.print(f"next     python train.py --config configs/experiments/metoo2017.yaml --data {out}")


def join_command(
    action: Annotated[Literal["join"], typer.Argument(help="Give posts their labels back.")],  # noqa: ARG001  # leaves room for others
    texts: Annotated[
        list[Path], typer.Option(metavar="FILE…", help="Posts in JSONL, CSV, Parquet or JSON, as whoever holds them has them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: a JSONL file of labelled records a split. It holds the posts' text.")],
    more: Annotated[list[Path], typer.Argument(hidden=True)] = [],  # noqa: B006  # what follows the first of --texts
    annotations: Annotated[Path, typer.Option(help="Folder or file with the annotations.")] = FOLDER,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Rebuild labelled posts from somebody's copy of them and our annotations, which hold no text."""
    with terminal.steps() as say:
        say("matching posts")
        counts = join([*texts, *more], annotations, out, text_column)
    if as_json:
        print(json.dumps(counts, indent=1))
    else:
        _show(counts, out)


def make(
    data: Annotated[list[str], typer.Option(help="Labelled posts with splits, as train.py takes them; may be repeated.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = FOLDER / "metoo2017.csv",
) -> None:
    """Take annotations off labelled posts: hashes, labels and splits, no text."""
    config = load_config([ROOT / "configs/experiments/extended.yaml"], ["data.drop_overlap=false"], data)
    corpus = load_corpus(config.data, config.labels, seed=config.seed, cut=False, further=("experiencer", "stratum", "unsure"))
    if unknown := set(corpus.splits) - set(SPLITS):
        raise InputError(f"--data: posts without split ({', '.join(sorted(unknown))}); give each file its role, as in train=FILE")
    annotations, counts = annotate(corpus)
    write_annotations(annotations, out)
    print(f"{len(annotations):,} annotations in {out}: " + ", ".join(f"{number:,} {name}" for name, number in counts.items()))


if __name__ == "__main__":
    terminal.run(make)
