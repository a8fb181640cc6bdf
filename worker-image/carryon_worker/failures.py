"""Why a unit could not be made: what a generator raises, and what any other exception amounts to."""

from __future__ import annotations

import sys
import traceback
from typing import Final

BAD_REQUEST: Final = "BadRequest"
OUT_OF_MEMORY: Final = "OutOfMemory"


class UnitFailure(Exception):
    """A unit that ended without artifacts.

    Attributes:
        reason: CamelCase, for machines and tables.
        message: A sentence for people: what happened, to what, what to do next.
        permanent: Another attempt would end the same.
        ends_worker: This process can't be trusted with further units.
    """

    def __init__(self, reason: str, message: str, *, permanent: bool = False, ends_worker: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.permanent = permanent
        self.ends_worker = ends_worker


class BadRequest(UnitFailure):
    """What was asked for can't work, however often it is tried."""

    def __init__(self, message: str) -> None:
        super().__init__(BAD_REQUEST, message, permanent=True)


class OutOfMemory(UnitFailure):
    """Host or GPU memory did not suffice; what is left of it is in no state to go on with."""

    def __init__(self, message: str) -> None:
        super().__init__(OUT_OF_MEMORY, message, ends_worker=True)


def of(error: Exception) -> UnitFailure:
    """The failure that an exception amounts to.

    torch is asked only where a generator has imported it already. An error of the CUDA context (not of its memory)
    stays with the process, so the worker ends rather than fail every unit that follows.
    """
    if isinstance(error, UnitFailure):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("the worker ran out of memory: give the stage more with resources.limits.memory")
    last = traceback.format_exception_only(error)[-1].strip()
    if torch := sys.modules.get("torch"):
        if isinstance(error, torch.OutOfMemoryError):
            return OutOfMemory(f"the GPU ran out of memory: {last}")
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            return UnitFailure("DeviceError", last, ends_worker=True)
    return UnitFailure("GeneratorFailed", last)
