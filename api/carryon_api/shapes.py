"""The base of what goes over the wire: camelCase there, snake_case here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Shape(BaseModel):
    """Something in a request or an answer."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Asked(Shape):
    """Something in a request: what nobody knows is refused, for a misspelt wish would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")
