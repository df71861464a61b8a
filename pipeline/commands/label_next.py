"""``disclosure label-next``: choose the posts that people should label next, and hand them over."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config

if TYPE_CHECKING:
    from pipeline.review.batch import BatchSummary

OUT = Path("runs/batch")


def _show(summary: "BatchSummary", out: Path, *, with_texts: bool) -> None:
    from pipeline.review.batch import BATCH_FILE, INTERFACE_FILE, POSTS_FILE, TASKS_FILE

    left_out = sum(summary.left_out.values())
    print(
        f"read {summary.read:,} posts, left out {left_out:,}, chose {summary.posts:,}, of which {summary.blind:,} are to be labelled blind"
    )
    for reason, count in sorted(summary.left_out.items()):
        print(f"  left out, {reason}: {count:,}")
    for stratum, count in summary.strata.items():
        print(f"  {stratum}: {count:,}")
    print(f"batch    {out / BATCH_FILE}")
    if with_texts:
        print(f"tasks    {out / TASKS_FILE}, with {out / INTERFACE_FILE} for Label Studio; or {out / POSTS_FILE} for a spreadsheet")
        print(f"next     once they are labelled: disclosure agreement EXPORT --batch {out}")
    else:
        print("next     the batch holds no text; for the files that annotators need, add --with-texts and choose another --out")


def main(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders or globs of unlabelled posts, as in score.py.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="The model whose uncertainty decides: directory, models:/NAME@ALIAS, or released.")
    ] = "released",
    size: Annotated[int, typer.Option(min=1, help="Number of posts to choose.")] = 200,
    labelled: Annotated[
        list[str], typer.Option(metavar="SOURCE", help="Leave out these labelled posts, or those of this earlier batch. Repeatable.")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder to write to; it must not hold anything.")] = OUT,
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="Also write tasks.json and posts.csv, which hold the texts of the chosen posts.")
    ] = False,
    random: Annotated[float, typer.Option(min=0, max=1, help="Share of the batch to draw at random from different posts.")] = 0.2,
    rare: Annotated[float, typer.Option(min=0, max=1, help="Share of the batch to choose for rare labels.")] = 0.4,
    blind: Annotated[float, typer.Option(min=0, max=1, help="Share of the other posts to show without a prediction.")] = 0.25,
    no_blur: Annotated[bool, typer.Option("--no-blur", help="Show posts in Label Studio without blurring them first.")] = False,
    keep: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="Also copy this column to the batch; annotators may see it. Repeatable.")
    ] = [],  # noqa: B006
    id_column: Annotated[str, typer.Option(help="Column with the post's id; 'none' numbers the rows.")] = "id",
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    author_column: Annotated[
        str, typer.Option(help="Column with the author, or 'none'. At most one post by each author is chosen.")
    ] = "author",
    config: Annotated[list[Path], typer.Option(help="As in train.py, for the columns of --labelled.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Choose the posts to label next.

    Some are drawn at random (for guarantees), some are chosen for rare labels, and the rest are varied posts of which the model is least
    sure. No two are near-duplicates or by the same author, and none repeats a labelled post. Shares of a stream, in which copies count,
    cannot be estimated from them. The output folder holds texts only with --with-texts. It always holds ids, reasons and predictions, and
    Label Studio's interface with the definitions of the labels. Exit codes: 0 done; 2 usage or input error, nothing written; 130 stopped
    by Ctrl-C.
    """
    from pipeline.review.choosing import Shares
    from pipeline.review.selecting import Wanted, label_next
    from pipeline.scoring.options import Options

    wanted = Wanted(size, Shares(random, rare), blind, seed)
    resolved = load_config(config, set_)
    options = Options(None if id_column.lower() == "none" else id_column, text_column, tuple(keep), over_long="truncate")
    author = None if author_column.lower() == "none" else author_column
    with terminal.steps() as progress:
        progress("loading the model")
        from pipeline.model_location import load_model

        loaded = load_model(model, resolved.tracking)
        summary, authored = label_next(
            *(inputs, loaded, out, wanted, options),
            author=author,
            labelled=labelled,
            columns=resolved.data.columns,
            with_texts=with_texts,
            blur=not no_blur,
            tell=lambda path, what: print(f"note     {path}: {what}", file=sys.stderr),
            progress=progress,
        )
    if author and not authored:
        what = f"no post has an author in the column {author!r}, so several may be by one author; correct --author-column"
        print(f"note     {what}", file=sys.stderr)
    if summary.posts < size:
        others = summary.read - sum(summary.left_out.values()) > summary.posts
        why = ": others repeat these or share an author" if others else ""
        print(f"note     only {summary.posts:,} of {size:,} posts could be chosen{why}", file=sys.stderr)
    if as_json:
        print(summary.model_dump_json(indent=1))
    else:
        _show(summary, out, with_texts=with_texts)


if __name__ == "__main__":
    terminal.run(main)
