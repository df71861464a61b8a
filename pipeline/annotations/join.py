"""Joins copies of posts with stand-off annotations, which makes labelled posts."""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.errors import InputError
from models.folders import check_output, new_folder
from models.text import MAX_CHARS
from pipeline.annotations.form import Annotation, canonical_words, fingerprint, read_annotations
from pipeline.corpora import SPLITS
from pipeline.records import BrokenRow, read_rows


def _texts(path: Path, column: str) -> Iterator[str]:
    """Read the texts of a file; a row without a text yields an empty one."""
    for row in read_rows(path, [column], option="--text-column"):
        if isinstance(row, BrokenRow):
            raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
        text = row.fields.get(column)
        if text is not None and not isinstance(text, str):
            raise InputError(
                f"{path}, row {row.number}: {column} must be text, not {type(text).__name__}; name the right column with --text-column"
            )
        yield (text or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _beginning(text: str, key: str, length: int, form: int) -> str | None:
    """Return the beginning of a post, `length` letters and digits long and followed by "…", if its fingerprint is `key`."""
    end = bisect_left(range(len(text)), length, key=lambda end: sum(map(len, canonical_words(text[:end], form))))
    part = text[:end] + "…"
    return part if fingerprint(canonical_words(part, form)) == key else None


def _match(text: str, wanted: Mapping[str, Annotation], lengths: Sequence[int], forms: Sequence[int]) -> tuple[str, str] | None:
    """Find the annotation of a post, and the part of it that was annotated; `lengths` are those of cut-off posts, longest first."""
    if len(text) > MAX_CHARS:  # no post is that long, and normalising it would be slow
        return None
    for form in forms:
        words = canonical_words(text, form)
        if (key := fingerprint(words)) in wanted:
            return key, text
        letters = "".join(words)
        for length in (length for length in lengths if length < len(letters)):
            key = fingerprint([letters[:length]])
            if key in wanted and wanted[key].cut and (part := _beginning(text, key, length, form)):
                return key, part
    return None


def _write_records(matched: dict[str, str], annotations: dict[str, Annotation], out: Path) -> None:
    records: dict[str, list[str]] = defaultdict(list)
    for key, text in sorted(matched.items()):
        further = asdict(annotations[key])
        split = further.pop("split")
        del further["cut"], further["form"]
        record = {"id": further.pop("hash"), "text": text, **further}
        records[split].append(json.dumps(record, ensure_ascii=False) + "\n")
    with new_folder(out, []) as fresh:
        for split, lines in records.items():
            (fresh / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def join(texts: Sequence[Path], annotations: Path, out: Path, column: str = "text") -> dict[str, Any]:
    """Join posts with their labels.

    Parameters
    ----------
    texts : sequence of Path
        Files with posts, of any kind that `pipeline.records` reads.
    annotations : Path
        A file or folder of annotations; see `read_annotations`.
    out : Path
        Folder, missing or empty, to write to: one JSONL file of labelled records per split, sorted by id (which is the hash).
    column : str
        Column of `texts` that holds the text.

    Returns
    -------
    dict
        ``texts`` counts what was read, of which some were empty (``without_text``) and some ``matched``. Of the matched ones, ``repeated``
        matched the same annotation as an earlier text, which is kept. ``shortened`` were longer than what was annotated, and only the
        beginning is kept. ``conflicting`` annotations are left out. ``splits`` holds the ``annotations``, ``matched`` and ``unmatched`` of
        each split.

    Raises
    ------
    InputError
        If a file or row cannot be used, or nothing matches. The message says how to fix it.
    """
    check_output(out, [])
    wanted, conflicting = read_annotations(annotations)
    lengths = sorted({int(one.cut) for one in wanted.values() if one.cut}, reverse=True)
    forms = sorted({one.form for one in wanted.values()}, reverse=True)
    counts, matched = Counter(texts=0, without_text=0, matched=0, repeated=0, shortened=0), dict[str, str]()
    for path in texts:
        for text in _texts(path, column):
            counts["texts"] += 1
            counts["without_text"] += not text.strip()
            if found := _match(text, wanted, lengths, forms):
                key, part = found
                counts.update(matched=1, repeated=int(key in matched), shortened=int(part is not text))
                matched.setdefault(key, part)
    if not matched:
        raise InputError(f"none of {counts['texts']:,} texts matches any of {len(wanted):,} annotations; check --texts and --text-column")
    _write_records(matched, wanted, out)
    of, had = Counter(one.split for one in wanted.values()), Counter(wanted[key].split for key in matched)
    splits = {name: {"annotations": of[name], "matched": had[name], "unmatched": of[name] - had[name]} for name in SPLITS if of[name]}
    return {**counts, "conflicting": conflicting, "splits": splits}
