"""The thresholds of a fitted classifier."""

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import Float64s
from models.calibration import BALANCED
from models.errors import InputError

if TYPE_CHECKING:
    from models.deciding import Deciding

_NAME = "thresholds_"


class FittedThresholds:
    """The attribute ``thresholds_``, one number per label.

    A model with other thresholds is a different model. So when they are set, the model forgets the files that it was saved to or loaded
    from, because these would otherwise be pickled in its place. It also forgets what the operating point ``balanced`` costs. The array
    cannot be changed in place, because the model would not notice.
    """

    @overload
    def __get__(self, model: None, owner: Any) -> "FittedThresholds": ...
    @overload
    def __get__(self, model: "Deciding", owner: Any) -> Float64s: ...
    def __get__(self, model: "Deciding | None", owner: Any) -> "FittedThresholds | Float64s":
        if model is None:
            return self
        try:
            found: Float64s = vars(model)[_NAME]
        except KeyError:
            raise AttributeError(f"{type(model).__name__} has no {_NAME} before fit") from None
        return found

    def __set__(self, model: "Deciding", thresholds: ArrayLike) -> None:
        labels = len(model.prior_)
        try:
            found = np.array(thresholds, np.float64)
        except (TypeError, ValueError):  # a mapping, or lists of several lengths
            found = np.empty(0)
        if found.shape not in ((), (labels,)) or not np.isfinite(found).all():
            raise InputError(f"{_NAME} must be one number for each of the {labels} labels, or one for all, but got {thresholds!r}")
        found = np.resize(found, labels)
        found.flags.writeable = False
        for name in ("digest_", "description_"):
            vars(model).pop(name, None)
        model.measured_points_ = {name: point for name, point in model.measured_points_.items() if name != BALANCED}
        vars(model)[_NAME] = found
