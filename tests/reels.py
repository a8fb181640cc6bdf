"""Reels for end-to-end tests: jobs of the command generator, and what lies in the bucket of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.resolve import Unit, resolve
from carryon_core.spec import JobSpec
from carryon_store import Store
from carryon_store.units import read_done
from carryon_store.verification import DoneCache, verify

NAMESPACE = "default"
RANDOM_CLIP = 'sleep {seconds}; head -c 4096 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'
"""A generator that never makes the same clip twice: whatever is made again shows."""


def reel(name: str, *, clips: int = 15, seconds: float = 0.5, script: str = RANDOM_CLIP, **spec: Any) -> dict[str, Any]:
    """A job of so many clips; `script` is run by sh, {seconds} in it is how long a clip takes."""
    args = ["sh", "-ec", script.replace("{seconds}", str(seconds))]
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "items": {"count": clips},
            "parallelism": 3,
            "stages": [{"name": "clip", "generate": {"command": {"args": args}}}],
            **spec,
        },
    }


@dataclass(frozen=True)
class Finished:
    """One finished unit: what its done.json says, and the etags and times of everything it describes."""

    done: Done
    objects: dict[str, tuple[str, str]]


def units(manifest: dict[str, Any]) -> dict[str, Unit]:
    """Unit prefix -> unit."""
    resolved = resolve(NAMESPACE, manifest["metadata"]["name"], JobSpec.model_validate(manifest["spec"]))
    return {resolved.prefix(unit): unit for unit in resolved.units()}


def finished(store: Store, manifest: dict[str, Any]) -> dict[str, Finished]:
    """Everything in the bucket that verifies: unit prefix -> what lies there."""
    wanted = units(manifest)
    resolved = resolve(NAMESPACE, manifest["metadata"]["name"], JobSpec.model_validate(manifest["spec"]))
    found: dict[str, Finished] = {}
    for stage in resolved.stages:
        prefix = layout.stage_prefix(NAMESPACE, resolved.name, stage.name)
        of_stage = {at: unit.fingerprint for at, unit in wanted.items() if unit.stage == stage.index}
        for at in verify(store, prefix, of_stage, DoneCache()).done:
            done = read_done(store, at)
            assert isinstance(done, Done)
            keys = [at + layout.DONE, *(at + artifact.key for artifact in done.artifacts)]
            infos = [store.head(key) for key in keys]
            found[at] = Finished(done, {info.key: (info.etag, info.modified.isoformat()) for info in infos})
    return found


def contents_hold(store: Store, at: str, done: Done) -> bool:
    """Whether every artifact is, byte for byte, what done.json says."""
    return all(hashlib.sha256(store.get(at + each.key)).hexdigest() == each.sha256 for each in done.artifacts)
