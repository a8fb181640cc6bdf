"""Clips section by section in real workers: looked at while they are made, gone on from, made longer."""

from __future__ import annotations

import hashlib
import io
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from carryon_core import layout
from carryon_core.messages import AssignedUnit, Cadence, ExitCode
from carryon_worker.generators import clips
from forked_workers import ONE_THREAD, Fate, Forge

STEPS = 2
SECTIONS = 4
CLIP: dict[str, Any] = {
    "prompt": "dunes at dawn", "height": 32, "width": 32, "num_frames": 9, "max_sequence_length": 16,
}  # fmt: skip
LONG = {**CLIP, "prompt_template": {"template": "{}", "crop_start": 0}, "num_frames": 36, "latent_window_size": 3}
PARAMS = {"framepack-quiet": LONG, "wan-ti2v": CLIP, "ltx-condition": CLIP}
"""Model of the zoo -> what it is called with; the picture that a clip begins with aside."""
PER_SECTION = 12
TERM, KILL = signal.SIGTERM, signal.SIGKILL
NONE, NEVER, OFTEN = Cadence(enabled=False), Cadence(every_seconds=3600), Cadence(every_seconds=0.02)
SPARED = Fate()


@dataclass
class Studio:
    """Workers that try to make units, one after another."""

    bench: Any
    forge: Forge
    models: Path
    logs: list[Path] = field(default_factory=list)

    def run(self, made: AssignedUnit, fate: Fate = SPARED, cadence: Cadence = OFTEN, stage: str = "clip") -> int:
        """One attempt, by a process of its own: its exit code."""
        number = len(self.logs)
        assignment = self.bench.assignment(made, checkpoint=cadence, stage=stage)
        environment = self.bench.environment(number, assignment) | ONE_THREAD
        calls = self.bench.root / f"calls-{number}"
        calls.touch()
        self.logs.append(self.bench.root / f"log-{number}")
        return self.forge.run(environment, self.logs[-1], calls, fate)

    @property
    def log(self) -> str:
        """Of the last attempt."""
        return self.logs[-1].read_text(errors="replace")


@pytest.fixture
def studio(bench: Any, forge: Forge, tiny: Path) -> Studio:
    return Studio(bench, forge, tiny)


