"""Tracks runs, metrics, data sets and models in MLflow. Only this package imports MLflow, and no text of a post is logged."""

import os

# MLflow reads these when it is imported or used; values that are already set are kept. They keep MLflow quiet, and make it
# give up within seconds, not minutes, if a store does not answer.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
# MLflow's server, and so its UI, would start eight processes for judging language models, which take more than a gigabyte.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

from pipeline.tracking.experiments import experiment_of
from pipeline.tracking.registry import CHAMPION, check_champion, find_champion, find_version, model_to_serve, register_version, set_champion
from pipeline.tracking.runs import (
    describe,
    link_model,
    log_config,
    log_corpus,
    log_file,
    log_folder,
    log_metrics,
    metric_names,
    run,
    storing,
)
from pipeline.tracking.served import fetch_model, find_fingerprints, find_model, log_model
from pipeline.tracking.store import DEFAULT_URI, check_name, connect, open_store, store_uri
from pipeline.tracking.sweeps import SweepRun

__all__ = [
    "CHAMPION",
    "DEFAULT_URI",
    "SweepRun",
    "check_champion",
    "check_name",
    "connect",
    "describe",
    "experiment_of",
    "fetch_model",
    "find_champion",
    "find_fingerprints",
    "find_model",
    "find_version",
    "link_model",
    "log_config",
    "log_corpus",
    "log_file",
    "log_folder",
    "log_metrics",
    "log_model",
    "metric_names",
    "model_to_serve",
    "open_store",
    "register_version",
    "run",
    "set_champion",
    "store_uri",
    "storing",
]
