"""``disclosure compact``: write the scores of a job as a table of a few large files."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline import terminal


def main(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="Output folder of a complete job, in Parquet.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder to write to, here or in an object store; missing or empty.")],
    partition_by: Annotated[list[str], typer.Option(metavar="COLUMN", help="Make folders COLUMN=VALUE by this column. Repeatable.")] = [],  # noqa: B006
    rows_per_file: Annotated[int, typer.Option(min=1, help="Maximum number of rows of a file.")] = 5_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the table holds as JSON.")] = False,
) -> None:
    """Write the many parts of a job as a few large Parquet files, for programs that read tables; --partition-by makes folders.

    The scores are not changed. The folder is complete once it holds _SUCCESS; after an interruption, the same command begins again.
    """
    from pipeline.scoring.compaction import compact

    table = compact(scores, out, partition_by, rows_per_file)
    if as_json:
        print(json.dumps(asdict(table)))
        return
    print(f"wrote {table.rows:,} rows in {len(table.files):,} files")
    print(f"table    {terminal.one_line(out)}")
