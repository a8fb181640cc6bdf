"""Catches the calls of a pipeline's denoisers, whoever makes them and however often.

Each denoiser gets a class of its own, made from the one it has, that differs in `__call__` only. Below it, hooks,
offloading and compiled blocks work as before, in whatever order they came; a call that is replayed skips them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final, Protocol, cast

import torch
from diffusers import ModelMixin

_ATTRIBUTE: Final = "_carryon_interception"
_PASSED_BY: Final = ("diffusers.models.autoencoders.", "diffusers.models.controlnets.")
"""Modules of models whose calls are always made: those that decode, and those whose outputs are large and go to a
denoiser, where they are compared."""
_DENOISERS_THERE: Final = ("UNetControlNetXSModel",)
"""What is a denoiser although it lies in one of them: it holds its own UNet."""


class NotInterceptable(Exception):
    """A pipeline whose denoiser's calls can't be caught; the sentence says why and what to do."""


class Answering(Protocol):
    """Who is asked about every call."""

    def call(self, component: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a call returns.

        Args:
            component: Name of the denoiser in its pipeline.
            real: Makes the call.
            args: Of the call.
            kwargs: Of the call.
        """
        ...


class Interception:
    """The denoisers of one pipeline.

    Attributes:
        components: Name -> module.
    """

    def __init__(self, components: Mapping[str, torch.nn.Module]) -> None:
        self.components = components
        self._answering: Answering | None = None

    @contextmanager
    def asking(self, answering: Answering) -> Iterator[None]:
        """Within the block every call is answered by `answering`; outside of all blocks calls are made as ever."""
        before, self._answering = self._answering, answering
        try:
            yield
        finally:
            self._answering = before

    @property
    def answering(self) -> Answering | None:
        """Who is asked now; None: nobody."""
        return self._answering

    def answer(self, name: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Called by the denoisers."""
        if self._answering is None:
            return real(*args, **kwargs)
        return self._answering.call(name, real, args, kwargs)


def attach(components: Mapping[str, Any]) -> Interception:
    """Catch the calls of a pipeline's denoisers from now on.

    To be called once a pipeline is loaded, placed and compiled.

    Args:
        components: Of the pipeline, by name.

    Raises:
        NotInterceptable: It has none, or one that is compiled as a whole, whose calls would go by unseen.
    """
    for name, component in components.items():
        if hasattr(component, "_orig_mod"):
            raise NotInterceptable(
                f"{name} is compiled as a whole, so that its steps can't be kept: compile its repeated blocks instead"
            )
    found = denoisers(components)
    if not found:
        raise NotInterceptable("it has no denoiser of diffusers' own kind (ModelMixin) whose steps could be kept")
    interception = Interception(found)
    for name, module in found.items():
        # Around the module's own __setattr__, which is for parameters and modules.
        object.__setattr__(module, _ATTRIBUTE, (interception, name))
        if original(module) is type(module):
            kind: Any = type(module)
            module.__class__ = _intercepted(kind)
    return interception


def denoisers(components: Mapping[str, Any]) -> dict[str, torch.nn.Module]:
    """Those of a pipeline's components that denoise, each once, by name."""
    found: dict[str, torch.nn.Module] = {}
    for name, component in components.items():
        if _is_denoiser(component) and not any(component is known for known in found.values()):
            found[name] = component
    return found


def original(module: torch.nn.Module) -> type:
    """The class that a module had before its calls were caught."""
    kind = type(module)
    return kind.__bases__[0] if _ATTRIBUTE in vars(kind) else kind


def _is_denoiser(component: Any) -> bool:
    if not isinstance(component, ModelMixin):
        return False
    kind = original(cast("torch.nn.Module", component))
    return kind.__name__ in _DENOISERS_THERE or not f"{kind.__module__}.".startswith(_PASSED_BY)


@cache
def _intercepted(kind: Any) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        interception, name = getattr(self, _ATTRIBUTE)
        return interception.answer(name, partial(kind.__call__, self), args, kwargs)

    # A compiler that meets it leaves it alone: what is compiled lies below.
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    # Also marks the class as one that was made here.
    body = {
        _ATTRIBUTE: None,
        "__call__": call,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), body)
