"""Shows checks of a corpus as tables and, only on a terminal, the texts of posts."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from models.errors import InputError
from models.text import normalise
from pipeline.checks.findings import LabelChecks, SplitChecks
from pipeline.corpora import Corpus
from pipeline.corpora.wording import SHORT


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str | int | None]], names: int = 1) -> Table:
    """Make a table whose first `names` columns are words and whose other columns are counts."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < names else "right")
    for row in rows:
        table.add_row(*("–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return table


def checks_tables(found: SplitChecks, labels: LabelChecks | None) -> list[Table]:
    """Show the counts that checks found as tables.

    Parameters
    ----------
    found : SplitChecks
        Results of `pipeline.checks.check_splits`.
    labels : LabelChecks or None
        Results of `pipeline.checks.check_labels`; None if label errors were not looked for.
    """
    authors, conflicts = found.authors, found.conflicts
    title = f"Splits ({authors.in_several_splits:,} of {authors.known:,} known authors are in several)"
    rows = [(name, split.posts, split.short, authors.posts[name]) for name, split in found.splits.items()]
    tables = [_table(title, ("split", "posts", f"under {SHORT} words", "by authors of other splits"), rows)]

    repeats = [(row.split, row.other, row.exact, row.near) for row in found.duplicates]
    title = f"Repeats (near: similarity of at least {found.near_from}, or one quotes the other, for posts of {SHORT} words or more)"
    tables.append(_table(title, ("posts in", "repeating one in", "exact", "near"), repeats, names=2))

    disputed = [(label, each.exact, each.near) for label, each in conflicts.labels.items()]
    disputed.append(("any", conflicts.exact.texts, conflicts.near.pairs))
    tables.append(_table("Conflicting labels", ("label", "equal texts", "pairs of nearly equal texts"), disputed))

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
    """Check that standard output is a terminal: posts must not end up in a log.

    Raises
    ------
    InputError
        If it is not, for instance because of a pipe.
    """
    if not sys.stdout.isatty():
        raise InputError("--show-texts: standard output must be a terminal, so that no post ends up in a log; do not redirect it")


def show_texts(found: SplitChecks, labels: LabelChecks | None, corpus: Corpus, console: Console, top: int = 20) -> None:
    """Print the first pairs and suspects, with their normalised texts, on a terminal.

    Parameters
    ----------
    found : SplitChecks
        Results with pairs of posts.
    labels : LabelChecks or None
        Results with suspects, if label errors were looked for.
    corpus : Corpus
        The corpus that was checked.
    console : Console
        Where to print.
    top : int
        Number of pairs and of suspects to print.

    Raises
    ------
    InputError
        If standard output is not a terminal.
    """
    check_terminal()
    texts = {identifier: text for rows in corpus.splits.values() for identifier, text in zip(rows["id"][:], rows["text"][:], strict=True)}
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
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
