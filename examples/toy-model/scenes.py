"""What the toy model knows: a coloured form that moves before a landscape. Its words, its prompts, and how they look.

A scene is drawn from signed distances, so edges are smooth, and any number of scenes is drawn at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

SIZE = 64
"""Pixels, both ways."""
FRAMES = 16
GROUND = 50.0
"""Row where the ground begins."""

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "orange": (250, 140, 30),
    "yellow": (250, 225, 50),
    "green": (30, 150, 60),
    "blue": (40, 80, 225),
    "purple": (145, 50, 190),
    "white": (255, 255, 255),
}
PLACES: dict[str, tuple[Colour, Colour]] = {
    "at night": ((20, 24, 56), (48, 50, 78)),
    "on a meadow": ((140, 195, 230), (112, 140, 82)),
    "in the desert": ((226, 208, 180), (186, 140, 92)),
    "in the snow": ((150, 160, 178), (232, 238, 244)),
    "at sea": ((176, 204, 210), (34, 84, 118)),
}
"""Sky and ground of each."""
FORMS = ("circle", "square", "triangle", "star")
MOTIONS = {
    "moves to the left": "left",
    "moves to the right": "right",
    "rolls to the left": "left",
    "rolls to the right": "right",
    "rises": "up",
    "falls": "down",
    "bounces": "up and down",
}
"""How it moves -> where to."""
PART_UNSEEN = 7
"""One in so many combinations of form, colour and motion is kept out of what the model learns from."""


@dataclass(frozen=True)
class Scene:
    form: str
    colour: str
    motion: str
    place: str

    @property
    def prompt(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.form} {self.motion} {self.place}"

    @property
    def direction(self) -> str:
        return MOTIONS[self.motion]

    @property
    def unseen(self) -> bool:
        """Whether the model has never seen this form in this colour move like this, in any place."""
        numbers = FORMS.index(self.form), list(COLOURS).index(self.colour), list(MOTIONS).index(self.motion)
        form, colour, motion = numbers
        return (form * 2 + colour * 3 + motion) % PART_UNSEEN == 0


def scenes() -> Iterator[Scene]:
    for form, colour, motion, place in product(FORMS, COLOURS, MOTIONS, PLACES):
        yield Scene(form, colour, motion, place)


def words() -> list[str]:
    """Each word that a prompt may hold, once."""
    return sorted({word for scene in scenes() for word in scene.prompt.split()})


def distance(form: str, x: torch.Tensor, y: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Signed distance to a form's edge, in pixels, negative within; x to the right and y down from its middle."""
    if form == "circle":
        return torch.hypot(x, y) - radius
    if form == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.86 * radius
    # Folded into the half sector beside a tip that points up, where the edge is one straight line.
    tips, depth = (3, 0.5) if form == "triangle" else (5, 0.45)
    sector = 2 * math.pi / tips
    angle = torch.atan2(x, -y)
    angle = (angle - sector * torch.round(angle / sector)).abs()
    far = torch.hypot(x, y)
    px, py = far * torch.sin(angle), far * torch.cos(angle)
    size = 1.2 * radius
    inner = (depth * size * math.sin(sector / 2), depth * size * math.cos(sector / 2))
    # From the tip (0, size) to the notch, or the middle of a triangle's side.
    ex, ey = inner[0], inner[1] - size
    return ((px - 0) * -ey + (py - size) * ex) / torch.hypot(ex, ey)


@dataclass(frozen=True)
class Path:
    """Where the middle of a form is in each frame, how it is turned, and how large it is."""

    x: Sequence[float]
    y: Sequence[float]
    angle: Sequence[float]
    radius: float


def path(motion: str, drawn: random.Random) -> Path:
    radius = 14.0
    times = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    on_ground = GROUND - radius
    x, y, angle = drawn.uniform(30.5, 33.5), drawn.uniform(24.5, 27.5), 0.0
    if motion.endswith(("left", "right")):
        sign = -1 if motion.endswith("left") else 1
        travel = 30.0
        middle = SIZE / 2 + drawn.uniform(-1.5, 1.5)
        xs = [middle + sign * travel * (time - 0.5) for time in times]
        if motion.startswith("rolls"):
            return Path(xs, [on_ground] * FRAMES, [(at - xs[0]) / radius for at in xs], radius)
        return Path(xs, [y] * FRAMES, [angle] * FRAMES, radius)
    top = radius + drawn.uniform(1, 3)
    if motion == "rises":
        ys = [on_ground + (top - on_ground) * time for time in times]
    elif motion == "falls":
        ys = [top + (on_ground - top) * time**2 for time in times]
    else:
        ys = [on_ground + (top - on_ground) * abs(math.cos(2 * math.pi * time)) for time in times]
    return Path([x] * FRAMES, ys, [angle] * FRAMES, radius)


def coverage(form: str, motion: str, drawn: random.Random) -> torch.Tensor:
    """How much of each pixel a form covers on its way.

    Returns:
        (frames, height, width), 0 to 1.
    """
    rows = torch.arange(SIZE).view(1, SIZE, 1) + 0.5
    columns = torch.arange(SIZE).view(1, 1, SIZE) + 0.5
    way = path(motion, drawn)
    x, y, angle = (torch.tensor(each).view(-1, 1, 1) for each in (way.x, way.y, way.angle))
    dx, dy = columns - x, rows - y
    turned = dx * torch.cos(angle) + dy * torch.sin(angle), dy * torch.cos(angle) - dx * torch.sin(angle)
    return (0.5 - distance(form, *turned, torch.tensor(way.radius))).clamp(0, 1)


def above() -> torch.Tensor:
    """Which pixels are of the sky: (height, 1)."""
    return (torch.arange(SIZE) + 0.5 < GROUND).view(SIZE, 1)


def paint(covered: torch.Tensor, painted: Sequence[Scene]) -> torch.Tensor:
    """Clips of some scenes.

    Args:
        covered: (scenes, frames, height, width), 0 to 1.
        painted: What gives the colours.

    Returns:
        (scenes, 3, frames, height, width), -1 to 1.
    """
    sky, ground = (torch.tensor([PLACES[scene.place][part] for scene in painted]) for part in (0, 1))
    behind = torch.where(above(), sky.view(-1, 3, 1, 1, 1), ground.view(-1, 3, 1, 1, 1)) / 127.5 - 1
    before = torch.tensor([COLOURS[scene.colour] for scene in painted]).view(-1, 3, 1, 1, 1) / 127.5 - 1
    return torch.lerp(behind, before, covered.unsqueeze(1))


def draw(drawn_scenes: Sequence[Scene], drawn: random.Random) -> torch.Tensor:
    """Clips of some scenes, as `paint` returns them."""
    return paint(torch.stack([coverage(scene.form, scene.motion, drawn) for scene in drawn_scenes]), drawn_scenes)
