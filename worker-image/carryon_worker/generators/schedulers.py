"""Puts another scheduler in the place of a pipeline's own."""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

import diffusers
from diffusers import SchedulerMixin

from carryon_core.pipelines import Scheduler
from carryon_worker.failures import BadRequest

_ASKS: Final = frozenset({"retrieve_timesteps", "prepare_extra_step_kwargs"})
"""Functions of pipelines that hand a scheduler what it may not know."""


def find(wanted: Scheduler) -> Any:
    """The class of a name, whose configuration has the wanted fields.

    Raises:
        BadRequest: There is none, it is no scheduler, or it has no such field.
    """
    found = getattr(diffusers, wanted.class_, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        known = [each for each in dir(diffusers) if each.endswith("Scheduler")]
        near = difflib.get_close_matches(wanted.class_, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see diffusers' list of schedulers"
        raise BadRequest(f"diffusers {diffusers.__version__} has no scheduler {wanted.class_}: {hint}")
    fields = sorted(inspect.signature(found.__init__).parameters.keys() - {"self", "kwargs"})
    for name in wanted.params:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BadRequest(f"{wanted.class_} has no field {name}: {hint}it has {', '.join(fields)}")
    return found


def put(pipeline: Any, wanted: Scheduler) -> None:
    """Let a pipeline have this scheduler, configured as its own was, but for the wanted fields.

    Raises:
        BadRequest: There is none like that, or the pipeline has none that could be replaced.
    """
    kind = find(wanted)
    own = pipeline.components.get("scheduler")
    if own is None:
        others = [name for name in pipeline.components if name.endswith("scheduler") and name != "scheduler"]
        has = f"it has {', '.join(others)}" if others else "it has none"
        raise BadRequest(
            f"scheduler of {type(pipeline).__name__} can't be replaced, {has}: leave generate.scheduler out"
        )
    try:
        pipeline.scheduler = kind.from_config(own.config, **wanted.params)
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise BadRequest(f"{wanted.class_} can't be made for {type(pipeline).__name__}: {error}") from error


def refused_by(error: Exception, scheduler: str) -> str:
    """Why a pipeline and a scheduler do not fit together, by the exception of a call; "" if that is not the reason.

    Args:
        error: That the pipeline's call raised.
        scheduler: Class that was put into the pipeline.
    """
    missing = isinstance(error, AttributeError) and isinstance(error.obj, SchedulerMixin | Mapping)
    frames = traceback.extract_tb(error.__traceback__)
    asked = any(frame.name in _ASKS for frame in frames)
    inside = bool(frames) and PurePath(frames[-1].filename).name.startswith("scheduling_")
    if not (missing or asked or inside):
        return ""
    return f"does not work with {scheduler}: {traceback.format_exception_only(error)[-1].strip()}"
