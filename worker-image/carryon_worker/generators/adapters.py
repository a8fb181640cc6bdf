"""LoRA adapters: found, loaded on top of a pipeline, and known by what their files hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError

from carryon_core.done import UsedModel
from carryon_core.pipelines import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import models
from carryon_worker.generators.models import Located
from carryon_worker.journal.fingerprint import Fields, Value
from carryon_worker.session import Session

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attached:
    """An adapter on this machine.

    Attributes:
        name: What the pipeline calls it.
        located: Its file.
    """

    name: str
    scale: float
    located: Located

    @property
    def used(self) -> UsedModel:
        """For done.json."""
        return self.located.used.model_copy(update={"name": self.name, "scale": self.scale})


def refusal(pipeline_class: Any, wanted: Diffusers) -> str | None:
    """What speaks against a configuration's adapters, before anything is looked for.

    Args:
        pipeline_class: Where it is known before the model is.
        wanted: The configuration.
    """
    if wanted.adapters and pipeline_class is not None and not _takes_adapters(pipeline_class):
        return _refused(pipeline_class)
    names = _names(wanted)
    if len(set(names)) < len(names):
        return "two adapters have one name: give each its own"
    return None


def locate(wanted: Diffusers, session: Session) -> list[Attached]:
    """The adapters of a configuration, in their order.

    Raises:
        UnitFailure: One is not there, or can't be had.
        StoreError: A bucket does not give it.
    """
    found: list[Attached] = []
    try:
        for name, adapter in zip(_names(wanted), wanted.adapters, strict=True):
            located = models.locate_file(adapter.model, adapter.weight_name, adapter.revision, session)
            found.append(Attached(name, adapter.scale, located))
    except BaseException:
        for each in found:
            each.located.release()
        raise
    return found


def attach(pipeline: Any, adapters: Sequence[Attached]) -> None:
    """Load adapters into a pipeline that is in the host's memory, before anything is hooked into it.

    Raises:
        BadRequest: One does not fit.
    """
    if not adapters:
        return
    kind = type(pipeline).__name__
    if not _takes_adapters(type(pipeline)):
        raise BadRequest(_refused(type(pipeline)))
    for each in adapters:
        path = each.located.path
        try:
            pipeline.load_lora_weights(
                str(path.parent),
                weight_name=path.name,
                adapter_name=each.name,
                local_files_only=True,
                use_safetensors=True,
            )
        except (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError, SafetensorError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            # Of a file for another model, a line for each weight.
            said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            raise BadRequest(f"adapter {each.used.model} can't be loaded into {kind}: {said}") from error
        # What fits nothing is left out without a word.
        if not any(each.name in names for names in pipeline.get_list_adapters().values()):
            raise BadRequest(f"adapter {each.used.model} holds nothing that fits {kind}: it is made for another model")
    pipeline.set_adapters([each.name for each in adapters], [each.scale for each in adapters])
    for each in adapters:
        _log.info("adapter %s: %s, scale %g, SHA-256 %s", each.name, each.used.model, each.scale, each.used.sha256)


def fields(adapters: Sequence[Attached]) -> Fields:
    """What adapters say in a worker fingerprint."""
    made: dict[str, Value] = {}
    if adapters:
        made["adapters"] = ", ".join(each.name for each in adapters)
    for each in adapters:
        made[f"adapters.{each.name}"] = each.used.sha256
        made[f"adapters.{each.name}.scale"] = each.scale
    return made


def _names(wanted: Diffusers) -> list[str]:
    # No name that is given begins so.
    return [adapter.name or f"_{index}" for index, adapter in enumerate(wanted.adapters)]


def _takes_adapters(pipeline_class: Any) -> bool:
    return hasattr(pipeline_class, "load_lora_weights")


def _refused(pipeline_class: Any) -> str:
    return f"{pipeline_class.__name__} takes no LoRA adapters: leave adapters out, or choose another pipeline"
