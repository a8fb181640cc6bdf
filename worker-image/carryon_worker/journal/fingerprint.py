"""The worker fingerprint: everything that a kept call's bits may depend on, field by field.

A journal holds for one fingerprint only. Another one is never stretched to fit: the unit starts over, and the refusal
names the field. Fields are written in the order in which a person would ask: libraries, machine, pipeline, model, and
then the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from carryon_core.fingerprint import digest

REASON: Final = "CheckpointNotResumable"
_LONGEST: Final = 80
"""Characters of a value in a refusal."""
_NAMED: Final = 3
"""Fields that a refusal names."""

Value: TypeAlias = str | int | float | bool | None
Fields: TypeAlias = Mapping[str, Value]
"""Field -> value, both readable; texts that are somebody's own, prompts above all, as digests."""


def of(fields: Fields) -> str:
    """The fingerprint of a worker and a call, 64 hex digits."""
    # As pairs, for canonical JSON leaves nulls out: a field that is None and one that is not there differ.
    return digest([[name, fields[name]] for name in sorted(fields)])


def differing(old: Fields, new: Fields) -> list[str]:
    """What differs, each as `field: old -> new`, in the order of the new fields; what is gone comes last."""
    names = [*new, *(name for name in old if name not in new)]
    return [
        f"{name} {_shown(old, name)} -> {_shown(new, name)}"
        for name in names
        if name not in old or name not in new or old[name] != new[name] or type(old[name]) is not type(new[name])
    ]


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


def _shown(fields: Fields, name: str) -> str:
    if name not in fields:
        return "absent"
    text = str(fields[name])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
