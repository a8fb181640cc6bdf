"""Pictures from transformers in which words and pictures attend to each other: Stable Diffusion 3, Flux, their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers
import transformers

from zoo import autoencoders, text
from zoo.entry import Entry, Picture
from zoo.samplers import SHIFT, SHIFTING, TRAINED, flow, some
from zoo.unets import HOLE, IMAGE, SIZED


def sd3(channels: int = 4) -> dict[str, Any]:
    return {
        "tokenizer": text.clip_tokenizer(),
        "tokenizer_2": text.clip_tokenizer(),
        "tokenizer_3": text.t5_tokenizer(),
        "text_encoder": text.projecting_clip(),
        "text_encoder_2": text.projecting_clip(),
        "text_encoder_3": text.t5(),
        "vae": autoencoders.of_images(channels, **autoencoders.FLOWING),
        "transformer": diffusers.SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=channels,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=channels,
        ),
    }


MULTIMODAL: Final = {
    "patch_size": 1,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "axes_dims_rope": [4, 4, 8],
}


def flux(in_channels: int = 4, out_channels: int = 4) -> dict[str, Any]:
    return {
        "tokenizer": text.clip_tokenizer(),
        "tokenizer_2": text.t5_tokenizer(),
        "text_encoder": text.clip(),
        "text_encoder_2": text.t5(),
        "vae": autoencoders.of_images(1, **autoencoders.FLOWING),
        "transformer": diffusers.FluxTransformer2DModel(
            in_channels=in_channels, out_channels=out_channels, pooled_projection_dim=32, **MULTIMODAL
        ),
    }


def flux_2() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**text.LANGUAGE)),
        "vae": diffusers.AutoencoderKLFlux2(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
        ),
        "transformer": diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=96,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
    }


def chroma() -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.t5(),
        "vae": autoencoders.of_images(1, **autoencoders.FLOWING),
        "transformer": diffusers.ChromaTransformer2DModel(
            in_channels=4,
            approximator_num_channels=8,
            approximator_hidden_dim=32,
            approximator_layers=1,
            **MULTIMODAL,
        ),
    }


def ovis() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_3(),
        "vae": autoencoders.of_images(1, **autoencoders.FLOWING),
        "transformer": diffusers.OvisImageTransformer2DModel(in_channels=4, out_channels=4, **MULTIMODAL),
    }


def bria() -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.t5(),
        "vae": autoencoders.of_images(4, **autoencoders.FLOWING),
        "transformer": diffusers.BriaTransformer2DModel(in_channels=16, **MULTIMODAL),
    }


def hidream() -> dict[str, Any]:
    return {
        **{name: part for name, part in sd3().items() if name not in ("vae", "transformer")},
        "tokenizer_4": text.letters(),
        "text_encoder_4": transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**text.LANGUAGE, output_hidden_states=True)
        ),
        "vae": autoencoders.of_images(4, **autoencoders.FLOWING),
        "transformer": diffusers.HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_channels=[32, 32],
            text_emb_dim=64,
            num_routed_experts=4,
            num_activated_experts=2,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(32, 32),
            llama_layers=(0, 1),
            force_inference_output=True,
        ),
    }


FLOW: Final = flow(**SHIFT)
BENT: Final = flow(**SHIFTING)
"""Where the size of the picture shifts the flow."""
EULERS: Final = some(FLOW, "euler", "stochastic")
BENT_EULERS: Final = some(BENT, "euler", "stochastic")
ALL_BENT: Final = some(BENT, "euler", "stochastic", "lcm", "unipc")
SHORT: Final = {**SIZED, "max_sequence_length": 48}
SHORT_IMAGE: Final = {**IMAGE, **SHORT}


ENTRIES: Final[Mapping[str, Entry]] = {
    "sd3": Entry("StableDiffusion3Pipeline", sd3, SHORT, FLOW),
    "sd3-img2img": Entry("StableDiffusion3Img2ImgPipeline", sd3, SHORT_IMAGE, EULERS),
    "sd3-inpaint": Entry("StableDiffusion3InpaintPipeline", lambda: sd3(16), {**HOLE, **SHORT}, EULERS),
    "flux": Entry("FluxPipeline", flux, SHORT, ALL_BENT),
    "flux-img2img": Entry("FluxImg2ImgPipeline", flux, SHORT_IMAGE, BENT_EULERS),
    "flux-inpaint": Entry("FluxInpaintPipeline", flux, {**HOLE, **SHORT}, BENT_EULERS),
    "flux-kontext": Entry(
        "FluxKontextPipeline", flux, {**SHORT, "image": Picture(), "max_area": 256, "_auto_resize": False}, BENT_EULERS
    ),
    "flux-control": Entry(
        "FluxControlPipeline", lambda: flux(in_channels=8), {**SHORT, "control_image": Picture()}, BENT_EULERS
    ),
    "flux-fill": Entry("FluxFillPipeline", lambda: flux(in_channels=24), {**HOLE, **SHORT}, BENT_EULERS),
    "flux-2": Entry(
        "Flux2KleinPipeline",
        flux_2,
        {**SHORT, "image": None, "text_encoder_out_layers": [1, 2, 3]},
        some(BENT, "euler", "unipc"),
    ),
    "chroma": Entry("ChromaPipeline", chroma, SHORT, BENT_EULERS),
    "ovis-image": Entry("OvisImagePipeline", ovis, SHORT, BENT_EULERS),
    "hidream": Entry("HiDreamImagePipeline", hidream, SHORT, some(FLOW, "stochastic")),
    "bria": Entry("BriaPipeline", bria, SHORT, {**some(FLOW, "euler"), **some(TRAINED, "ddim", "euler-a")}),
}
