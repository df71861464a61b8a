"""The classifier: it turns posts into one calibrated probability per label, and is stored as a directory."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.classifier import Classifier
else:

    def __getattr__(name: str) -> Any:
        """Import the classifier only when it is used, so that errors and configs load without the numeric packages."""
        if name != "Classifier":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from models.classifier import Classifier

        return Classifier


__all__ = ["Classifier"]
