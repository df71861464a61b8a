"""Checks of a corpus as tables, and its texts where a terminal asks for them."""

import sys
from collections.abc import Iterable, Sequence

from rich.table import Table

from models.errors import InputError
from models.text import normalise
from pipeline import terminal
from pipeline.checks.repeats import MIN_WORDS
from pipeline.checks.results import LabelChecks, SplitChecks
from pipeline.corpora import Corpus


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str | int | None]], names: int = 1) -> Table:
    """A table whose first `names` columns are words, the others counts."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < names else "right")
    for row in rows:
        table.add_row(*("–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return table


def checks_tables(found: SplitChecks, labels: LabelChecks | None) -> list[Table]:
    """Counts of what checks found, as tables.

    Parameters
    ----------
    found : SplitChecks
    labels : LabelChecks or None
        Where label errors were looked for.
    """
    authors, conflicts = found.authors, found.conflicts
    title = f"Splits ({authors.in_several_splits:,} of {authors.known:,} authors known stand in several)"
    rows = [(name, split.posts, split.short, authors.posts[name]) for name, split in found.splits.items()]
    tables = [_table(title, ("split", "posts", f"under {MIN_WORDS} words", "by authors of other splits"), rows)]

    repeats = [(row.split, row.other, row.exact, row.near) for row in found.duplicates]
    title = f"Repeats (near: {found.near_from} similar, from {MIN_WORDS} words on)"
    tables.append(_table(title, ("posts of", "with the text of one in", "exact", "near"), repeats, names=2))

    disputed = [(label, each.exact, each.near) for label, each in conflicts.labels.items()]
    disputed.append(("any", conflicts.exact.texts, conflicts.near.pairs))
    tables.append(_table("Conflicting labels", ("label", "equal texts", "pairs of near-equal texts"), disputed))

    if labels:
        errors = [
            (split, label, each.posts, each.given, each.wrongly_given, each.wrongly_missing)
            for split, by_label in labels.label_errors.items()
            for label, each in by_label.items()
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


def show_texts(found: SplitChecks, labels: LabelChecks | None, corpus: Corpus, top: int = 20) -> None:
    """Print the first pairs and suspects with their texts, normalised, on a terminal.

    Parameters
    ----------
    found : SplitChecks
    labels : LabelChecks or None
    corpus : Corpus
        That `found` is of.
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
    for pair in found.pairs[:top]:
        lines.append(f"{pair.kind} {pair.similarity:.2f}{', conflicting labels' if pair.conflict else ''}")
        for split, identifier, given in (
            (pair.split, pair.id, pair.labels),
            (pair.other_split, pair.other_id, pair.other_labels),
        ):
            lines.append(f"  {split} {identifier!r} [{', '.join(given)}]  {normalise(texts[identifier])}")
    for suspect in labels.suspects[:top] if labels else []:
        lines.append(f"{suspect.label} {'given' if suspect.given else 'not given'}, probability {suspect.probability:.2f}")
        lines.append(f"  {suspect.split} {suspect.id!r}  {normalise(texts[suspect.id])}")
    terminal.output().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
