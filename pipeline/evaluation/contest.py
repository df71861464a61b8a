"""A model that wants to be champion, and the champion that it has to beat."""

from dataclasses import dataclass

from models import Classifier
from models.errors import InputError
from pipeline.config import Tracking
from pipeline.model_location import load_model


@dataclass(frozen=True)
class Contest:
    """Versions of a registered model: the one that is evaluated, and the champion that it has to beat, if there is one.

    Attributes
    ----------
    name : str
        Of the registered model.
    challenger : str
        Version of the model that is evaluated.
    holder : str or None
        Version that is champion.
    champion : Classifier or None
        The model of that version.
    """

    name: str
    challenger: str
    holder: str | None
    champion: Classifier | None


def check_comparable(model: Classifier, other: Classifier) -> None:
    """Fail if two models have different labels.

    Raises
    ------
    InputError
    """
    if other.labels != model.labels:
        has, others = ", ".join(model.labels), ", ".join(other.labels)
        raise InputError(f"the model has the labels {has}; the one to compare with has {others}: compare models of one label set")


def open_contest(name: str, model: Classifier, tracked: Tracking) -> Contest:
    """Find the versions of a registered model that a promotion is about.

    Parameters
    ----------
    name : str
        Of the registered model.
    model : Classifier
        One of its versions.
    tracked : Tracking
        Names the store, which is connected to already.

    Raises
    ------
    InputError
        When the model is no version of it, is champion already, or has other labels than the champion.
    """
    from pipeline import tracking

    version, holder = tracking.find_version(name, model.digest_), tracking.find_champion(name)
    if holder is None:
        return Contest(name, version, None, None)
    champion = load_model(f"models:/{name}/{holder}", tracked)
    if champion.digest_ == model.digest_:
        raise InputError(f"--promote {name}: version {holder}, this model, is the champion already")
    check_comparable(model, champion)
    return Contest(name, version, holder, champion)
