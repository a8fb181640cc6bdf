"""Loads a pipeline and its adapters from files of this machine, which are fetched first where they are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from carryon_core.done import UsedModel
from carryon_core.pipelines import Diffusers
from carryon_worker import failures
from carryon_worker.failures import BadRequest
from carryon_worker.generators import adapters, models, pipelines, schedulers
from carryon_worker.generators.adapters import Attached
from carryon_worker.generators.bytes_moved import moving_while_bytes_move
from carryon_worker.generators.models import Located
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.session import Session

_OF_THE_CALL: Final = {"extend", "memory", "output", "params"}
"""Fields of a configuration that do not shape the pipeline."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that a pipeline was loaded from; they stay in the cache until they are released."""

    model: Located
    adapters: Sequence[Attached]

    @property
    def fields(self) -> Fields | None:
        """What they say in a worker fingerprint; None where nobody can tell which weights these are."""
        own = self.model.fields
        return None if own is None else {**own, **adapters.fields(self.adapters)}

    @property
    def used(self) -> tuple[UsedModel, ...]:
        """For done.json."""
        return (self.model.used, *(each.used for each in self.adapters))

    @property
    def located(self) -> tuple[tuple[str, Located], ...]:
        """What was found for each name."""
        adapters = ((each.used.model, each.located) for each in self.adapters)
        return ((self.model.used.model, self.model), *adapters)

    def release(self) -> None:
        """They are no longer needed."""
        for _, each in self.located:
            each.release()


def shape(wanted: Diffusers) -> str:
    """Everything of a configuration that shapes its pipeline: two units of one shape share it."""
    return wanted.model_dump_json(exclude=_OF_THE_CALL)


def find(wanted: Diffusers, session: Session) -> Sources:
    """Have the files of a pipeline on this machine.

    Raises:
        UnitFailure: They can't be had, or are no pipeline.
        StoreError: A bucket does not give them.
    """
    pipeline_class = pipelines.find(wanted.pipeline)
    if wanted.scheduler is not None:
        # Better to know before the weights are read.
        schedulers.find(wanted.scheduler)
    if message := adapters.refusal(pipeline_class if wanted.pipeline else None, wanted):
        raise BadRequest(message)

    def download(name: str, commit: str, folder: Path) -> str:
        return str(pipeline_class.download(name, revision=commit, cache_dir=str(folder), use_safetensors=True))

    located = models.locate(wanted.model, wanted.revision, session, f"diffusers {pipeline_class.__name__}", download)
    try:
        if not (located.path / "model_index.json").is_file():
            raise BadRequest(f"model {wanted.model} is no diffusers pipeline: it has no model_index.json")
        return Sources(located, adapters.locate(wanted, session))
    except BaseException:
        located.release()
        raise


def load(wanted: Diffusers, sources: Sources, session: Session) -> Any:
    """A pipeline with its adapters, in the host's memory.

    Raises:
        BadRequest: The files do not hold such a pipeline, or an adapter does not fit.
        UnitFailure: They were damaged in the cache.
    """
    try:
        with moving_while_bytes_move(session):
            pipeline = _from_pretrained(wanted, sources.model.path)
            adapters.attach(pipeline, sources.adapters)
            return pipeline
    except Exception as error:
        if failures.shortage(error):
            raise
        for name, located in sources.located:
            if bad := located.damaged(session.moved):
                raise models.damaged(name, bad) from error
        raise


def _from_pretrained(wanted: Diffusers, folder: Path) -> Any:
    pipeline_class = pipelines.find(wanted.pipeline)
    try:
        pipeline = pipeline_class.from_pretrained(
            str(folder),
            dtype=getattr(torch, wanted.dtype),
            local_files_only=True,
            # Nothing is ever unpickled.
            use_safetensors=True,
        )
    except (OSError, ValueError, AttributeError, TypeError, SafetensorError) as error:
        if failures.shortage(error):
            raise
        raise BadRequest(f"model {wanted.model} can't be loaded as {pipeline_class.__name__}: {error}") from error
    if wanted.scheduler is not None:
        schedulers.put(pipeline, wanted.scheduler)
    return pipeline
