"""Why a unit could not be made: what a generator raises, and what any other exception amounts to."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from enum import StrEnum
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


class Shortage(StrEnum):
    """Whose memory did not suffice."""

    GPU = "GPU"
    HOST = "host"


_GPU: Final = re.compile(
    r"\b(CUDA|HIP)\b.{0,20}\bout of memory|\bCU[A-Z]+_(STATUS_)?ALLOC_FAILED|DEVICE_ALLOCATION_FAILED"
    r"|cudaErrorMemoryAllocation"
)
"""What torch, cuBLAS, cuDNN and their kind say, in plain RuntimeErrors too."""
_HOST: Final = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory")


def shortage(error: BaseException) -> Shortage | None:
    """Whose memory did not suffice, if that is what an exception, or one that led to it, is about."""
    for each in _chain(error):
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno == errno.ENOMEM):
            return Shortage.HOST
        # Texts of other kinds may be anybody's: a prompt, for example.
        if isinstance(each, RuntimeError | OSError) or type(each).__name__ == "SafetensorError":
            if _GPU.search(str(each)):
                return Shortage.GPU
            if _HOST.search(str(each)):
                return Shortage.HOST
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(each, torch.OutOfMemoryError):
            return Shortage.GPU
    return None


def of(error: Exception) -> UnitFailure:
    """The failure that an exception amounts to.

    torch is asked only where a generator has imported it already. An error of the CUDA context (not of its memory)
    stays with the process, so the worker ends rather than fail every unit that follows.
    """
    if isinstance(error, UnitFailure):
        return error
    last = traceback.format_exception_only(error)[-1].strip()
    match shortage(error):
        case Shortage.HOST:
            return OutOfMemory("the worker ran out of memory: give the stage more with resources.limits.memory")
        case Shortage.GPU:
            return OutOfMemory(f"the GPU ran out of memory: {last}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, getattr(torch, "AcceleratorError", ())):
        return UnitFailure("DeviceError", last, ends_worker=True)
    return UnitFailure("GeneratorFailed", last)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
