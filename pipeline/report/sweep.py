"""Shows the progress of a sweep and the table of its trials on a terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from pipeline.sweep.trials import TRIAL_METRICS, Trial, ranked


def trials_table(trials: Sequence[Trial], metric: str, rows: int = 10) -> Table:
    """Make a table of the best trials and the values they tried.

    Parameters
    ----------
    trials : sequence of Trial
        All trials of a sweep.
    metric : str
        The sweep's metric, which is the first column.
    rows : int
        Number of trials to show.
    """
    names = list(dict.fromkeys((metric, *TRIAL_METRICS[:2])))
    table = Table(title=f"Best of {len(trials)} trials, on author-disjoint folds of train", title_justify="left")
    for heading in ("trial", *(name.replace("_", " ") for name in names), "seconds"):
        table.add_column(heading, justify="right")
    for key in trials[0].values:
        table.add_column(key)
    for trial in ranked(trials)[:rows]:
        numbers = (f"{trial.metrics[name]:.4f}" for name in names)
        values = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial.values.values())
        table.add_row(str(trial.number), *numbers, f"{trial.seconds:.1f}", *values)
    return table


@contextmanager
def trial_progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[Trial], None]]]:
    """Show the progress of a sweep on standard error: a bar on a terminal, a line per step and trial in a log.

    Yields two functions: one to call with each step, and one to call with each trial that has ended.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console, trials = Console(stderr=True), list[Trial]()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total)

        def progress(step: str) -> None:
            bar.update(task, description=step)
            if bar.disable:
                print(step, file=sys.stderr, flush=True)

        def ended(trial: Trial) -> None:
            trials.append(trial)
            bar.advance(task)
            outcome = f"failed: {trial.reason}" if trial.value is None else f"{trial.value:.4f}"
            best = next((f"best {best.value:.4f} (trial {best.number})" for best in ranked(trials)), "none fitted yet")
            progress(f"trial {trial.number}: {outcome}, {best}")

        yield progress, ended
