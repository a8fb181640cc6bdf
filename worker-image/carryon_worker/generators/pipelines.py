"""Classes of diffusers pipelines by name; nothing is loaded."""

from __future__ import annotations

import difflib
from typing import Any

import diffusers

from carryon_worker.failures import BadRequest


def find(name: str | None) -> Any:
    """The class of a name; without one, the class that finds out by itself from a model's files.

    Raises:
        BadRequest: There is none.
    """
    if name is None:
        return diffusers.DiffusionPipeline
    found = getattr(diffusers, name, None)
    if isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline):
        return found
    known = [each for each in dir(diffusers) if each.endswith("Pipeline")]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see diffusers' list of pipelines"
    raise BadRequest(f"diffusers {diffusers.__version__} has no pipeline {name}: {hint}")
