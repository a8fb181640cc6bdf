"""The worker fingerprint: everything that a kept call's bits may depend on, field by field.

A journal holds for one fingerprint only. Another one is never stretched to fit: the unit starts over, and the refusal
names the field. Fields are written in the order in which a person would ask: libraries, machine, pipeline, model, and
then the call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from carryon_core.done import Misfit
from carryon_core.fingerprint import digest

REASON: Final = "CheckpointNotResumable"
_LONGEST: Final = 80
"""Characters of a value in a refusal."""
_NAMED: Final = 3
"""Fields that a refusal names."""

_BUILDS: Final = frozenset({"journal", "torch build"})
_VERSION: Final = re.compile(r"\d+\.\d")
_MACHINE: Final = frozenset({"device", "devices", "driver", "cuda", "cudnn version", "threads"})
_SWITCHES: Final = frozenset({"deterministic", "cublas workspace", "tf32", "matmul precision", "cudnn", "attention"})
_MODEL: Final = frozenset({"model", "revision", "sha256", "files", "adapters"})
_TEXT: Final = frozenset(
    {"prompt", "stop", "maxNewTokens", "minNewTokens", "sample", "temperature", "topP", "topK", "repetitionPenalty"}
)
"""What a language model is called with."""
_OF_THE_CALL: Final = ("params.", "extend.")

Value: TypeAlias = str | int | float | bool | None
Fields: TypeAlias = Mapping[str, Value]
"""Field -> value, both readable; texts that are somebody's own, prompts above all, as digests."""


def of(fields: Fields) -> str:
    """The fingerprint of a worker and a call, 64 hex digits."""
    # As pairs, for canonical JSON leaves nulls out: a field that is None and one that is not there differ.
    return digest([[name, fields[name]] for name in sorted(fields)])


def differing(old: Fields, new: Fields) -> list[str]:
    """What differs, each as `field: old -> new`, in the order of the new fields; what is gone comes last."""
    return [f"{name} {_shown(old, name)} -> {_shown(new, name)}" for name in _different(old, new)]


def misfit(old: Fields, new: Fields) -> Misfit:
    """Of which kind the fields are that differ; of several the first, in the order in which a person would ask."""
    kinds = {_kind(name, new.get(name, old.get(name))) for name in _different(old, new)}
    return next((kind for kind in Misfit if kind in kinds), Misfit.DAMAGED)


def refusal(old: Fields, new: Fields, lost: str) -> str:
    """Why a journal is of no use to this worker, and what that costs.

    Args:
        old: Of the journal.
        new: Of this worker.
        lost: Such as "22 steps".
    """
    found = differing(old, new)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{', '.join(found[:_NAMED])}{more}, {lost} lost"


def _different(old: Fields, new: Fields) -> list[str]:
    names = [*new, *(name for name in old if name not in new)]
    return [
        name
        for name in names
        if name not in old or name not in new or old[name] != new[name] or type(old[name]) is not type(new[name])
    ]


def _kind(name: str, value: Value) -> Misfit:
    """Of which kind a field is; everything that is of no other kind describes the pipeline."""
    if name == "seed" or name in _TEXT or name.startswith(_OF_THE_CALL):
        return Misfit.CALL
    if name in _MODEL or name.startswith("adapters."):
        return Misfit.MODEL
    if name in _MACHINE:
        return Misfit.MACHINE
    if name in _SWITCHES or name.isupper():
        return Misfit.SWITCHES
    version = "." not in name and isinstance(value, str) and _VERSION.match(value)
    return Misfit.LIBRARY if version or name in _BUILDS else Misfit.PIPELINE


def _shown(fields: Fields, name: str) -> str:
    if name not in fields:
        return "absent"
    text = str(fields[name])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
