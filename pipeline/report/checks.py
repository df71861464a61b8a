"""Checks of a corpus as tables, and its texts where a terminal asks for them."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from models.errors import InputError
from models.text import normalise
from pipeline import terminal
from pipeline.checks.repeats import MIN_WORDS
from pipeline.corpora import Corpus


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str | int | None]], names: int = 1) -> Table:
    """A table whose first `names` columns are words, the others counts."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < names else "right")
    for row in rows:
        table.add_row(*("–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return table


def checks_tables(result: Mapping[str, Any]) -> list[Table]:
    """Counts of `check_splits`, and of `check_labels` where they are there, as tables."""
    splits, authors, conflicts = result["splits"], result["authors"], result["conflicts"]
    title = f"Splits ({authors['in_several_splits']:,} of {authors['known']:,} authors known stand in several)"
    rows = [(name, split["posts"], split["short"], authors["posts"][name]) for name, split in splits.items()]
    tables = [_table(title, ("split", "posts", f"under {MIN_WORDS} words", "by authors of other splits"), rows)]

    repeats = [(row["split"], row["other"], row["exact"], row["near"]) for row in result["duplicates"]]
    title = f"Repeats (near: {result['near_from']} similar, from {MIN_WORDS} words on)"
    tables.append(_table(title, ("posts of", "with the text of one in", "exact", "near"), repeats, names=2))

    disputed = [(label, found["exact"], found["near"]) for label, found in conflicts["labels"].items()]
    disputed.append(("any", conflicts["exact"]["texts"], conflicts["near"]["pairs"]))
    tables.append(_table("Conflicting labels", ("label", "equal texts", "pairs of near-equal texts"), disputed))

    if "label_errors" in result:
        errors = [
            (split, label, found["posts"], found["given"], found["wrongly_given"], found["wrongly_missing"])
            for split, labels in result["label_errors"].items()
            for label, found in labels.items()
        ]
        headings = ("split", "label", "posts", "given", "likely wrongly given", "likely missing")
        tables.append(_table("Likely label errors", headings, errors, names=2))
    return tables


def check_terminal() -> None:
    """Fail unless standard output is a terminal: posts must not end up in a log.

    Raises
    ------
    InputError
    """
    if not sys.stdout.isatty():
        raise InputError("--show-texts: standard output is no terminal, and posts must not end up in a log; run it without a pipe")


def show_texts(result: Mapping[str, Any], corpus: Corpus, top: int = 20) -> None:
    """Print the first pairs and suspects with their texts, normalised, on a terminal.

    Parameters
    ----------
    result : dict
        Of `check_splits`, with or without that of `check_labels`.
    corpus : Corpus
        That `check_splits` was given.
    top : int
        How many of each.

    Raises
    ------
    InputError
        When standard output is no terminal.
    """
    check_terminal()
    texts = {identifier: text for rows in corpus.splits.values() for identifier, text in zip(rows["id"], rows["text"], strict=True)}
    lines = []
    for row in result["pairs"][:top]:
        lines.append(f"{row['kind']} {row['similarity']:.2f}{', conflicting labels' if row['conflict'] else ''}")
        for split, identifier, labels in (("split", "id", "labels"), ("other_split", "other_id", "other_labels")):
            lines.append(f"  {row[split]} {row[identifier]!r} [{', '.join(row[labels])}]  {normalise(texts[row[identifier]])}")
    for row in result.get("suspects", [])[:top]:
        given = "given" if row["given"] else "not given"
        lines.append(f"{row['label']} {given}, probability {row['probability']:.2f}")
        lines.append(f"  {row['split']} {row['id']!r}  {normalise(texts[row['id']])}")
    terminal.output().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
