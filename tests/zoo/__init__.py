"""Tiny pipelines of many families with random weights, each built in code within a second and saved to a folder.

What they paint means nothing: they are there to be interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from zoo import clips, clips_of_wan, multimodal, other_media, transformers_of_images, unets
from zoo.entry import Entry

ENTRIES: Final[Mapping[str, Entry]] = {
    **unets.ENTRIES,
    **multimodal.ENTRIES,
    **transformers_of_images.ENTRIES,
    **clips.ENTRIES,
    **clips_of_wan.ENTRIES,
    **other_media.ENTRIES,
}
QUIET: Final[Mapping[str, Entry]] = {"framepack-quiet": clips.ENTRIES["framepack"]}
"""Those whose weights stay as they are drawn, so that frames in a row are alike; nobody certifies them."""
_BETWEEN: Final = "+"
_LAST: Final = (
    "proj_out",
    "proj_out_2",
    "conv_out",
    "out_layer",
    "final_layer",
    "all_final_layer",
    "proj_to_clip_embeddings",
)
_LOUDER: Final = 6.0


def parse(name: str) -> tuple[Entry, str]:
    """An entry and its sampler, of a name such as sd+euler-a; of one without a sampler, the one it is shipped with."""
    model, _, sampler = name.partition(_BETWEEN)
    entry = {**ENTRIES, **QUIET}[model]
    return entry, sampler or entry.default


def variants(*models: str) -> list[str]:
    """Names of some entries with each of their samplers; of all, where none is named."""
    return [f"{model}{_BETWEEN}{sampler}" for model in models or ENTRIES for sampler in ENTRIES[model].samplers]


def build(name: str, folder: Path) -> None:
    """Write a pipeline into a folder, with weights that are the same every time."""
    entry, sampler = parse(name)
    torch.manual_seed(3)
    with torch.no_grad():
        pipeline = entry.build(sampler)
        if name not in QUIET:
            for component in pipeline.components.values():
                _make_heard(component)
    pipeline.save_pretrained(folder)


def _make_heard(component: Any) -> None:
    """Let what a denoiser says matter: random weights whisper, and a wrong word would be rounded away in a picture."""
    if not isinstance(component, diffusers.ModelMixin):
        return
    decoder: Any = getattr(component, "decoder", None)
    heads = [getattr(component, name) for name in _LAST if hasattr(component, name)]
    if decoder is not None:
        heads = [getattr(decoder, name) for name in ("conv_out", "proj_out") if hasattr(decoder, name)][:1]
    elif not heads and hasattr(component, "norm_out"):
        heads = [component.norm_out]
    for head in heads:
        # Where half of what it says is a variance, that would be one of the exponent.
        if getattr(head, "out_channels", 0) == 2 * component.config.get("in_channels", -1):
            continue
        for weights in head.parameters():
            if weights.ndim > 1:
                weights.mul_(_LOUDER)
