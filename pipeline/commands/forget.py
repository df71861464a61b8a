"""``disclosure forget``: remove posts from the output of a scoring job."""

import json
from typing import Annotated

import typer

from pipeline import terminal
from pipeline.errors import NoPostsError
from pipeline.stores import path_of


def main(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="Output folder of a complete job.")],
    ids: Annotated[str, typer.Option(metavar="FILE", help="Ids, one per line (.txt or -), or a table with a column of ids.")],
    id_column: Annotated[str, typer.Option(help="Column of the table with the ids.")] = "id",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Remove posts from scores, rejects, queues and counts, for example because their authors ask for it.

    Needs neither the posts nor the model. The manifest says how many rows were removed and on which day, but not which rows.
    After an interruption, the same command does the rest. The page "Forget posts" lists what else may hold the posts.
    """
    from pipeline.scoring.forgetting import forget, read_ids

    if not (given := read_ids(path_of(ids), id_column)):
        raise NoPostsError(f"{ids}: holds no ids; give a file with ids")
    done = forget(scores, given)
    if done.resumed:
        what = "an earlier call was interrupted; run it again with its ids, unless this one had them all"
        terminal.say(f"note     {terminal.one_line(scores)}: {what}")
    if as_json:
        print(json.dumps(vars(done)))
        return
    print(f"removed {done.posts:,} from the scores and {done.rejects:,} from the rejects")
    if done.unknown:
        earlier = ", unless the run that was interrupted removed them" if done.resumed else ""
        print(f"  ids that were not found: {done.unknown:,} of {done.ids:,}{earlier}")
    print(f"scores   {terminal.one_line(scores)}")
