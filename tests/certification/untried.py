"""Why a pipeline of diffusers is not in the zoo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import diffusers

_BY_NAME: Final[Mapping[str, str]] = {
    r"Modular": "a modular pipeline is put together from blocks: the worker loads none",
    r"Onnx": "runs on ONNX, which the worker does not have",
    r"^Cosmos(?!3)": "has a safety checker that comes from a hub (`cosmos_guardrail`) and can't be left out",
    r"^Allegro": "decodes in tiles only: certification has no way to set the knob",
    r"^Marigold": "makes depths or normals: the worker writes pictures, clips and sound",
    r"(Prior|PriorRedux|PriorEmb2Emb|LatentUpsample)Pipeline$": "makes what another pipeline goes on from",
    r"^(KandinskyV22|KandinskyV22Controlnet|KandinskyV22Inpaint|KandinskyV22Img2Img|Kandinsky|KandinskyImg2Img"
    r"|KandinskyInpaint|StableCascadeDecoder|WuerstchenDecoder)(Img2Img)?Pipeline$": (
        "takes what another pipeline made, as tensors: use the pipeline that does both"
    ),
    r"^(DiffusionGemma|LLaDA2)": "writes text",
    r"^RFD4": "makes proteins",
}
_ELSE: Final = "no tiny model has been built of it yet"
BASES: Final = frozenset({"DiffusionPipeline"})


def why(name: str) -> str:
    """A clause.

    Args:
        name: Of a class in diffusers.
    """
    kind: Any = getattr(diffusers, name)
    if ".dummy_" in kind.__module__:
        return f"needs {', '.join(f'`{each}`' for each in kind._backends)}, not all of which are installed here"
    if ".deprecated" in kind.__module__:
        return "deprecated by diffusers"
    return next((reason for pattern, reason in _BY_NAME.items() if re.search(pattern, name)), _ELSE)
