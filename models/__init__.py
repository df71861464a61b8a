"""Estimators: tokenised posts in, one calibrated probability per label out; and their directory on disk."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.classifier import Classifier
else:

    def __getattr__(name: str) -> Any:
        """Give the classifier when it is asked for: errors and configs come without what computes."""
        if name != "Classifier":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from models.classifier import Classifier

        return Classifier


__all__ = ["Classifier"]
