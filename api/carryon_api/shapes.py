"""The base of what goes over the wire: camelCase there, snake_case here."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

Absent: TypeAlias = SkipJsonSchema[None]
"""What may be left out of a request."""


def whole(value: Any) -> Any:
    """A whole number as JSON has it: 7.0 is one too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Shape(BaseModel):
    """Something in a request or an answer."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Asked(Shape):
    """Something in a request: what nobody knows is refused, for a misspelt wish would be ignored in silence.

    Values keep their types, so that 0 is not taken for false; and what is not wanted is left out, not null.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, each in value.items():
                if each is None:
                    raise ValueError(f"{name} is null: leave it out")
        return value
