"""A classifier to its directory and back."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.config import ModelConfig
from models.errors import InputError
from models.fitting import Scorers, new_calibrator, new_features, new_linear, new_network
from models.storage import read_model, write_model

if TYPE_CHECKING:
    from models.classifier import Classifier

_NETWORK = ("vectors", "filters", "hidden", "coef", "intercept")
_CALIBRATION = "calibration."


def save(model: "Classifier", folder: Path, notes: dict[str, Any] | None = None) -> str:
    """Write a model directory and return its digest: see `Classifier.save`."""
    scorers, config = model.scorers_, model.config.model_dump(mode="json")
    if model.config.model.network:  # not where they lie: a folder may tell who made the model
        config["model"]["network"]["lessons"] = Path(model.config.model.network.lessons).name
    model.description_ = {
        "config": config,
        "thresholds": dict(zip(model.labels, model.thresholds_.tolist(), strict=True)),
        "prior": dict(zip(model.labels, model.prior_.tolist(), strict=True)),
        **(notes or {}),
    }
    arrays: dict[str, NDArray[Any]] = {"idf": scorers.features.idf_, "coef": scorers.linear.coef_, "intercept": scorers.linear.intercept_}
    if scorers.network:
        arrays |= {f"network.{name}": getattr(scorers.network, f"{name}_") for name in _NETWORK}
    arrays |= {f"{_CALIBRATION}{name}": array for name, array in model.calibrator_.arrays().items()}
    vocabulary = {"words": scorers.features.words_, "characters": scorers.features.characters_}
    model.digest_ = write_model(folder, model.description_, arrays, vocabulary)
    return model.digest_


def load(kind: "type[Classifier]", folder: Path) -> "Classifier":
    """Read a model directory: see `Classifier.load`."""
    digest, description, arrays, vocabulary = read_model(folder)
    try:
        model = kind.from_config(ModelConfig.model_validate(description["config"]))
        model.thresholds_ = np.array([description["thresholds"][name] for name in model.labels])
        model.prior_ = np.array([description["prior"][name] for name in model.labels])
        _restore(model, arrays, vocabulary)
    except (KeyError, ValidationError):
        raise InputError(f"{folder}: written by another release of the pipeline; train again with this one") from None
    model.digest_, model.description_ = digest, description
    return model


def _restore(model: "Classifier", arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]) -> None:
    """Set what is fitted, less thresholds and priors, as `save` wrote it."""
    config = model.config
    features = new_features(config).restore(vocabulary["words"], vocabulary["characters"], arrays["idf"])
    linear = new_linear(config)
    linear.coef_, linear.intercept_ = arrays["coef"], arrays["intercept"]
    if network := new_network(config):
        network.restore(*(arrays[f"network.{name}"] for name in _NETWORK))
    model.scorers_ = Scorers(features, linear, network)
    stored = {name.removeprefix(_CALIBRATION): array for name, array in arrays.items() if name.startswith(_CALIBRATION)}
    model.calibrator_ = new_calibrator(config).restore(stored)


def to_state(model: "Classifier") -> dict[str, Any]:
    """What is pickled: parameters and, once fitted, the files of the model directory. Nothing in it runs code."""
    state: dict[str, Any] = {"params": model.get_params()}
    if model.__sklearn_is_fitted__():
        known = {"config", "thresholds", "prior", "files", "format_version"}
        notes = {name: value for name, value in getattr(model, "description_", {}).items() if name not in known}
        with TemporaryDirectory() as folder:
            save(model, Path(folder), notes)
            state["files"] = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return state


def from_state(model: "Classifier", state: dict[str, Any]) -> None:
    """Set a classifier to what `to_state` gave."""
    model.set_params(**state["params"])
    if "files" in state:
        with TemporaryDirectory() as folder:
            for name, content in state["files"].items():
                (Path(folder) / name).write_bytes(content)
            model.__dict__.update(vars(load(type(model), Path(folder))) | state["params"])
