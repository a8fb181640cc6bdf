"""The diffusers generator as it is, watched: which calls it computes, and what its pipeline returns, bit by bit.

What is seen goes into a file, one JSON object a line, from a process that may be killed at any moment:

    {"call": 0, "began": 12.3, "when": "[999]"}     a denoiser's call was computed; `when` is its timestep
    {"asked": 12.1}                                 the pipeline asks for its first call, computed or not
    {"paused": 3}                                   the process waits to be killed before computing its call 3
    {"result": "...", "finite": true, "flat": false}
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import torch
from PIL import Image

from carryon_worker import generators
from carryon_worker.certify.forge import Pause
from carryon_worker.generators import Generator, Made
from carryon_worker.generators.diffusers import DiffusersGenerator
from carryon_worker.journal import interception
from carryon_worker.journal.interception import Answering
from carryon_worker.session import Session

_TIMES: Final = ("timestep", "timesteps", "t", "sigma", "noise_labels")
"""Names that denoisers have for where in its course a step is."""
_DURABLE: Final = 600.0
"""Seconds that a journal may take to become durable before a kill without a word."""


def create(name: str, reports: Path, pause: Pause | None) -> Generator:
    """The generator of a name; that of diffusers is watched.

    Args:
        name: Of the generator.
        reports: File that what is seen is appended to.
        pause: Where to wait; None: nowhere.
    """
    return Observed(reports, pause) if name == "diffusers" else generators.create(name)


class Observed(DiffusersGenerator):
    """Watches from outside: nothing that makes a unit is another.

    Args:
        reports: File that what is seen is appended to.
        pause: Where to wait; None: nowhere.
    """

    def __init__(self, reports: Path, pause: Pause | None) -> None:
        super().__init__()
        self._reports = reports.open("a", encoding="utf-8")
        self._pause = pause
        self._unit: Session | None = None
        self._computed = 0

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Make the unit."""
        self._unit = session
        return super().generate(config, session)

    def stop(self, seconds: float) -> None:
        """Nothing runs outside this process."""

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        with self._watched():
            result = super()._call(*args, **kwargs)
        self._report(**looked_at(result))
        return result

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Within the block every call of a denoiser is seen on its way to the journal; without a journal, none is."""
        caught = self._interception
        if caught is None or (asked := caught.answering) is None:
            yield
            return
        with caught.asking(_Watching(asked, self._report, self._compute, caught.components)):
            yield

    def _compute(self, component: torch.nn.Module, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._pause is not None and self._pause.at == self._computed:
            self._wait_to_be_killed(self._pause)
        began = time.monotonic()
        output = real(*args, **kwargs)
        when = timestep(interception.original(component), args, kwargs)
        self._report(call=self._computed, began=began, when=when)
        self._computed += 1
        return output

    def _wait_to_be_killed(self, pause: Pause) -> NoReturn:
        assert self._unit is not None, "a denoiser was called outside of a unit"
        if pause.durable:
            self._unit.journal.flush(_DURABLE)
        self._report(paused=self._computed)
        while True:
            time.sleep(3600)

    def _report(self, **seen: Any) -> None:
        self._reports.write(json.dumps(seen) + "\n")
        self._reports.flush()


class _Watching:
    """Stands before whoever answers a denoiser's calls: sees which are asked for, and which are computed.

    Args:
        answering: Who answers.
        report: Told when the first call is asked for.
        compute: Makes a call.
        components: The denoisers by name.
    """

    def __init__(
        self,
        answering: Answering,
        report: Callable[..., None],
        compute: Callable[[torch.nn.Module, Callable[..., Any], Any, Any], Any],
        components: Mapping[str, torch.nn.Module],
    ) -> None:
        self._answering = answering
        self._report = report
        self._compute = compute
        self._components = components
        self._asked = self._inside = False

    def call(self, component: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a call returns; one that a denoiser makes within its own is part of that."""
        if not self._asked:
            self._asked = True
            self._report(asked=time.monotonic())

        def computed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return real(*args, **kwargs)
            self._inside = True
            try:
                return self._compute(self._components[component], real, args, kwargs)
            finally:
                self._inside = False

        return self._answering.call(component, computed, args, kwargs)


def timestep(kind: type, args: Any, kwargs: Mapping[str, Any]) -> str:
    """Where in its course the step of a denoiser's call is, as a text; "" if its arguments do not say.

    Args:
        kind: Class of the denoiser.
        args: Of the call.
        kwargs: Of the call.
    """
    names = _parameters(kind)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    value = next((given[name] for name in _TIMES if given.get(name) is not None), None)
    if isinstance(value, torch.Tensor):
        value = value.detach().double().flatten().tolist()
    return "" if value is None else json.dumps(value, default=str)


@cache
def _parameters(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(kind.forward).parameters if name != "self")


def looked_at(result: Any) -> dict[str, Any]:
    """What a pipeline returned: a digest of every bit, whether all numbers are finite, and whether all are the same."""
    whole = hashlib.sha256()
    finite, values = True, set[float]()
    for path, leaf in _leaves(result, ""):
        whole.update(f"{path}\n".encode())
        array = _as_array(leaf)
        if array is None:
            whole.update(repr(leaf).encode())
            continue
        whole.update(f"{array.dtype}{array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
        if array.size and array.dtype.kind in "fiub":
            finite = finite and bool(np.isfinite(array).all())
            values.update((float(array.min()), float(array.max())))
    return {"result": whole.hexdigest(), "finite": finite, "flat": len(values) == 1}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(each.name, getattr(value, each.name)) for each in fields(value)]
    else:
        yield path, value
        return
    for name, inner in parts:
        yield from _leaves(inner, f"{path}.{name}")


def _as_array(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        leaf = leaf.detach().cpu()
        # NumPy has no bfloat16; every value of it is one of float32.
        return (leaf.float() if leaf.dtype is torch.bfloat16 else leaf).numpy()
    if isinstance(leaf, Image.Image | np.ndarray):
        return np.asarray(leaf)
    return None
