"""Reels for end-to-end tests: jobs of the command generator, and what lies in the bucket of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
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


def held_from(index: int, gate: Path, script: str = RANDOM_CLIP) -> str:
    """A program that makes the units before an index at once, and those from it on when the gate is there."""
    return f'[ "$CARRYON_INDEX" -lt {index} ] || while [ ! -e {gate} ]; do sleep 0.25; done; {script}'


def stage(
    name: str, begun: Path, script: str, *arguments: str, after: str | None = None, **more: Any
) -> dict[str, Any]:
    """A stage whose program is a script of sh that gets these arguments; it notes in `begun` what it begins."""
    noted = f'echo "$CARRYON_STAGE/$CARRYON_ITEM" >> {begun}; {script}'
    command = {"args": ["sh", "-ec", noted, name, *arguments]}
    return {"name": name, "generate": {"command": command}, "after": [after] if after else [], **more}


def scenes(count: int) -> list[dict[str, Any]]:
    """Items scene-0, scene-1 ... with a prompt each."""
    return [{"id": f"scene-{number}", "params": {"prompt": f"prompt {number}"}} for number in range(count)]


def film(name: str, begun: Path, *, items: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A film of three stages: an image of each scene, a clip of each image, one reel of all clips."""
    made = reel(name, **{"unitsPerPod": 5, **spec})
    made["spec"]["items"] = items or {"list": scenes(15)}
    made["spec"]["stages"] = [
        stage("image", begun, 'echo "image of $1" > "$CARRYON_OUTPUT/image.txt"', "{{ item.prompt }}"),
        stage(
            "clip",
            begun,
            'sed "s/image/clip/" "$1" > "$CARRYON_OUTPUT/clip.txt"',
            "{{ inputs.image }}",
            after="image",
        ),
        stage("reel", begun, 'cat "$@" > "$CARRYON_OUTPUT/reel.txt"', "{{ inputs.clip }}", after="clip", each="job"),
    ]
    return made


BEGUN = ("3", "8", "13")
"""Items of `clips` that are in the middle when nine of the fifteen are done."""
NOT_BEGUN = ("4", "9", "14")


def clips(name: str, model: Path, *, steps: int = 400, **spec: Any) -> dict[str, Any]:
    """Fifteen clips of a tiny model in pods of five: three short ones, one of so many steps, and a short one.

    So three pods that run side by side come to a point where nine clips are done, three are in the middle, and three
    are not begun. Every few steps are kept at once.
    """
    items = [{"id": str(number), "params": {"steps": steps if str(number) in BEGUN else 2}} for number in range(15)]
    shape = {"num_frames": 9, "height": 64, "width": 64}
    params = {"prompt": "kite {{ item.id }}", "num_inference_steps": "{{ item.steps }}", **shape}
    stage = {"name": "clip", "generate": {"diffusers": {"model": str(model), "dtype": "float32", "params": params}}}
    made = reel(name, items={"list": items}, unitsPerPod=5, **spec)
    made["spec"] |= {"stages": [stage], "seed": 7, "checkpoint": {"everySeconds": 1, "everyBytes": "200k"}}
    return made


def begun_units(begun: Path) -> list[str]:
    """What programs have begun, as stage/item, sorted; a unit that was begun twice stands there twice."""
    return sorted(begun.read_text().split())


@dataclass(frozen=True)
class Version:
    """One done.json in a folder, read without any code of ours, and what its artifacts hold."""

    folder: Path
    done: dict[str, Any]
    contents: dict[str, bytes]
    written: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        """Its only artifact."""
        (content,) = self.contents.values()
        return content.decode()


def versions(folder: Path) -> dict[str, list[Version]]:
    """Everything that is done in a job's folder: stage/item -> its versions, the first made first."""
    found: dict[str, list[Version]] = {}
    for path in folder.glob("*/*/*/done.json"):
        done = json.loads(path.read_text())
        files = {each["name"]: path.parent / each["key"] for each in done["artifacts"]}
        written = tuple((file.name, file.stat().st_mtime_ns) for file in [path, *files.values()])
        contents = {name: file.read_bytes() for name, file in files.items()}
        version = Version(path.parent, done, contents, written)
        found.setdefault(f"{done['stage']}/{done['item']}", []).append(version)
    return {unit: sorted(each, key=lambda version: version.written[0][1]) for unit, each in found.items()}


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
