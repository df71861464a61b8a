"""The base class of results: immutable trees of numbers that can be read from and written to JSON."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

Interval = tuple[float, float]  # lower and upper end


class Result(BaseModel):
    """Part of a result; unknown fields are errors.

    Attributes
    ----------
    absent : frozenset of str
        Fields that are omitted from JSON when they are None, and not written as null.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    absent: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        return {name: value for name, value in tree.items() if value is not None or name not in self.absent}
