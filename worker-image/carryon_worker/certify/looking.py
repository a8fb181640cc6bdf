"""What a model says about itself before its weights are read: its pipeline, what that takes, which parts it has."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import diffusers

from carryon_core.messages import StoreConfig
from carryon_store import StoreError, open_store
from carryon_worker.failures import BadRequest
from carryon_worker.generators import arguments, models, pipelines

_INDEX: Final = "model_index.json"
_LARGEST: Final = 2**20
_LIBRARIES: Final = ("diffusers", "transformers")
_DENOISERS: Final = ("transformer", "unet", "prior", "decoder")
_UNKNOWN_SIDE: Final = 512
_ENCODED: Final = 8
"""Pixels that one number of a latent stands for where the decoder does not say."""


def look(model: str, pipeline: str | None) -> dict[str, Any]:
    """What is known of a pipeline, as JSON.

    Args:
        model: Folder, file:// or s3:// uri, or id on a hub.
        pipeline: Class, where it is not the one that the model names.

    Returns:
        Either `problem`, a sentence, or: `pipeline` and `scheduler`, classes; `imports`, pairs of library and class;
        `takes`, name -> whether the argument is required, its default if that is plain, and its type as a text; `side`,
        pixels, of pictures of the size that the model is made for.
    """
    try:
        index = _index(model)
        name = pipeline or str(index.get("_class_name", ""))
        if not name:
            raise BadRequest(f"model {model} names no pipeline in its {_INDEX}: name one")
        takes = arguments.accepted(pipelines.find(name).__call__)
    except BadRequest as refused:
        return {"problem": refused.message}
    parts = [entry for entry in index.values() if isinstance(entry, list) and len(entry) == 2 and all(entry)]
    scheduler = index.get("scheduler")
    folder = models.here(model)
    return {
        "pipeline": name,
        "scheduler": str(scheduler[1] or "") if isinstance(scheduler, list) else "",
        "imports": [["diffusers", name], *([each for each in parts if each[0] in _LIBRARIES])],
        "takes": {each.name: _described(each) for each in takes.values() if each.name not in arguments.OURS},
        "side": _UNKNOWN_SIDE if folder is None else _side(folder),
    }


def _index(model: str) -> Mapping[str, Any]:
    try:
        if model.startswith("s3://"):
            index = json.loads(open_store(StoreConfig(uri=model)).get(_INDEX, max_bytes=_LARGEST))
        elif folder := models.here(model):
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        elif model.startswith(("/", "file:", ".", "~")):
            raise BadRequest(f"model {model}: there is no such folder")
        else:
            loader: Any = diffusers.DiffusionPipeline
            index = loader.load_config(model)
    except (OSError, ValueError, StoreError) as error:
        raise BadRequest(f"model {model}: its {_INDEX} can't be read: {str(error).splitlines()[0]}") from None
    if not isinstance(index, Mapping):
        raise BadRequest(f"model {model}: its {_INDEX} holds no object")
    return index


def _described(parameter: inspect.Parameter) -> dict[str, Any]:
    required = parameter.default is parameter.empty
    plain = not required and isinstance(parameter.default, bool | int | float | str | None)
    kind = parameter.annotation
    return {
        "required": required,
        "default": parameter.default if plain else None,
        "kind": "" if kind is parameter.empty else kind if isinstance(kind, str) else inspect.formatannotation(kind),
    }


def _side(folder: Path) -> int:
    """Pixels, from what the denoiser's configuration says about latents."""
    for name in _DENOISERS:
        sample = _config(folder / name).get("sample_size")
        side = max(sample) if isinstance(sample, list) and sample else sample
        if isinstance(side, int):
            blocks = _config(folder / "vae").get("block_out_channels")
            return side * (2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else _ENCODED)
    return _UNKNOWN_SIDE


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
