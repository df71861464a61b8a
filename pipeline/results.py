"""What results are made of: frozen trees of numbers that read and write JSON."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

Interval = tuple[float, float]  # lower and upper end


class Result(BaseModel):
    """A part of a result; an unknown field is an error.

    Attributes
    ----------
    absent : frozenset of str
        Fields that are left out of JSON, not null, where they are None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    absent: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        return {name: value for name, value in tree.items() if value is not None or name not in self.absent}
