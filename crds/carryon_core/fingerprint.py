"""Fingerprints: what a unit is made from, as 64 hex digits that never depend on who computed them.

Two configurations that mean the same have one fingerprint: keys are sorted, integral floats are integers (the
Kubernetes API server stores 7.0 as 7), and nulls are left out, so that a field added with a null default makes nothing
again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

CONTRACT: Final = 1
"""Version of what goes into a fingerprint; raised when the same configuration would make something else."""


_ENCODE: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_TEXT: Final = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: Json) -> str:
    """Canonical JSON text of a value.

    Raises:
        ValueError: A number is infinite or not a number.
    """
    return _ENCODE(_plain(value))


def digest(value: Json) -> str:
    """SHA-256 over the canonical JSON of a value, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


Upstream: TypeAlias = Mapping[str, str | Sequence[str]]
"""Name in `inputs` -> fingerprint of the unit that inputs come from; of a unit that gathers, those of all its units."""


def unit_fingerprint(
    generate: Mapping[str, Json],
    seed: int,
    revision: str | None,
    upstream: Upstream,
    unit: tuple[str, str] | None = None,
) -> str:
    """Fingerprint of one unit.

    Args:
        generate: The generator's configuration after templating, such as {"command": {"args": [...]}}.
        seed: The unit's own seed.
        revision: The stage's `revision`, any text.
        upstream: What it takes its inputs from.
        unit: Stage and item id, where the seed does not come from these: units that were given the same seed by hand
            would otherwise be one.
    """
    return digest(
        {
            "contract": CONTRACT,
            "generate": generate,
            "seed": seed,
            "revision": revision,
            "unit": unit,
            "upstream": upstream or None,
        }
    )


class OpenFingerprint:
    """A unit's fingerprint as far as it is known without what is upstream, in few bytes."""

    __slots__ = ("_hash",)

    def __init__(
        self, generate: str, seed: int, revision: str | None = None, unit: tuple[str, str] | None = None
    ) -> None:
        """The arguments are those of `unit_fingerprint`, but `generate` is canonical text already."""
        text = f'{{"contract":{CONTRACT},"generate":{generate}'
        if revision is not None:
            text += f',"revision":{_TEXT(revision)}'
        text += f',"seed":{seed}'
        if unit is not None:
            text += f',"unit":[{_TEXT(unit[0])},{_TEXT(unit[1])}]'
        self._hash = hashlib.sha256(text.encode("utf-8", "surrogatepass"))

    def close(self, upstream: Upstream) -> str:
        """The fingerprint with this upstream; what `unit_fingerprint` says, because that key comes last."""
        whole = self._hash.copy()
        whole.update(f',"upstream":{canonical(upstream)}}}'.encode() if upstream else b"}")
        return whole.hexdigest()


def unit_seed(seed: int, stage: str, item: str) -> int:
    """Seed of one unit, 0 <= seed < 2**63: from the job's seed, stage and item id, never from a uid."""
    return int(digest([seed, stage, item])[:16], 16) & (2**63 - 1)


def _plain(value: Json) -> Json:
    # The common kinds first: isinstance is slow for abstract ones.
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("numbers must be finite")
        return int(value) if value.is_integer() else value
    if isinstance(value, dict | Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value]
