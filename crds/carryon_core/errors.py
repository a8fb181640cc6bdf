"""What can be wrong with a job that schema and CEL could not see."""

from __future__ import annotations


class SpecError(ValueError):
    """A job that can't be carried out as written: a sentence for its author that says what to change.

    Attributes:
        reason: CamelCase reason of the condition `Accepted=False`, such as `InvalidTemplate`.
        message: One sentence that names the field and the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
