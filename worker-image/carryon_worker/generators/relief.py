"""Out of memory: what would help, given the pipeline and the knobs in force. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from carryon_worker.failures import Shortage

_DOING: Final = {
    "vae": " in the VAE",
    "denoiser": " in the denoiser",
    "encoder": " in an encoder of the prompt",
    "loading": " while the model was loaded",
}
_GIB: Final = 2**30
_OTHERS: Final = 2 * _GIB
"""Bytes from which others are at work on a GPU: CUDA itself takes less."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when memory runs out.

    Attributes:
        shortage: Whose memory.
        target: Device that computes, cuda or cpu.
        place: What was going on: vae, denoiser, encoder, loading; "" where that is not known.
        in_force: Memory knobs that took effect.
        possible: Names of knobs, and of kinds of offload, that this pipeline has.
        dtype: Of the weights.
        sizes: Arguments of the pipeline that make it smaller.
        asked: What was asked for, such as 2.00 GiB; "" where that is not known.
        free: Bytes; None where that is not known.
        total: Bytes; None where that is not known.
        others: Bytes of the GPU that other programs hold.
    """

    shortage: Shortage
    target: str
    place: str
    in_force: Mapping[str, Any]
    possible: frozenset[str]
    dtype: str
    sizes: tuple[str, ...]
    asked: str = ""
    free: int | None = None
    total: int | None = None
    others: int = 0


def sentence(situation: Situation) -> str:
    """What happened, and what would help: the cheapest first."""
    on_gpu = situation.shortage is Shortage.GPU
    whose = "the GPU" if on_gpu else "the worker"
    used = ", ".join(f"{name}: {_shown(value)}" for name, value in situation.in_force.items())
    helps = [*(_of_gpu(situation) if on_gpu else _of_host(situation))]
    return (
        f"{whose} ran out of memory{_DOING.get(situation.place, '')}{_numbers(situation)}"
        f"{f', with {used}' if used else ''}. What would help, the cheapest first: {'; '.join(helps)}"
    )


def _of_gpu(situation: Situation) -> Iterator[str]:
    if situation.others > _OTHERS:
        yield f"a GPU of its own: other programs hold {situation.others / _GIB:.1f} GiB of this one"
    if situation.place in ("vae", ""):
        yield from _decoding(situation)
    steps = list(_offloading(situation))
    # One that is hardly slower comes before the cast, which changes the picture a little; the others after it.
    yield from steps[:1] if "offload" not in situation.in_force else ()
    yield from _casting(situation)
    yield from steps if "offload" in situation.in_force else steps[1:]
    yield from _smaller(situation)
    yield "a GPU with more memory (resources, nodeSelector)"


def _of_host(situation: Situation) -> Iterator[str]:
    yield "more of it (resources.limits.memory)"
    if situation.dtype == "float32":
        yield "dtype: bfloat16"
    if situation.in_force.get("groupOffload", {}).get("streams"):
        yield "memory.groupOffload.streams: false, because they pin a copy of the weights"
    if situation.target == "cpu":
        if situation.place in ("vae", ""):
            yield from _decoding(situation)
        yield from _casting(situation)
        yield from _smaller(situation)
    elif "offload" in situation.in_force:
        yield "memory.offload: none on a GPU that holds the model, because what is offloaded lies here"


def _decoding(situation: Situation) -> Iterator[str]:
    for knob in ("tiling", "slicing"):
        if knob in situation.possible and knob not in situation.in_force:
            yield f"memory.{knob}: true"


def _casting(situation: Situation) -> Iterator[str]:
    if "layerwiseCasting" in situation.possible and "layerwiseCasting" not in situation.in_force:
        yield "memory.layerwiseCasting: float8_e4m3fn"


def _offloading(situation: Situation) -> Iterator[str]:
    """The kinds of offload that keep less on the GPU than the one in force."""
    ladder = ("model", "group", "sequential")
    now = situation.in_force.get("offload")
    by_leaf = situation.in_force.get("groupOffload", {}).get("level") == "leaf"
    if now == "group" and not by_leaf:
        yield "memory.groupOffload.level: leaf"
    for kind in ladder[ladder.index(now) + 1 :] if now else ladder:
        # Single layers are what either of the two comes to.
        if kind in situation.possible and not by_leaf:
            yield f"memory.offload: {kind}"


def _smaller(situation: Situation) -> Iterator[str]:
    if situation.sizes:
        yield f"a smaller {' or '.join(situation.sizes)}"


def _numbers(situation: Situation) -> str:
    told = []
    if situation.asked:
        told.append(f"{situation.asked} asked for")
    if situation.free is not None and situation.total is not None:
        told.append(f"{situation.free / _GIB:.1f} of {situation.total / _GIB:.1f} GiB free")
    return f" ({', '.join(told)})" if told else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_shown(inner)}' for name, inner in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)
