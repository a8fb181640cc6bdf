"""Clips from Wan and what was built on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers

from zoo import autoencoders, text
from zoo.clips import CLIP, FLOW, FROM_IMAGE, SQUARE
from zoo.entry import Entry, Picture, Sampler
from zoo.samplers import VELOCITY, some


def of_umt5(transformer: Any) -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.umt5(),
        "vae": autoencoders.of_wan(),
        "transformer": transformer,
    }


WAN: Final = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 64,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 64,
}


def wan_transformer(**more: Any) -> Any:
    return diffusers.WanTransformer3DModel(**{"in_channels": 16, "out_channels": 16, **WAN, **more})


def wan() -> dict[str, Any]:
    """Wan 2.2: two transformers, one for the first steps."""
    return {**of_umt5(wan_transformer()), "transformer_2": wan_transformer(), "boundary_ratio": 0.875}


def wan_1() -> dict[str, Any]:
    return of_umt5(wan_transformer())


def wan_i2v() -> dict[str, Any]:
    return {
        **of_umt5(wan_transformer(in_channels=36, image_dim=32)),
        "image_encoder": text.clip_vision(),
        "image_processor": text.clip_pictures(),
    }


def wan_ti2v() -> dict[str, Any]:
    """As Wan 2.2 of 5B: what the clip begins with takes the place of noise."""
    return {**of_umt5(wan_transformer()), "expand_timesteps": True}


def wan_vace() -> dict[str, Any]:
    return of_umt5(
        diffusers.WanVACETransformer3DModel(
            in_channels=16, out_channels=16, vace_layers=[0], vace_in_channels=96, **WAN
        )
    )


def skyreels() -> dict[str, Any]:
    return of_umt5(diffusers.SkyReelsV2Transformer3DModel(in_channels=16, out_channels=16, **WAN))


def helios() -> dict[str, Any]:
    """Chunk by chunk, each on top of those before it."""
    transformer = diffusers.HeliosTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=32,
        freq_dim=64,
        ffn_dim=32,
        num_layers=1,
        rope_dim=(4, 4, 4),
    )
    return of_umt5(transformer)


OF_WAN: Final = {
    "unipc": Sampler("UniPCMultistepScheduler", VELOCITY),
    **{n: s for n, s in FLOW.items() if n != "unipc"},
}


FEW_OF_WAN: Final = some(OF_WAN, "unipc", "euler", "stochastic")


ENTRIES: Final[Mapping[str, Entry]] = {
    "wan": Entry("WanPipeline", wan, CLIP, OF_WAN, note="two transformers"),
    "wan-2.1": Entry("WanPipeline", wan_1, CLIP, FEW_OF_WAN),
    "wan-i2v": Entry("WanImageToVideoPipeline", wan_i2v, {**FROM_IMAGE}, FEW_OF_WAN),
    "wan-ti2v": Entry("WanImageToVideoPipeline", wan_ti2v, {**FROM_IMAGE}, FEW_OF_WAN, note="2.2, 5B"),
    "wan-v2v": Entry(
        "WanVideoToVideoPipeline",
        wan_1,
        {**SQUARE, "max_sequence_length": 16, "video": [Picture(32)] * 9},
        some(OF_WAN, "unipc", "euler"),
    ),
    "wan-vace": Entry(
        "WanVACEPipeline",
        wan_vace,
        {**CLIP, "video": [Picture(32)] * 9, "mask": [Picture(32, "L")] * 9},
        FEW_OF_WAN,
    ),
    "skyreels": Entry("SkyReelsV2Pipeline", skyreels, CLIP, FEW_OF_WAN),
    "skyreels-forcing": Entry(
        "SkyReelsV2DiffusionForcingPipeline",
        skyreels,
        {
            **CLIP,
            "height": 16,
            "width": 16,
            "num_frames": 17,
            "base_num_frames": 9,
            "overlap_history": 5,
            "ar_step": 2,
            "addnoise_condition": 20,
        },
        some(OF_WAN, "unipc"),
    ),
    "helios": Entry(
        "HeliosPipeline",
        helios,
        {**SQUARE, "max_sequence_length": 16, "num_frames": 18, "num_latent_frames_per_chunk": 3},
        {"helios": Sampler("HeliosScheduler", {"stages": 1, "stage_range": [0, 1], "gamma": 1 / 3})},
    ),
}
