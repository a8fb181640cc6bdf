"""Tensors on their way into the host's memory: no step waits for them.

On a GPU a tensor is cloned at once, on its own stream, because what a denoiser returned may be overwritten by whoever
called it, or by its next call. The clone is then copied to pinned memory on a second stream, while the first goes on.
On a CPU the clone is all there is, and most of its cost is fresh memory: a page fault for every 4 KiB.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import torch

from carryon_worker.journal.segments import Blob, Bytes
from carryon_worker.journal.trees import DTYPES, kept_stride

_cuda: Final[Any] = torch.cuda
"""Its streams and events ship no types."""


class Spare:
    """Memory of copies that nobody needs any more, for those to come."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[torch.Tensor]] = defaultdict(list)

    def take(self, size: int) -> torch.Tensor:
        """So many bytes, with anything in them: shape (size,), uint8."""
        try:
            return self._free[size].pop()
        except IndexError:
            return torch.empty(size, dtype=torch.uint8)

    def give(self, memories: Iterable[torch.Tensor]) -> None:
        """Take back what `take` gave."""
        for memory in memories:
            self._free[memory.numel()].append(memory)


class Copies:
    """Copies of some tensors.

    Args:
        tensors: On the CPU or on one GPU; free to be changed as soon as this returns.
        spare: Where memory on the CPU comes from, and goes when these copies are forgotten.

    Raises:
        RuntimeError: There is no memory for them.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], spare: Spare | None = None) -> None:
        spare = spare or Spare()
        memories: list[torch.Tensor] = []
        clones = [_clone(tensor.detach(), spare, memories) for tensor in tensors]
        weakref.finalize(self, spare.give, memories).atexit = False
        self._arrived: Any = None
        device = next((clone.device for clone in clones if clone.is_cuda), None)
        self.tensors = clones if device is None else self._fetch(clones, device)
        self.size = sum(clone.nbytes for clone in clones)

    def ready(self) -> bool:
        """Whether they have arrived; never waits."""
        return self._arrived is None or bool(self._arrived.query())

    def blobs(self) -> list[Blob]:
        """Their bytes, in order of memory, for as long as these copies live; only once they are ready."""
        return [Blob(DTYPES[each.dtype], tuple(each.shape), _bytes(each)) for each in self.tensors]

    def _fetch(self, clones: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        side = _side_stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        fetched = []
        with torch.cuda.stream(side):
            for clone in clones:
                pinned = torch.empty(clone.shape, dtype=clone.dtype, pin_memory=clone.is_cuda)
                pinned.copy_(clone, non_blocking=True)
                if clone.is_cuda:
                    # Its memory is not given away before the copy is through.
                    clone.record_stream(side)
                fetched.append(pinned)
            self._arrived = _cuda.Event()
            self._arrived.record(side)
        return fetched


def restore(blob: Blob, stride: Sequence[int], device: torch.device) -> torch.Tensor:
    """A new tensor with a blob's elements.

    Args:
        blob: The elements, in order of memory.
        stride: Of the tensor that was kept, by which the dimensions are put back in their order.
        device: Where it is to be.
    """
    dtype = next(dtype for dtype, name in DTYPES.items() if name == blob.dtype)
    order = _order(stride)
    shape = [0] * len(order)
    for position, dimension in enumerate(order):
        shape[dimension] = blob.shape[position]
    stored = torch.empty(blob.shape, dtype=dtype)
    if blob.data:
        stored = torch.frombuffer(bytearray(blob.data), dtype=dtype).reshape(blob.shape)
    made = torch.empty_strided(shape, tuple(stride), dtype=dtype, device=device)
    made.permute(order).copy_(stored)
    return made


def _order(stride: Sequence[int]) -> list[int]:
    """Dimensions from the outermost in memory to the innermost."""
    return sorted(range(len(stride)), key=lambda dimension: -stride[dimension])


def _clone(tensor: torch.Tensor, spare: Spare, memories: list[torch.Tensor]) -> torch.Tensor:
    """A copy without gaps, its dimensions in the order in which they lie in memory."""
    ordered = tensor.permute(_order(kept_stride(tensor)))
    if tensor.is_cuda:
        return torch.empty(ordered.shape, dtype=tensor.dtype, device=tensor.device).copy_(ordered)
    memories.append(spare.take(tensor.nbytes))
    return memories[-1].view(tensor.dtype).view(ordered.shape).copy_(ordered)


def _bytes(tensor: torch.Tensor) -> Bytes:
    octets: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(octets) if tensor.numel() else b""


@cache
def _side_stream(device: torch.device) -> Any:
    return _cuda.Stream(device)
