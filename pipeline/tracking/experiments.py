"""Chooses the experiment that the config or MLflow's environment variables name, and checks a run that these variables name."""

import os

import mlflow
from mlflow.entities import Experiment

from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.errors import reason_of

DEFAULT_EXPERIMENT = "disclosure"
_KIND, _MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"  # which pages MLflow's UI shows first


def _of_environment() -> Experiment | None:
    """Return the experiment that MLFLOW_EXPERIMENT_ID names, if it is set."""
    if not (number := os.environ.get("MLFLOW_EXPERIMENT_ID")):
        return None
    try:
        found = mlflow.get_experiment(number)
    except Exception as error:  # stores raise whatever their drivers raise
        reason = reason_of(error)
        raise InputError(f"MLFLOW_EXPERIMENT_ID={number}: {reason}; correct it, or unset it and use --experiment NAME") from None
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name not in {None, "", found.name}:
        has = f"MLFLOW_EXPERIMENT_ID={number} names another experiment, {found.name!r}"
        raise InputError(f"MLFLOW_EXPERIMENT_NAME={name}: {has}; unset one of them, or use --experiment NAME")
    return found


def _check_continued(experiment: Experiment) -> None:
    """Check that the run that MLFLOW_RUN_ID names, if it is set, can take this run's results."""
    if not (run_id := os.environ.get("MLFLOW_RUN_ID")):
        return
    try:
        run = mlflow.get_run(run_id)
    except Exception as error:  # stores raise whatever their drivers raise
        raise InputError(f"MLFLOW_RUN_ID={run_id}: {reason_of(error)}; unset it to start a new run") from None
    reason = ""
    if run.info.lifecycle_stage != "active":
        reason = "that run was deleted"
    elif run.info.experiment_id != experiment.experiment_id:
        theirs = mlflow.get_experiment(run.info.experiment_id).name
        reason = f"that run is in the experiment {theirs!r}, but this one goes to {experiment.name!r} (--experiment {theirs})"
    elif run.data.params or run.data.metrics:
        reason = f"that run, {run.info.run_name!r}, already holds results, and a second training would be mixed up with them"
    if reason:
        raise InputError(f"MLFLOW_RUN_ID={run_id}: {reason}; unset it to start a new run")


def choose_experiment(tracking: Tracking) -> str:
    """Make an experiment the active one, create it if necessary, and return its id.

    It is the config's, or else the one that ``MLFLOW_EXPERIMENT_ID`` or ``MLFLOW_EXPERIMENT_NAME`` names, or else ``disclosure``.

    Parameters
    ----------
    tracking : Tracking
        May name the experiment.

    Raises
    ------
    InputError
        If the environment names an experiment or a run that cannot be used.
    """
    before = os.environ.get("MLFLOW_EXPERIMENT_ID")
    named = None if tracking.experiment else _of_environment()
    name = named.name if named else tracking.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
    # By id, because MLflow does not make an experiment active that another process creates at the same moment.
    found = mlflow.set_experiment(experiment_id=mlflow.set_experiment(name).experiment_id)
    # MLflow sets the variable for its subprocesses. Here it must keep the value that the user gave it.
    if before is None:
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    else:
        os.environ["MLFLOW_EXPERIMENT_ID"] = before
    if _KIND not in found.tags:
        mlflow.set_experiment_tag(_KIND, _MODEL_TRAINING)
    _check_continued(found)
    return str(found.experiment_id)


def experiment_of(run_id: str) -> str:
    """Return the name of a run's experiment."""
    return str(mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id).name)
