"""The one signal that a journal does not fit the pipeline that is answered from it."""

from __future__ import annotations


class Diverged(BaseException):
    """The pipeline does not do again what it did when its journal was written: the sentence says where.

    No `Exception`, so that a pipeline which catches those does not go on with what it can't have.
    """
