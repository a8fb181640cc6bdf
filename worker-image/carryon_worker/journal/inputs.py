"""What a denoiser is called with, as texts that two calls have in common only if every bit is the same.

Tensors are summed up where they are, so that no call waits for a GPU; the sums arrive in memory with the outputs. A
journal stays with its device, so the sums of a GPU and of a CPU need not be of one kind: torch has no hash for the one,
and for the other XXH3 reads memory as fast as it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import torch
import xxhash

_MULTIPLIER: Final = -7046029254386353131
"""2^64 divided by the golden ratio, as a signed number (Knuth, The Art of Computer Programming, 6.4)."""
_MIXER: Final = -4417276706812531889
"""A prime of xxHash (https://github.com/Cyan4973/xxHash, PRIME64_2), as a signed number."""
_PIECE: Final = 2**22
"""Words summed up at once: 32 MiB, which bounds the memory for what is in between."""
_WORD: Final = 8
_KNOWN: Final = (bool, int, float, str, torch.Tensor, torch.dtype, torch.device, np.generic, Enum)
"""Kinds of arguments that a call can't change without its being seen."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments of one call.

    Attributes:
        texts: Path of an argument -> what it is; of a tensor on a GPU, without its sum.
        pending: Paths of these tensors.
        sums: Their sums, shape (len(pending),), int64, on the GPU; None where all are known.
        device: Of the first tensor on a GPU; else the CPU.
    """

    texts: Mapping[str, str]
    pending: tuple[str, ...]
    sums: torch.Tensor | None
    device: torch.device

    def resolve(self, sums: torch.Tensor | None) -> dict[str, str]:
        """All texts, given the sums in memory."""
        values = [] if sums is None else sums.tolist()
        known = {path: f"{self.texts[path]} {_hex(value)}" for path, value in zip(self.pending, values, strict=True)}
        return {**self.texts, **known}


class Arguments:
    """The arguments of a call themselves, by which one that changes them is found out.

    Args:
        args: Of the call that is about to be made.
        kwargs: Likewise.
    """

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._given = _by_name(args, kwargs)
        self._before = self._now()

    def may_have_changed(self) -> str:
        """Path of one that the call has changed, or may have changed unseen: an object whose inside is not known."""
        now = self._now()
        if len(now) != len(self._before):
            return "number of arguments"
        for (path, leaf, version), (before_path, before, before_version) in zip(now, self._before, strict=True):
            opaque = not isinstance(leaf, _KNOWN) and leaf is not None
            if opaque or path != before_path or version != before_version or not _same(leaf, before):
                return path
        return ""

    def _now(self) -> list[tuple[str, Any, int]]:
        return [(path, leaf, _version(leaf)) for path, leaf in _leaves(self._given, "")]


def look(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Inputs:
    """Look at the arguments of a call that is about to be made; waits for no GPU."""
    texts: dict[str, str] = {}
    pending: list[str] = []
    sums: list[torch.Tensor] = []
    device = torch.device("cpu")
    for path, leaf in _leaves(_by_name(args, kwargs), ""):
        if not isinstance(leaf, torch.Tensor):
            texts[path] = _plain(leaf)
            continue
        texts[path] = f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
        if leaf.is_meta:
            texts[path] += " without data"
            continue
        parts = [leaf] if leaf.layout is torch.strided else _parts(leaf)
        if leaf.layout is not torch.strided:
            texts[path] += f" {leaf.layout}"
        if leaf.is_cuda:
            device = device if device.type == "cuda" else leaf.device
            pending.append(path)
            totals = [checksum(part) for part in parts]
            sums.append((totals[0] if len(totals) == 1 else checksum(torch.stack(totals))).to(device))
        else:
            texts[path] += f" {digest(parts)}"
    return Inputs(texts, tuple(pending), torch.stack(sums) if sums else None, device)


def digest(tensors: Sequence[torch.Tensor]) -> str:
    """XXH3 of the bits of tensors in the host's memory, in order of their indexes: 16 hex digits."""
    made = xxhash.xxh3_64()
    for tensor in tensors:
        flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
        if flat.stride(0) != 1:
            flat = torch.empty(flat.numel(), dtype=flat.dtype).copy_(flat)
        made.update(flat.numel().to_bytes(8, "little"))
        octets: Any = flat.view(torch.uint8).numpy()
        made.update(octets)
    return made.hexdigest()


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over a tensor's bits, in which every position counts differently: a scalar, int64, on the tensor's device.

    Integer sums wrap, so their order does not matter: the same on every device.
    """
    # A copy of its own, without gaps and at a whole word in memory.
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype, device=tensor.device).copy_(tensor.detach().reshape(-1))
    octets = flat.view(torch.uint8)
    if rest := octets.numel() % _WORD:
        octets = torch.nn.functional.pad(octets, (0, _WORD - rest))
    words = octets.view(torch.int64)
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for begin in range(0, words.numel(), _PIECE):
        piece = words[begin : begin + _PIECE]
        places = torch.arange(begin + 1, begin + 1 + piece.numel(), dtype=torch.int64, device=tensor.device)
        mixed = (piece ^ (places * _MULTIPLIER)) * _MIXER
        mixed = (mixed ^ (mixed >> 29)) * _MULTIPLIER
        total += (mixed ^ (mixed >> 32)).sum()
    return total


def _by_name(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**{str(number): each for number, each in enumerate(args)}, **kwargs}


def _same(one: Any, other: Any) -> bool:
    """Whether a leaf is still the one that was there; what stands for a container is made anew each time."""
    return one is other or (isinstance(one, str) and one == other)


def _version(leaf: Any) -> int:
    """How often a tensor has been written to, as far as torch counts that."""
    return leaf._version if isinstance(leaf, torch.Tensor) and not leaf.is_inference() else 0


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, inner in node.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
        yield path, f"{type(node).__name__} of {len(node)}"
    elif isinstance(node, list | tuple):
        for number, inner in enumerate(node):
            yield from _leaves(inner, f"{path}.{number}")
        yield path, f"{type(node).__name__} of {len(node)}"
    else:
        yield path, node


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """What a tensor with gaps consists of (https://docs.pytorch.org/docs/stable/sparse.html)."""
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor.to_dense()]


def _plain(leaf: Any) -> str:
    if leaf is None or isinstance(leaf, bool | int | float | torch.dtype | torch.device):
        return repr(leaf)
    if isinstance(leaf, Enum):
        return f"{type(leaf).__module__}.{type(leaf).__qualname__}.{leaf.name}"
    if isinstance(leaf, str):
        # It may be somebody's prompt.
        return f"text {hashlib.sha256(leaf.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    if isinstance(leaf, np.ndarray | np.generic):
        content = np.ascontiguousarray(leaf)
        return f"{content.dtype}{list(content.shape)} {hashlib.sha256(content.tobytes()).hexdigest()[:16]}"
    return f"a {type(leaf).__module__}.{type(leaf).__qualname__}"


def _hex(value: int) -> str:
    return f"{value & (2**64 - 1):016x}"
