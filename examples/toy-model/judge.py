"""Say what moves in a clip: its form, its colour, and where to. Plain geometry on pixels; nothing here was trained.

    python examples/toy-model/judge.py clip.mp4 ...     what each clip shows
    python examples/toy-model/judge.py --score FOLDER   how often a pipeline makes what it was asked for

The score is over 100 prompts with combinations of form, colour and motion that the model has not learnt from, made with
the settings of examples/reel.yaml.
"""

from __future__ import annotations

import argparse
import functools
import math
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import scenes
import torch
import yaml
from numpy.typing import NDArray

REEL = Path(__file__).parents[1] / "reel.yaml"
PROMPTS = 100
CONTRAST = 45.0
"""Distance of colours from which on a pixel is not background."""
FEWEST = 40
"""Pixels of a form that can be told."""
SIDEWAYS, UPWARDS = 10.0, 8.0
"""Pixels of travel that count."""

Frames = NDArray[np.uint8]
"""(frames, height, width, 3)."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    form: str | None
    colour: str | None
    direction: str | None

    def fits(self, scene: scenes.Scene) -> dict[str, bool]:
        return {name: getattr(self, name) == getattr(scene, name) for name in ("form", "colour", "direction")}


def judge(frames: Frames) -> Verdict:
    # Landscapes are of one colour from left to right, and a form covers less than half of a row.
    behind = np.median(frames, axis=(0, 2), keepdims=True)
    far = np.linalg.norm(frames - behind, axis=-1)
    differs = far > CONTRAST
    if (differs.sum((1, 2)) >= FEWEST).sum() < len(frames) / 2:
        return Verdict(None, None, None)
    seen = shade(frames, differs)
    # Edges lie where the form's colour and the landscape's are mixed by halves.
    mask = differs & (np.linalg.norm(frames - seen, axis=-1) < far)
    visible = mask[mask.sum((1, 2)) >= FEWEST]
    if len(visible) < len(frames) / 2:
        return Verdict(None, None, None)
    return Verdict(form(visible[::2]), colour(seen), direction(visible))


def shade(frames: Frames, mask: Mask) -> NDArray[np.float64]:
    """The middle value within a form, away from its edge."""
    inner = mask.copy()
    for axis in (1, 2):
        for shift in (-1, 1):
            inner &= np.roll(mask, shift, axis)
    return np.median(frames[inner if inner.sum() >= FEWEST else mask], axis=0)


def colour(seen: NDArray[np.float64]) -> str:
    """The palette's nearest."""
    return min(scenes.COLOURS, key=lambda name: float(np.linalg.norm(seen - scenes.COLOURS[name])))


def direction(mask: Mask) -> str | None:
    """From the way of the form's middle."""
    xs, ys = np.array([[axis.mean() for axis in np.nonzero(frame.T)] for frame in mask]).T
    dx, dy = (float(at[-3:].mean() - at[:3].mean()) for at in (xs, ys))
    if abs(dx) >= SIDEWAYS and abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    if np.abs(np.diff(ys)).sum() > 1.6 * abs(dy) + UPWARDS:
        return "up and down"
    if abs(dy) >= UPWARDS:
        return "up" if dy < 0 else "down"
    return None


def form(mask: Mask) -> str:
    """Of which form, turned as it may be, a frame's pixels cover most and little else; the best over all frames."""
    best = {name: 0.0 for name in scenes.FORMS}
    rows, columns = torch.meshgrid(torch.arange(mask.shape[1]), torch.arange(mask.shape[2]), indexing="ij")
    for frame in torch.from_numpy(mask):
        area = frame.sum()
        y, x = (axis.float().mean() for axis in torch.nonzero(frame, as_tuple=True))
        dx, dy = columns - x, rows - y
        for name in scenes.FORMS:
            overlaps = []
            for angle in turns(name):
                turned = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
                template = scenes.distance(name, *turned, radius_of(name, area)) <= 0
                overlaps.append(float((template & frame).sum() / (template | frame).sum()))
            best[name] += max(overlaps)
    return max(best, key=lambda name: best[name])


def turns(name: str) -> list[float]:
    """Angles that make a difference."""
    corners = {"circle": 0, "square": 4, "triangle": 3, "star": 5}[name]
    return [2 * math.pi / corners * step / 8 for step in range(8)] if corners else [0.0]


def radius_of(name: str, area: torch.Tensor) -> torch.Tensor:
    """The radius with which a form covers so many pixels."""
    return torch.sqrt(area / area_of(name))


@functools.cache
def area_of(name: str) -> float:
    """Of a form with a radius of 1."""
    grid = torch.arange(-200, 201) / 100
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    return float((scenes.distance(name, x, y, torch.tensor(1.0)) <= 0).sum()) / 100**2


def unseen() -> list[scenes.Scene]:
    """The prompts of the score, the same every time."""
    pool = [scene for scene in scenes.scenes() if scene.unseen]
    return random.Random(PROMPTS).sample(pool, PROMPTS)


def made(folder: Path, asked: list[scenes.Scene]) -> Iterator[Frames]:
    """Clips of a pipeline, as the worker would write them but for the losses of H.264."""
    import diffusers

    (stage,) = [each for each in yaml.safe_load(REEL.read_text())["spec"]["stages"] if "diffusers" in each["generate"]]
    params = stage["generate"]["diffusers"]["params"]
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for number, scene in enumerate(asked):
        noise = torch.Generator().manual_seed(number)
        clip = pipeline(**{**params, "prompt": scene.prompt}, generator=noise, output_type="np").frames[0]
        yield (clip.clip(0, 1) * 255).round().astype(np.uint8)


def read(clip: Path) -> Frames:
    with av.open(str(clip)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def score(folder: Path) -> None:
    right: Counter[str] = Counter()
    asked = unseen()
    for scene, frames in zip(asked, made(folder, asked), strict=True):
        verdict = judge(frames)
        fits = verdict.fits(scene)
        right.update({name: int(holds) for name, holds in fits.items()}, all=int(all(fits.values())))
        if not all(fits.values()):
            print(f"{scene.prompt}: {verdict.colour} {verdict.form}, {verdict.direction}", flush=True)
    print(", ".join(f"{name} {right[name]} of {len(asked)}" for name in ("form", "colour", "direction", "all")))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clips", type=Path, nargs="*", help="MP4 files")
    parser.add_argument("--score", type=Path, metavar="FOLDER", help="of a pipeline")
    arguments = parser.parse_args()
    if not arguments.clips and not arguments.score:
        parser.error("name clips, or a pipeline with --score")
    # What is computed is so small that threads would mostly wait for each other.
    torch.set_num_threads(1)
    for clip in arguments.clips:
        verdict = judge(read(clip))
        print(f"{clip}: {verdict.colour} {verdict.form}, {verdict.direction}")
    if arguments.score:
        score(arguments.score)
    return 0


if __name__ == "__main__":
    sys.exit(main())
