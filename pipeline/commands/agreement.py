"""``disclosure agreement``: compare what several annotators said about posts, and make a corpus of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import InputError
from pipeline import terminal
from pipeline.config_files import load_config

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.review.agreement import Agreement
    from pipeline.review.anchoring import Anchoring, Followed

OUT = Path("runs/agreement")
FINDINGS_FILE, DISAGREEMENTS_FILE, LABELLED_FILE = "agreement.json", "disagreements.csv", "labelled.jsonl"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _labels_table(found: "Agreement") -> "Table":
    from rich.table import Table

    table = Table(title=f"Agreement on {found.several:,} posts with several annotators", title_justify="left")
    for name in ("label", "posts", "given", "same answer", "Krippendorff's α", "to settle"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for label, row in found.labels.items():
        table.add_row(label, f"{row.posts:,}", _share(row.given), _share(row.agreement), _number(row.alpha), f"{row.disputed:,}")
    table.add_row("all labels (MASI)", f"{found.several:,}", "", _share(found.same), _number(found.alpha), "")
    return table


def _pairs_table(found: "Agreement") -> "Table":
    from rich.table import Table

    table = Table(title="Cohen's κ of each pair of annotators", title_justify="left")
    for name in ("annotators", "posts", *found.labels):
        table.add_column(name, justify="left" if name == "annotators" else "right")
    for pair in found.pairs:
        table.add_row(" and ".join(pair.annotators), f"{pair.posts:,}", *(_number(pair.kappa[label]) for label in found.labels))
    return table


def _anchoring_table(found: "Anchoring") -> "Table":
    from rich.table import Table

    table = Table(
        title=f"Answers like the prediction, on {found.posts_shown:,} posts that showed it and {found.posts_blind:,} that did not",
        title_justify="left",
    )
    for name in ("label", "shown", "blind", "difference", "95 % interval"):
        table.add_column(name, justify="left" if name == "label" else "right")

    def add(name: str, row: "Followed") -> None:
        interval = f"{row.interval[0]:+.0%} to {row.interval[1]:+.0%}" if row.interval else "–"
        table.add_row(name, _share(row.shown), _share(row.blind), "–" if row.difference is None else f"{row.difference:+.0%}", interval)

    for label, row in found.labels.items():
        add(label, row)
    add("all labels", found.all_labels)
    return table


def main(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Exports of a labelling tool, signed posts.csv, or one file for each annotator.")
    ],
    batch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The batch, to see how often annotators followed the prediction.")
    ] = None,
    settled: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file of disagreements, with the column settled filled in.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = OUT,
    with_texts: Annotated[bool, typer.Option("--with-texts", help="Also write labelled.jsonl to train on; it holds texts.")] = False,
    config: Annotated[list[Path], typer.Option(help="As in train.py, for labels and columns.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare what several annotators said.

    The output is agreement.json (Cohen's kappa, Krippendorff's alpha, and with --batch how often annotators followed the prediction) and
    disagreements.csv (ids and labels that the annotators must settle). With --with-texts, it is also labelled.jsonl for train.py. Exit
    codes: 0 done; 2 usage or input error, nothing written; 130 stopped by Ctrl-C.
    """
    resolved = load_config(config, set_)
    with terminal.steps() as progress:
        progress("reading answers")
        from pipeline.review import agreement as measuring
        from pipeline.review.anchoring import measure_anchoring
        from pipeline.review.answers import read_answers
        from pipeline.review.batch import read_batch

        answers = read_answers(files, resolved.labels, resolved.data.columns)
        plan = read_batch(batch) if batch else {}
        if plan and not plan.keys() & answers.by_post.keys():
            raise InputError(f"--batch {batch}: none of its posts is in the answers; give the batch that the answers are about")
        of_settled = measuring.read_settled(settled, answers) if settled else {}
        progress("comparing answers")
        found = measuring.measure_agreement(answers)
        anchoring = measure_anchoring(answers, plan, resolved.labels.names) if plan else None
        disputed = measuring.disagreements(answers, plan, of_settled)
        tree = found.model_dump_json(indent=1) if anchoring is None else _joined(found, anchoring)
        measuring.write_disagreements(disputed, out / DISAGREEMENTS_FILE)
        measuring.write_whole(out / FINDINGS_FILE, f"{tree}\n".encode())
        if with_texts:
            measuring.write_whole(out / LABELLED_FILE, measuring.as_jsonl(measuring.labelled_posts(answers, of_settled)))
    for lacking in measuring.never_asked(answers, of_settled) if with_texts else []:
        print(f"data     {lacking}", file=sys.stderr)
    if as_json:
        print(tree)
        return
    console = terminal.output()
    console.print(
        _labels_table(found), *([_pairs_table(found)] if found.pairs else []), *([_anchoring_table(anchoring)] if anchoring else [])
    )
    for note in answers.notes:
        print(f"data     {note}")
    left = sum(not row["settled"] for row in disputed)
    print(f"settle   {left:,} of {len(disputed):,} disagreements are not settled: {out / DISAGREEMENTS_FILE}")
    if with_texts:
        print(f"next     python train.py --data {out / LABELLED_FILE}")


def _joined(found: "Agreement", anchoring: "Anchoring") -> str:
    import json

    return json.dumps({**found.model_dump(), "anchoring": anchoring.model_dump()}, indent=1)


if __name__ == "__main__":
    terminal.run(main)
