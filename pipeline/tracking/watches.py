"""Logs what watching found as a run, so that MLflow's UI shows nights side by side."""

from pathlib import Path

import mlflow

from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.runs import describe, log_folder, run, storing
from pipeline.tracking.store import connect
from pipeline.watching.results import Watched


def watch_metrics(found: Watched) -> dict[str, float]:
    """Return the numbers about all posts by the names under which MLflow's UI groups them.

    Parameters
    ----------
    found : Watched
    """
    every = found.groups[0]
    metrics = {"watch/posts": float(every.posts), "watch/repeats": every.repeats, "watch/alarms": float(len(found.alarms))}
    metrics |= {f"watch/mean_{name}": value for name, value in every.means.items()}
    for name, drift in every.drift.items():
        metrics |= {f"psi/{name.replace(' ', '_')}": drift.psi, f"js/{name.replace(' ', '_')}": drift.js}
    if every.two_sample:
        metrics["watch/auc"] = every.two_sample.auc
    for label, expected in every.expected.items():
        for name in ("share", "precision", "recall", "f1"):
            if (value := getattr(expected, name).value) is not None:
                metrics[f"expected_{name}/{label}"] = value
    return metrics


def log_watched(found: Watched, tracking: Tracking, folder: Path) -> None:
    """Log a run with the numbers about all posts, and the folder.

    Parameters
    ----------
    found : Watched
    tracking : Tracking
        The store and the experiment.
    folder : Path
        Holds ``watch.json`` and the page.

    Raises
    ------
    InputError
        If the store fails; the folder is written by then.
    """
    try:
        connect(tracking)
    except InputError as error:
        raise InputError(f"{folder} is written, but cannot be tracked: {error}") from None
    with run(f"watch {' + '.join(found.scores)}", folder), storing(folder):
        mlflow.log_metrics(watch_metrics(found))
        mlflow.log_params({f"watch.{name}": value for name, value in found.limits.items()} | {"reference": found.reference})
        mlflow.set_tag("alarm", str(bool(found.alarms)).lower())
        alarms = "\n".join(f"- {alarm}" for alarm in found.alarms) or "No limit is exceeded."
        describe(f"{found.groups[0].posts:,} posts, compared with {found.reference}.\n\n{alarms}", found.model)
        log_folder(folder, "watch")
