"""Finds the champion that a model has to beat to be promoted, and replaces it."""

from collections.abc import Callable
from dataclasses import dataclass

from models import Classifier
from models.errors import InputError
from pipeline.config import Tracking
from pipeline.evaluation.results import Gate
from pipeline.model_location import load_model


@dataclass(frozen=True)
class Contest:
    """The version of a registered model that is evaluated, and the champion it has to beat, if there is one.

    Attributes
    ----------
    name : str
        Name of the registered model.
    challenger : str
        Version of the model that is evaluated.
    holder : str or None
        Version that is the champion, if any.
    champion : Classifier or None
        The champion itself.
    """

    name: str
    challenger: str
    holder: str | None
    champion: Classifier | None


def check_comparable(model: Classifier, other: Classifier) -> None:
    """Check that two models have the same labels in the same order.

    Parameters
    ----------
    model : Classifier
        The model that is evaluated.
    other : Classifier
        The model to compare it with.

    Raises
    ------
    InputError
        If their labels differ.
    """
    if other.labels != model.labels:
        has, others = ", ".join(model.labels), ", ".join(other.labels)
        raise InputError(f"the model has the labels {has}, but the other model has {others}; both need the same labels in the same order")


def open_contest(name: str, model: Classifier, tracked: Tracking) -> Contest:
    """Find the model's version in the registry, and the champion.

    Parameters
    ----------
    name : str
        Name of the registered model.
    model : Classifier
        One of its versions.
    tracked : Tracking
        Names the MLflow store, which must be connected already.

    Raises
    ------
    InputError
        If the model is not a version of `name`, is the champion already, or does not have the champion's labels.
    """
    from pipeline import tracking

    version, holder = tracking.find_version(name, model.digest_), tracking.find_champion(name)
    if holder is None:
        return Contest(name, version, None, None)
    champion = load_model(f"models:/{name}/{holder}", tracked)
    if champion.digest_ == model.digest_:
        raise InputError(f"--promote {name}: this model is version {holder}, which is the champion already; evaluate another model")
    check_comparable(model, champion)
    return Contest(name, version, holder, champion)


def _attempted(gate: str, attempt: Callable[[], None], found: str) -> Gate:
    try:
        attempt()
    except InputError as error:
        return Gate(gate=gate, passed=False, found=str(error))
    return Gate(gate=gate, passed=True, found=found)


def same_champion(contest: Contest) -> Gate:
    """Check that the champion is still the version that the model was compared with."""
    from pipeline import tracking

    found = f"version {contest.holder}" if contest.holder else "none"
    return _attempted("the champion is still the same", lambda: tracking.check_champion(contest.name, contest.holder), found)


def make_champion(contest: Contest, run_id: str | None) -> Gate:
    """Make the challenger the champion.

    Parameters
    ----------
    contest : Contest
    run_id : str or None
        Run to tag. If there is no run yet, it is None; then nothing is done, and the gate fails.
    """
    from pipeline import tracking

    gate, version = "made champion", contest.challenger
    if run_id is None:
        return Gate(gate=gate, passed=False, found="not yet: tracking in MLflow has not finished")
    return _attempted(gate, lambda: tracking.set_champion(contest.name, version, run_id, contest.holder), f"version {version}")
