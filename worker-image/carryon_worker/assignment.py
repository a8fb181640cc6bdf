"""What a worker is to make: in the environment, or in the bucket where it is too large for that."""

from __future__ import annotations

import json

from pydantic import ValidationError

from carryon_core.compatibility import Incompatible, check_assignment
from carryon_core.messages import Assignment, AssignmentPointer
from carryon_store import open_store, records


class AssignmentError(ValueError):
    """There is no assignment that could be carried out."""


def read(text: str) -> Assignment:
    """The assignment in the environment's text, which may point to the bucket.

    Raises:
        AssignmentError: It can't be read, or is not the one that was meant.
        Incompatible: It is of a version that this worker does not carry out.
        StoreError: The bucket does not give it.
    """
    if not text:
        raise AssignmentError("CARRYON_ASSIGNMENT is not set: workers are started by the operator")
    try:
        given = json.loads(text)
        # Of a later release it may have another shape: then at least a version.
        if isinstance(given, dict) and not given.keys().isdisjoint({"units", "version"}):
            check_assignment(given)
            return Assignment.model_validate(given)
        pointer = AssignmentPointer.model_validate(given)
    except Incompatible:
        raise
    except ValueError as error:
        raise AssignmentError(f"CARRYON_ASSIGNMENT can't be read: {_brief(error)}") from None
    return records.get_assignment(open_store(pointer.store), pointer)


def _brief(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
