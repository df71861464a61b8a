"""Save a classifier as a directory, and load it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.config import ModelConfig
from models.description import Description
from models.errors import InputError
from models.fitted_arrays import UnfitError, check_fitted
from models.fitting import Scorers, new_calibrator, new_features, new_linear, new_network
from models.spacy_packages import check_pipeline
from models.storage import encode_model, read_model, write_model

if TYPE_CHECKING:
    from models.classifier import Classifier

_NETWORK = ("vectors", "filters", "hidden", "coef", "intercept")
_CALIBRATION = "calibration."
# What ``model.json`` holds besides the notes.
_OWN = ("config", "normaliser", "thresholds", "operating_points", "prior", "reference", "files", "format_version", "digest")


def _parts(model: "Classifier") -> tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Return what `encode_model` takes."""
    model.check_is_fitted()
    scorers, config = model.scorers_, model.config.model_dump(mode="json")
    if model.config.model.network:  # store only the file's name, because its folder may reveal who made the model
        config["model"]["network"]["lessons"] = Path(model.config.model.network.lessons).name
    description = {
        "config": config,
        "normaliser": model.normaliser_,
        "thresholds": dict(zip(model.labels, model.thresholds_.tolist(), strict=True)),
        "prior": dict(zip(model.labels, model.prior_.tolist(), strict=True)),
    }
    if model.measured_points_:
        description["operating_points"] = {name: point.model_dump(mode="json") for name, point in model.measured_points_.items()}
    if model.reference_:
        description["reference"] = model.reference_.model_dump(mode="json")
    arrays: dict[str, NDArray[Any]] = {"idf": scorers.features.idf_, "coef": scorers.linear.coef_, "intercept": scorers.linear.intercept_}
    if scorers.features.authors_ is not None:
        arrays["authors"] = scorers.features.authors_
    if scorers.network:
        arrays |= {f"network.{name}": getattr(scorers.network, f"{name}_") for name in _NETWORK}
    arrays |= {f"{_CALIBRATION}{name}": array for name, array in model.calibrator_.arrays().items()}
    return description, arrays, {"words": scorers.features.words_, "characters": scorers.features.characters_}


def encode(model: "Classifier") -> tuple[str, dict[str, bytes]]:
    """Return the digest and the files of a fitted model; saving or loading it does not change them."""
    description, arrays, vocabulary = _parts(model)
    written = getattr(model, "description_", description)
    return encode_model({name: value for name, value in written.items() if name not in ("files", "format_version")}, arrays, vocabulary)


def save(model: "Classifier", folder: Path, notes: dict[str, Any] | None = None) -> str:
    """Write a model directory and return its digest; see `Classifier.save`.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    folder : Path
        Folder to write to; an earlier model in it is replaced.
    notes : dict, optional
        Facts to store in ``model.json``.

    Raises
    ------
    InputError
        When a note has the name of one of the model's own keys, or the folder cannot be written.
    """
    description, arrays, vocabulary = _parts(model)
    if taken := [name for name in notes or {} if name in _OWN]:
        raise InputError(f"notes: {taken[0]!r} is a key of the model itself, as are {', '.join(_OWN)}; choose another name")
    description |= notes or {}
    model.digest_, model.description_ = write_model(folder, description, arrays, vocabulary), description
    return model.digest_


def load(kind: "type[Classifier]", folder: Path) -> "Classifier":
    """Read a model directory; see `Classifier.load`.

    Parameters
    ----------
    kind : type
        `Classifier` or a subclass of it; an instance of this class is returned.
    folder : Path
        A model directory.

    Raises
    ------
    InputError
        When it is missing, damaged or altered, its parts do not fit together, or it needs a spaCy pipeline that may not be loaded.
    """
    digest, description, arrays, vocabulary = read_model(folder)
    try:
        config = ModelConfig.model_validate(description["config"])
        check_pipeline(config.text.spacy_pipeline)
        check_fitted(config, arrays, vocabulary)
        model = kind.from_config(config)
        model._config = config
        described = Description.model_validate(description)
        model.normaliser_ = described.normaliser
        model.prior_, model.thresholds_ = (np.array([by[name] for name in model.labels]) for by in (described.prior, described.thresholds))
        model.measured_points_, model.reference_ = described.operating_points, described.reference
        _restore(model, arrays, vocabulary)
    except UnfitError as error:
        said = f"was written by another release of the pipeline, or altered ({error})"
        raise InputError(f"{folder}: {said}; train the model again with this release") from None
    except (KeyError, ValidationError):
        raise InputError(f"{folder}: was written by another release of the pipeline; train the model again with this release") from None
    model.digest_, model.description_ = digest, description
    return model


def _restore(model: "Classifier", arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]) -> None:
    """Set the fitted state that `save` wrote, except thresholds and priors."""
    config = model.config
    features = new_features(config).restore(vocabulary["words"], vocabulary["characters"], arrays["idf"], arrays.get("authors"))
    linear = new_linear(config)
    linear.coef_, linear.intercept_ = arrays["coef"], arrays["intercept"]
    if network := new_network(config):
        network.restore(*(arrays[f"network.{name}"] for name in _NETWORK))
    model.scorers_ = Scorers(features, linear, network)
    stored = {name.removeprefix(_CALIBRATION): array for name, array in arrays.items() if name.startswith(_CALIBRATION)}
    model.calibrator_ = new_calibrator(config).restore(stored)


def to_state(model: "Classifier") -> dict[str, Any]:
    """Return what is pickled: the parameters and, once fitted, the files of the model directory. None of this runs code."""
    state: dict[str, Any] = {"params": model.get_params()}
    if model.__sklearn_is_fitted__():
        state["files"] = encode(model)[1]
    return state


def from_state(model: "Classifier", state: dict[str, Any]) -> None:
    """Restore a classifier from what `to_state` returned.

    Parameters
    ----------
    model : Classifier
        The classifier to set.
    state : dict
        The result of `to_state`.
    """
    model.set_params(**state["params"])
    if "files" in state:
        with TemporaryDirectory() as folder:
            for name, content in state["files"].items():
                (Path(folder) / name).write_bytes(content)
            model.__dict__.update(vars(load(type(model), Path(folder))) | state["params"])
