"""scikit-learn's conventions for estimators, without importing scikit-learn: scoring starts sooner."""

import inspect
from typing import Any, Self


class Estimator:
    """Parameters by name, as scikit-learn's `clone`, `GridSearchCV` and `Pipeline` ask for them.

    A subclass's ``__init__`` stores its parameters as they are, under their names, and does nothing else.
    """

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Names and defaults of the parameters."""
        return {name: each.default for name, each in inspect.signature(cls.__init__).parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  # scikit-learn's signature
        """Parameters by name.

        Parameters
        ----------
        deep : bool
            Makes no difference: no parameter has parameters of its own.
        """
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Parameters
        ----------
        **params
            Values by name.

        Raises
        ------
        ValueError
            For a name that is no parameter.
        """
        known = self._parameters()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name!r} is not a parameter of {type(self).__name__}; its parameters are {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._parameters()
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name]]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=True, single_output=False),
            classifier_tags=ClassifierTags(multi_class=False, multi_label=True),
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )
