"""Building blocks of the resource's types: a strict base model, and CEL rules that travel with a field into the CRD."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Schema = dict[str, Any]


class Model(BaseModel):
    """A part of the resource: camelCase on the wire, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Loose(BaseModel):
    """A message that a newer writer may have given more fields: what is unknown is ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


def or_else(kind: type[StrEnum], instead: StrEnum | None) -> BeforeValidator:
    """Reads a word that only a newer writer knows as another one, so that the rest of its message is understood."""

    def known(value: Any) -> Any:
        return instead if isinstance(value, str) and value not in set(kind) else value

    return BeforeValidator(known)


def rule(cel: str, message: str, *, field: str | None = None) -> Schema:
    """A CEL rule of the CRD: what must hold, and the sentence for whoever broke it."""
    made: Schema = {"rule": cel, "message": message}
    if field is not None:
        made["fieldPath"] = field
    return made


def rules(*made: Schema, **extra: Any) -> Schema:
    """Schema additions that carry CEL rules, for `json_schema_extra`."""
    return {"x-kubernetes-validations": list(made), **extra}


def text(longest: int, *made: Schema, shortest: int = 1, **extra: Any) -> Any:
    """Field of bounded text; CEL refuses schemas whose cost it cannot bound."""
    return Field(min_length=shortest, max_length=longest, json_schema_extra=rules(*made, **extra) if made else extra)


Short = Annotated[str, text(253, shortest=0)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]

PreservedObject = Annotated[
    dict[str, Any],
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-map-type": "atomic"}),
]
"""An object taken as it is: not pruned, not merged field by field."""
