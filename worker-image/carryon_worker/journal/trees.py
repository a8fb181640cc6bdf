"""What a denoiser returns, as JSON and tensors, and back.

A leaf is `{"tensor": i, "stride": [...]}` or `{"value": ...}`; a branch is `{"list": [...]}`, `{"tuple": [...]}`,
`{"dict": {...}}` or `{"output": "module:Class", "fields": {...}}` for diffusers' own output classes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import torch
from diffusers.utils.outputs import BaseOutput

from carryon_worker.journal.segments import SegmentError

DTYPES: Final = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
"""Types of tensors that can be kept, with the names that safetensors has for them."""
_LIBRARY: Final = "diffusers."


class Unkeepable(Exception):
    """Something that can't be written down so that it comes back the same; the sentence says what."""


def take(output: Any) -> tuple[Any, list[torch.Tensor]]:
    """The tree of an output, and its tensors in order; one that stands in several places is taken once.

    Raises:
        Unkeepable: It holds something else than tensors, plain values and containers of these.
    """
    tensors: list[torch.Tensor] = []
    tree = _take(output, tensors)
    memories = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    if len(memories) < sum(tensor.numel() > 0 for tensor in tensors):
        # What is written into one of them would show in the other.
        raise Unkeepable("tensors that share memory")
    return tree, tensors


def build(tree: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """The output that a tree is of.

    Raises:
        SegmentError: It is no tree of `take`.
    """
    match tree:
        case {"tensor": int(number)}:
            return tensors[number]
        case {"value": value}:
            return value
        case {"list": list(inner)}:
            return [build(each, tensors) for each in inner]
        case {"tuple": list(inner)}:
            return tuple(build(each, tensors) for each in inner)
        case {"dict": dict(inner)}:
            return {name: build(each, tensors) for name, each in inner.items()}
        case {"output": str(name), "fields": dict(inner)}:
            return _output_class(name)(**{field: build(each, tensors) for field, each in inner.items()})
    raise SegmentError("it holds an output that this worker can't build")


def strides(tree: Any) -> list[tuple[int, ...]]:
    """Strides of a tree's tensors, in order."""
    found: dict[int, tuple[int, ...]] = {}

    def walk(node: Any) -> None:
        match node:
            case {"tensor": int(number), "stride": list(stride)}:
                found[number] = tuple(stride)
            case {"list": list(inner)} | {"tuple": list(inner)}:
                for each in inner:
                    walk(each)
            case {"dict": dict(inner)} | {"fields": dict(inner)}:
                for each in inner.values():
                    walk(each)

    walk(tree)
    return [found[number] for number in sorted(found)]


def hollow(tree: Any, tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The form of an output, as JSON: what `take` made of it, without the tensors' values."""
    return {"tree": tree, "tensors": [[DTYPES[each.dtype], list(each.shape)] for each in tensors]}


def fill(form: Any, device: torch.device) -> Any:
    """An output of a form that `hollow` told, all zeros.

    Raises:
        SegmentError: It is no such form.
    """
    types = {name: dtype for dtype, name in DTYPES.items()}
    match form:
        case {"tree": tree, "tensors": list(tensors)}:
            return build(tree, [torch.zeros(shape, dtype=types[name], device=device) for name, shape in tensors])
    raise SegmentError("it holds a form that this worker can't build")


def kept_stride(tensor: torch.Tensor) -> tuple[int, ...]:
    """Of a copy that closes gaps but keeps the order of the dimensions: what is computed from it may depend on that."""
    return torch.empty_like(tensor, device="meta").stride()


def _take(node: Any, tensors: list[torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor):
        return _take_tensor(node, tensors)
    if node is None or type(node) in (bool, int, str) or (type(node) is float and math.isfinite(node)):
        return {"value": node}
    if type(node) in (list, tuple):
        return {type(node).__name__: [_take(each, tensors) for each in node]}
    if type(node) is dict and all(type(name) is str for name in node):
        return {"dict": {name: _take(each, tensors) for name, each in node.items()}}
    if isinstance(node, BaseOutput) and is_dataclass(node) and type(node).__module__.startswith(_LIBRARY):
        name = f"{type(node).__module__}:{type(node).__qualname__}"
        inner = {field.name: _take(getattr(node, field.name), tensors) for field in fields(node)}
        return {"output": name, "fields": inner}
    raise Unkeepable(f"a {type(node).__name__}")


def _take_tensor(tensor: torch.Tensor, tensors: list[torch.Tensor]) -> Any:
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided or tensor.dtype not in DTYPES:
        raise Unkeepable(f"a {type(tensor).__name__} of {tensor.dtype}")
    if tensor.requires_grad:
        raise Unkeepable("a tensor with a gradient")
    number = next((number for number, known in enumerate(tensors) if known is tensor), len(tensors))
    if number == len(tensors):
        tensors.append(tensor)
    return {"tensor": number, "stride": list(kept_stride(tensor))}


def _output_class(name: str) -> Any:
    module, _, qualified = name.partition(":")
    found = getattr(importlib.import_module(module), qualified, None) if module.startswith(_LIBRARY) else None
    if not (isinstance(found, type) and issubclass(found, BaseOutput)):
        raise SegmentError(f"it holds a {name}, which this diffusers does not have")
    return found
