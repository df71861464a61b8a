"""scikit-learn's conventions for estimators, without importing scikit-learn, so that scoring starts faster."""

import inspect
from typing import Any, Self


class Estimator:
    """Get and set parameters by name, as scikit-learn's `clone`, `GridSearchCV` and `Pipeline` require.

    A subclass's ``__init__`` must only store its parameters unchanged, under their own names.
    """

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Return the names and defaults of the parameters."""
        return {name: each.default for name, each in inspect.signature(cls.__init__).parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  # scikit-learn's signature
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool
            Has no effect, because no parameter has parameters of its own.
        """
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; they take effect at the next `fit`.

        Parameters
        ----------
        **params
            New values by name.

        Raises
        ------
        ValueError
            When there is no parameter of that name.
        """
        known = self._parameters()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name!r} is not a parameter of {type(self).__name__}; its parameters are {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._parameters()
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        raise NotImplementedError

    def check_is_fitted(self) -> None:
        """Raise scikit-learn's `NotFittedError` before `fit`."""
        if not self.__sklearn_is_fitted__():
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=True, single_output=False),
            classifier_tags=ClassifierTags(multi_class=False, multi_label=True),
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )
