"""Finds out whether a denoiser remembers anything from one call to the next.

Replay skips calls, so what they would have left behind is missing afterwards. Denoisers of diffusers leave nothing, but
for tables that some make when they first need them: a call that makes one is made again in replay. Caches that are
patched in leave more (see docs/adr/0014-journal-replay.md). Hooks that say they have a state are refused at once,
everything else is found by comparing attributes before and after each call.
"""

from __future__ import annotations

from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

import torch

_APART: Final = frozenset({"_parameters", "_buffers", "_modules", "_hf_hook", "_diffusers_hook"})
"""Attributes of a module that offloading changes around each call; buffers and hooks are looked at by themselves."""
_HOOKED: Final = frozenset({*_APART, "forward"})
"""Those of a module that diffusers has hooked: group offloading learns from the first call in which order layers come,
and takes the hooks for that away again."""
_OFFLOADED: Final = "_hf_hook"
"""Attribute of a module whose weights and buffers accelerate moves."""
_THEIRS: Final = "diffusers."
_OPAQUE: Final = (type, FunctionType, BuiltinFunctionType, MethodType, torch.nn.Module, torch.Tensor)


class Memory:
    """What a denoiser holds besides weights: some milliseconds to look at where it has thousands of layers.

    Args:
        module: The denoiser, right before the first call that is made.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        named = list(module.named_modules())
        # Layers of torch itself get attributes from a patch, if anything: it is enough to count them.
        self._layers = [part.__dict__ for _, part in named if type(part).__module__.startswith("torch.nn.")]
        self._counts = list(map(len, self._layers))
        self._parts = [_Part(path, part) for path, part in named if not type(part).__module__.startswith("torch.nn.")]
        self._buffers: list[tuple[str, torch.Tensor, int]] = [
            (name, buffer, _version(buffer))
            for path, part in named
            if not hasattr(part, _OFFLOADED)
            for name, buffer in part.named_buffers(path, recurse=False)
        ]

    def changed(self) -> str:
        """What has changed since, such as `blocks.0.cnt`; "" if nothing has."""
        for part in self._parts:
            if name := part.changed():
                return name
        for name, buffer, version in self._buffers:
            if _version(buffer) != version:
                return name
        return "" if list(map(len, self._layers)) == self._counts else "attributes of its layers"

    def made(self) -> str:
        """What was made on first use in the call before the last `changed`, such as `rope_embedder`; "" if nothing."""
        return next((part.made for part in self._parts if part.made), "")


class _Part:
    """One module's attributes."""

    def __init__(self, path: str, part: torch.nn.Module) -> None:
        self._path = path
        self.made = ""
        self._now: dict[str, Any] = part.__dict__
        self._apart = _HOOKED if "_diffusers_hook" in self._now else _APART
        self._names = tuple(name for name in self._now if name not in self._apart)
        self._before = tuple(self._now[name] for name in self._names)
        self._frozen = list(map(_frozen, self._before))
        # Most have nothing inside that could change without the attribute itself being another object, or nothing at
        # all: a dozen empty containers for hooks in every module.
        self._empty = {
            name: value
            for name, value in zip(self._names, self._before, strict=True)
            if isinstance(value, dict | list | set) and not value
        }
        self._inside = [
            number
            for number, name in enumerate(self._names)
            if name not in self._empty and self._frozen[number] is not self._before[number]
        ]

    def changed(self) -> str:
        self.made = ""
        if len(self._now) - len(self._apart & self._now.keys()) != len(self._names):
            new = (name for name in self._now if name not in self._apart and name not in self._names)
            added = next(new, "attributes")
            return self._named(added)
        values = tuple(map(self._now.get, self._names))
        if not all(map(is_, values, self._before)):
            for name, value, before in zip(self._names, values, self._frozen, strict=True):
                if not _same(_frozen(value), before):
                    return self._named(name)
        if any(self._empty.values()):
            return self._named(next(name for name, value in self._empty.items() if value))
        for number in self._inside:
            now = _frozen(values[number])
            if _same(now, self._frozen[number]):
                continue
            if not _made_on_first_use(self._frozen[number], now):
                return self._named(self._names[number])
            self._frozen[number] = now
            self.made = self._named(self._names[number])
        return ""

    def _named(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def stateful_hook(module: torch.nn.Module) -> str:
    """Name of a hook of diffusers that keeps a state between calls, such as FirstBlockCache; "" if there is none."""
    for part in module.modules():
        registry: Any = getattr(part, "_diffusers_hook", None)
        for name, hook in getattr(registry, "hooks", {}).items():
            if getattr(hook, "_is_stateful", False):
                return str(name)
    return ""


def _frozen(value: Any, depth: int = 0) -> Any:
    """A value as it is now: containers copied, objects with what they hold, tensors with how often written to.

    What can't change inside is returned itself.
    """
    if isinstance(value, torch.Tensor):
        return value, _version(value)
    if isinstance(value, dict):
        return {name: _frozen(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_frozen(inner, depth + 1) for inner in value]
    if isinstance(value, set):
        return set(value)
    held = getattr(value, "__dict__", None)
    if held and depth == 0 and not isinstance(value, _OPAQUE):
        return value, {name: _frozen(inner, depth + 1) for name, inner in held.items()}
    return value


def _made_on_first_use(before: Any, now: Any) -> bool:
    """Whether an object of diffusers' own has what it had, and something where nothing was.

    Z-Image's table of rotations, for example: made once, from the model's configuration.
    """
    if not (isinstance(before, tuple) and isinstance(now, tuple) and before[0] is now[0] and isinstance(now[1], dict)):
        return False
    if not type(now[0]).__module__.startswith(_THEIRS) or before[1].keys() != now[1].keys():
        return False
    return all(value is None or _same(now[1][name], value) for name, value in before[1].items())


def _same(one: Any, other: Any) -> bool:
    """Whether two frozen values are equal; tensors and objects by identity."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool | int | float | str | bytes | torch.dtype | torch.device | set | frozenset):
        return bool(one == other)
    return False


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
