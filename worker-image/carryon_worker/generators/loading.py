"""Loads a pipeline from a folder or a hub."""

from __future__ import annotations

from typing import Any

import torch

from carryon_core.spec import Diffusers
from carryon_worker import failures
from carryon_worker.failures import BadRequest, UnitFailure


def from_pretrained(pipeline_class: Any, wanted: Diffusers, source: str, local: bool) -> Any:
    """A pipeline, loaded into the host's memory.

    Args:
        pipeline_class: Of diffusers.
        wanted: The unit's configuration.
        source: Folder, or id on a hub.
        local: Whether it is a folder.

    Raises:
        BadRequest: The folder does not hold such a pipeline.
        UnitFailure: The hub does not give it.
    """
    try:
        return pipeline_class.from_pretrained(
            source,
            dtype=getattr(torch, wanted.dtype),
            local_files_only=local,
            # Nothing is ever unpickled.
            use_safetensors=True,
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        if failures.shortage(error):
            raise
        if local:
            raise BadRequest(f"model {wanted.model} can't be loaded as {pipeline_class.__name__}: {error}") from error
        raise UnitFailure("ModelUnavailable", f"model {wanted.model} can't be had from the hub: {error}") from error
