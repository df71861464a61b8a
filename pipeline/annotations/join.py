"""Copies of posts and stand-off annotations to labelled posts."""

import json
import re
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
from pipeline.annotations.json_posts import json_posts
from pipeline.corpora import SPLITS
from pipeline.records import BrokenRow, read_rows

_JSON = re.compile(r".*\.json(?:\.gz|\.zst)?")


def _texts(path: Path, column: str) -> Iterator[str]:
    """Texts of a file; an empty one where a row has none."""
    for row in json_posts(path, column) if _JSON.fullmatch(path.name) else read_rows(path, [column]):
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
    with new_folder(out, []) as fresh:
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
    check_output(out, [])
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