@pytest.fixture(scope="module")
def tiny(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sections")
    forge.build(folder, *PARAMS)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Reference to what a clip begins with."""
    path = tmp_path_factory.mktemp("picture") / "dunes.png"
    rows, columns = np.mgrid[0:32, 0:32]
    Image.fromarray(np.stack([rows * 8, columns * 8, rows + columns], axis=-1).astype(np.uint8)).save(path)
    return {"$file": {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


def unit(
    studio: Studio,
    model: str = "framepack-quiet",
    number: int = 0,
    output: Mapping[str, Any] | None = None,
    extend: float | None = None,
    before: AssignedUnit | None = None,
    **params: Any,
) -> AssignedUnit:
    """A unit; with `extend`, one that makes the clip of `before` longer by so many seconds."""
    config: dict[str, Any] = {
        "model": str(studio.models / model),
        "dtype": "float32",
        "params": {**PARAMS[model], "num_inference_steps": STEPS, **params},
        "output": dict(output or {}),
    }
    inputs = {}
    if extend is not None and before is not None:
        del config["params"]["num_frames"]
        config["extend"] = {"from": "shot", "seconds": extend}
        inputs = {"shot": {"stage": "shot", "item": before.item, "fingerprint": before.fingerprint}}
    made: AssignedUnit = studio.bench.unit(number, {"diffusers": config}, inputs=inputs)
    return made


def make(studio: Studio, made: AssignedUnit, stage: str = "clip") -> dict[str, bytes]:
    """Artifacts of a unit that nothing interrupts."""
    assert studio.run(made, cadence=NONE, stage=stage) == ExitCode.DONE, studio.log
    artifacts: dict[str, bytes] = studio.bench.artifacts(made, stage)
    return artifacts


def forget(studio: Studio, made: AssignedUnit) -> None:
    for info in studio.bench.store.list(studio.bench.prefix(made)):
        studio.bench.store.delete(info.key)


def frames(clip: bytes) -> Any:
    """Shape (frames, height, width, 3)."""
    with av.open(io.BytesIO(clip)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def jumps(clip: Any) -> Any:
    """How far each frame is from the one before."""
    return np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3))


def shown(studio: Studio, made: AssignedUnit) -> dict[str, bytes]:
    prefix = studio.bench.prefix(made)
    found = studio.bench.store.list(layout.previews_prefix(prefix))
    return {info.key.removeprefix(prefix): studio.bench.store.get(info.key) for info in found}


@pytest.mark.parametrize("sampling", ["inverted_anti_drifting", pytest.param("vanilla", marks=pytest.mark.slow)])
def test_sections_can_be_looked_at_before_the_clip_is_done_and_an_attempt_that_goes_on_shows_none_again(
    studio: Studio,
    picture: dict[str, Any],
    sampling: str,
) -> None:
    shooting = unit(studio, image=picture, sampling_type=sampling)
    silent = unit(studio, image=picture, sampling_type=sampling, output={"previews": False})
    expected = make(studio, silent)
    assert "can be looked at" not in studio.log
    forget(studio, silent)

    assert studio.run(shooting, fate=Fate(KILL, at=2 * STEPS + 1, pause=0.3)) == -KILL
    first = shown(studio, shooting)
    assert [layout.section_of(key) for key in first] == [0, 1]
    for key, content in first.items():
        assert re.fullmatch(r"previews/\d{3}\.[0-9a-f]{12}\.mp4", key)
        assert hashlib.sha256(content).hexdigest()[:12] in key
    # What was made first is what is seen last, or first: frames of the clip itself, small differences of coding aside.
    clip = frames(expected["clip.mp4"])
    seen = frames(next(iter(first.values())))
    at = slice(-len(seen), None) if sampling == "inverted_anti_drifting" else slice(0, len(seen))
    apart = np.abs(seen - clip[at]).mean(axis=(1, 2, 3))
    # Where it meets the next section, both are blended.
    assert np.median(apart[: len(seen) // 2] if sampling == "vanilla" else apart[len(seen) // 2 :]) < 12

    assert studio.run(shooting, fate=Fate(KILL, at=1, pause=0.5)) == -KILL
    assert shown(studio, shooting) | first == shown(studio, shooting)
    assert "section 0 can be looked at" not in studio.log

    assert studio.run(shooting) == ExitCode.DONE, studio.log
    resume = studio.bench.done(shooting).resume
    assert resume is not None
    assert resume.replayed >= 2 * STEPS
    assert studio.bench.artifacts(shooting) == expected
    assert shown(studio, shooting) == {}
    assert len(clip) == 1 + SECTIONS * PER_SECTION


def go_on(studio: Studio, made: AssignedUnit, expected: Mapping[str, bytes], signals: Sequence[int]) -> None:
    """Interrupt a unit after each call, and hold what comes out against what should."""
    for kill in signals:
        code = studio.run(made, Fate(kill, at=1, pause=0.05), NEVER if kill == TERM else OFTEN)
        assert code == (ExitCode.INTERRUPTED if kill == TERM else -KILL), studio.log
    assert studio.run(made) == ExitCode.DONE, studio.log
    resume = studio.bench.done(made).resume
    assert resume is not None
    assert resume.replayed > 0
    assert studio.bench.artifacts(made) == expected


def test_a_framepack_clip_is_made_longer_without_a_jump_and_resumes_inside(
    studio: Studio,
    picture: dict[str, Any],
) -> None:
    given = {"image": picture, "sampling_type": "vanilla"}
    shot = unit(studio, num_frames=18, **given)
    before = make(studio, shot, stage="shot")
    assert list(before) == ["clip.mp4", "history.safetensors"]
    # Nine frames more, at eight a second: one section.
    longer = unit(studio, number=1, extend=1.1, before=shot, **given)
    after = make(studio, longer)
    assert list(after) == ["clip.mp4", "history.safetensors"]

    old, new = frames(before["clip.mp4"]), frames(after["clip.mp4"])
    assert (len(old), len(new)) == (1 + 2 * PER_SECTION, 1 + 3 * PER_SECTION)
    assert np.array_equal(new[: len(old)], old)
    # Another clip in its place, of another seed and another beginning, jumps.
    other = unit(studio, number=2, num_frames=18, **(given | {"image": blank(studio)}))
    apart = frames(make(studio, other, stage="shot")["clip.mp4"])
    moves, usual = jumps(new), np.median(jumps(old))
    assert moves[len(old) - 1] < 1.5 * usual
    assert np.abs(apart[0] - old[-1]).mean() > 2 * usual

    forget(studio, longer)
    go_on(studio, longer, after, [TERM])

    # Longer still, now without the history that was kept: encoded from the frames.
    encoded = {"clip.mp4": after["clip.mp4"]}
    studio.bench.publish(studio.bench.unit(3, {}), "shot", encoded)
    third = make(studio, unit(studio, number=4, extend=3, before=studio.bench.unit(3, {}), **given))
    assert len(frames(third["clip.mp4"])) == len(new) + 2 * PER_SECTION
    assert np.array_equal(frames(third["clip.mp4"])[: len(new)], new)


def blank(studio: Studio) -> dict[str, Any]:
    path = studio.bench.root / "blank.png"
    Image.new("RGB", (32, 32), (255, 255, 255)).save(path)
    return {"$file": {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}


@pytest.mark.parametrize(
    ("model", "stride"),
    [
        pytest.param("framepack-quiet", PER_SECTION, marks=pytest.mark.slow),
        ("wan-ti2v", 4),
        ("ltx-condition", 8),
    ],
)
def test_a_pipeline_goes_on_from_the_end_of_a_clip_it_was_given(
    studio: Studio,
    model: str,
    stride: int,
) -> None:
    rows, columns = np.mgrid[0:32, 0:32]
    old = [np.stack([rows * 3 + n, columns * 4, rows + n * 6], axis=-1).astype(np.uint8) for n in range(20)]
    shot = studio.bench.unit(0, {})
    publish(studio, shot, old)
    longer = unit(studio, model, 1, extend=1, before=shot)
    made = make(studio, longer)
    new = frames(made["clip.mp4"])
    assert len(new) == len(old) + -(-12 // stride) * stride
    assert np.array_equal(new[: len(old)], frames(studio.bench.artifacts(shot, "shot")["clip.mp4"]))
    assert "going on from frame 20; its picture came back" in studio.log
    # From another end it goes on otherwise: what it was given counts.
    end = studio.bench.unit(2, {})
    publish(studio, end, [*old[:-1], 255 - old[-1]])
    otherwise = unit(studio, model, 1, extend=1, before=end).model_copy(update={"fingerprint": "f" * 64})
    other = frames(make(studio, otherwise)["clip.mp4"])
    assert np.abs(other[-1] - new[-1]).mean() > 0.5
    forget(studio, longer)
    go_on(studio, longer, made, [TERM])


def publish(studio: Studio, shot: AssignedUnit, pictures: Sequence[Any]) -> None:
    path = studio.bench.root / "shot.mp4"
    clips.write_clip(path, list(pictures), 12, {})
    studio.bench.publish(shot, "shot", {"clip.mp4": path.read_bytes()})
