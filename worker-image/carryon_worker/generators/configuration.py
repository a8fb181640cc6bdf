"""Reads a generator's configuration: the operator has checked it, but templates may have made anything of it since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from carryon_worker.failures import BadRequest

Kind = TypeVar("Kind", bound=BaseModel)


def parse(kind: type[Kind], name: str, config: Mapping[str, Any]) -> Kind:
    """A configuration as its type.

    Args:
        kind: Its type.
        name: Where it stands, for the message: diffusers, for example.
        config: What is given.

    Raises:
        BadRequest: A field is wrong; the first of them is named.
    """
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadRequest(f"{name}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
