"""What a pipeline is called with where the user does not say: chosen by the names of its arguments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STEPS: Final = 8
FRAMES: Final = 9
"""One more than a multiple of what any decoder of clips packs into one."""
_PROMPT: Final = "a red balloon over dunes at dawn, 35mm"
_NEGATIVE: Final = "blurry"
_GIVEN_ANYWAY: Final = ("image", "mask_image", "control_image")
"""Pictures that most pipelines need although their signatures do not say so."""
_PLAIN: Final[Mapping[str, Any]] = {
    "class_labels": [1],
    "batch_size": 1,
    "audio_length_in_s": 1.0,
    "max_frames": FRAMES,
}


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument that a pipeline takes.

    Attributes:
        required: Whether it has no default.
        default: If it is plain; else None.
        kind: Its type, as its signature has it.
    """

    required: bool
    default: Any
    kind: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that is to be drawn.

    Attributes:
        mask: Whether it is black and white.
        width: Pixels.
        height: Pixels.
        frame: Number in its clip; in each, shapes lie elsewhere.
    """

    mask: bool
    width: int
    height: int
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a pipeline is called with.

    Attributes:
        params: Name -> value; a `Drawing`, or a list of them, where a picture or a clip belongs.
        missing: What it needs besides, and nobody can guess.
    """

    params: Mapping[str, Any]
    missing: tuple[str, ...]


def choose(takes: Mapping[str, Argument], given: Mapping[str, Any], side: int) -> Chosen:
    """What a pipeline is called with.

    Args:
        takes: Its arguments by name.
        given: What the user says; left as it is.
        side: Pixels of a picture of the size that the model is made for.
    """
    width, height = (_number(name, takes, given) or side for name in ("width", "height"))
    frames = _number("num_frames", takes, given) or FRAMES
    chosen: dict[str, Any] = dict(given)
    missing = []
    for name, argument in takes.items():
        if name in given:
            continue
        if name == "num_inference_steps":
            chosen[name] = STEPS
        elif name in ("prompt", "negative_prompt") and argument.default in (None, ""):
            chosen[name] = _PROMPT if name == "prompt" else _NEGATIVE
        elif name in _GIVEN_ANYWAY or (name == "video" and "image" not in takes):
            chosen[name] = _drawn(name, width, height, frames)
        elif argument.required:
            value = _required(name, argument, (width, height), frames)
            if value is None:
                missing.append(name)
            else:
                chosen[name] = value
    return Chosen(chosen, tuple(missing))


def lacking(pipeline: str, missing: tuple[str, ...], takes: Mapping[str, Argument]) -> str:
    """Says what a pipeline needs that nobody can guess."""
    tensors = [name for name in missing if "Tensor" in takes[name].kind and "PIL" not in takes[name].kind]
    if tensors:
        return f"{pipeline} needs {', '.join(tensors)}, which are tensors: a job has no way to give them"
    ways = " ".join(f"--param {name}=..." for name in missing)
    return f"{pipeline} needs {', '.join(missing)}, which can't be guessed: pass {ways}"


def _number(name: str, takes: Mapping[str, Argument], given: Mapping[str, Any]) -> int | None:
    value = given.get(name)
    if value is None and name in takes:
        value = takes[name].default
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _required(name: str, argument: Argument, size: tuple[int, int], frames: int) -> Any:
    if name in _PLAIN:
        return _PLAIN[name]
    if name == "num_frames":
        return FRAMES
    if name in ("width", "height"):
        return size[name == "height"]
    if "prompt" in name and "str" in argument.kind:
        return _PROMPT
    if "embed" in name or "latent" in name:
        return None
    pictured = "PIL" in argument.kind or "PipelineImageInput" in argument.kind
    if pictured or any(word in name for word in ("image", "mask", "video", "frames")):
        return _drawn(name, *size, frames)
    return None


def _drawn(name: str, width: int, height: int, frames: int) -> Any:
    mask = "mask" in name
    if "video" in name or "frames" in name:
        return [Drawing(mask, width, height, frame) for frame in range(frames)]
    return Drawing(mask, width, height)
