"""Tiny pipelines of many families with made-up weights, each built in code within a second and saved to a folder.

    python tests/tiny_models.py FOLDER sd sdxl ...

What they paint means nothing: they are there to be interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from PIL import Image

SYMBOLS: Final = sorted({chr(code) for code in range(33, 127)} | {"Ġ"})


def clip_tokenizer() -> Any:
    words = ["<|startoftext|>", "<|endoftext|>", *SYMBOLS, *(f"{symbol}</w>" for symbol in SYMBOLS)]
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )


def clip_config(**more: Any) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=32,
        **more,
    )


def t5_tokenizer() -> Any:
    pieces = [symbol for symbol in SYMBOLS if symbol.isascii()]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((piece, -8.0) for piece in pieces)]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0)


def llama_tokenizer() -> Any:
    pieces = ["<unk>", "<s>", "</s>", "<pad>", *(symbol for symbol in SYMBOLS if symbol.isascii())]
    return transformers.LlamaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], pad_token="<pad>", model_max_length=64
    )


def t5_config(kind: Any) -> Any:
    return kind(vocab_size=120, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)


def image_vae(latent_channels: int = 4, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=8,
        **more,
    )


def wan_vae() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        **more,
    )


def sd(scheduler: Any = None) -> Any:
    return diffusers.StableDiffusionPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=transformers.CLIPTextModel(clip_config()),
        vae=image_vae(),
        unet=unet(cross_attention_dim=32, attention_head_dim=8),
        scheduler=scheduler or diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    return diffusers.StableDiffusionXLPipeline(
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        text_encoder=transformers.CLIPTextModel(clip_config()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(clip_config()),
        vae=image_vae(sample_size=16),
        unet=unet(
            cross_attention_dim=64,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
        ),
        # Draws noise in each step.
        scheduler=diffusers.EulerAncestralDiscreteScheduler(),
    )


def flux() -> Any:
    return diffusers.FluxPipeline(
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        text_encoder=transformers.CLIPTextModel(clip_config()),
        text_encoder_2=transformers.T5EncoderModel(t5_config(transformers.T5Config)),
        vae=image_vae(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035),
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
    )


def sd3() -> Any:
    return diffusers.StableDiffusion3Pipeline(
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5_tokenizer(),
        text_encoder=transformers.CLIPTextModelWithProjection(clip_config()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(clip_config()),
        text_encoder_3=transformers.T5EncoderModel(t5_config(transformers.T5Config)),
        vae=image_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035),
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=4,
        ),
        # Draws from the generator of the process, not from the pipeline's own.
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True),
    )


def wan_transformer() -> Any:
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=64,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=64,
    )


def wan() -> Any:
    """Wan 2.2: two transformers, and a scheduler that remembers."""
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=transformers.UMT5EncoderModel(t5_config(transformers.UMT5Config)),
        vae=wan_vae(),
        transformer=wan_transformer(),
        transformer_2=wan_transformer(),
        boundary_ratio=0.875,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def ltx() -> Any:
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return diffusers.LTXPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=transformers.T5EncoderModel(t5_config(transformers.T5Config)),
        vae=vae,
        transformer=diffusers.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=32,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    )


def wan_i2v() -> Any:
    """As Wan 2.2 of 5B: what the clip begins with takes the place of noise."""
    return diffusers.WanImageToVideoPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=transformers.UMT5EncoderModel(t5_config(transformers.UMT5Config)),
        vae=wan_vae(),
        transformer=wan_transformer(),
        expand_timesteps=True,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def ltx_condition() -> Any:
    return diffusers.LTXConditionPipeline(**ltx().components)


def framepack(scheduler: Any = None) -> Any:
    """HunyuanVideo Framepack: sections one after the other, each with a loop of its own."""
    sight = {"hidden_size": 16, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 4}
    return diffusers.HunyuanVideoFramepackPipeline(
        tokenizer=llama_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        text_encoder=transformers.LlamaModel(
            transformers.LlamaConfig(
                vocab_size=120, hidden_size=16, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4
            )
        ),
        text_encoder_2=transformers.CLIPTextModel(clip_config()),
        image_encoder=transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(image_size=32, patch_size=16, **sight)
        ),
        feature_extractor=transformers.SiglipImageProcessor(size={"height": 32, "width": 32}),
        vae=diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2
        ),
        transformer=diffusers.HunyuanVideoFramepackTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=16,
            pooled_projection_dim=32,
            rope_axes_dim=(2, 4, 4),
            has_image_proj=True,
            image_proj_dim=16,
            has_clean_x_embedder=True,
        ),
        scheduler=scheduler or diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def framepack_noise() -> Any:
    """Draws from the generator of the process in each step."""
    return framepack(diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0, stochastic_sampling=True))


def sd_dpm() -> Any:
    """A sampler that remembers, and draws noise."""
    return sd(
        diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True, steps_offset=1)
    )


def sd_pndm() -> Any:
    return sd(diffusers.PNDMScheduler(skip_prk_steps=False, steps_offset=1))


def sd_heun() -> Any:
    """Two calls a step."""
    return sd(diffusers.HeunDiscreteScheduler(steps_offset=1))


def sd_lcm() -> Any:
    return sd(diffusers.LCMScheduler(steps_offset=1))


PICTURE: Final = {"prompt": "dunes at dawn", "height": 16, "width": 16}
CLIP: Final = {"prompt": "dunes at dawn", "height": 32, "width": 32, "num_frames": 9}
LONG: Final = {
    "prompt": "dunes at dawn",
    "prompt_template": {"template": "{}", "crop_start": 0},
    "height": 32,
    "width": 32,
    "num_frames": 36,
    "latent_window_size": 3,
    "max_sequence_length": 16,
}
"""Four sections of 12 frames; the picture that they begin with aside."""
SEEN: Final = "seen.png"
"""Stands for a picture that a pipeline is given; it lies in the folder of a model that needs one."""
SECTIONS: Final = {
    **CLIP,
    "image": SEEN,
    "num_frames": 17,
    "latent_window_size": 2,
    "max_sequence_length": 16,
    "prompt_template": {"template": "{}", "crop_start": 0},
}
"""A clip of four sections."""
MODELS: Final[Mapping[str, tuple[Callable[[], Any], Mapping[str, Any]]]] = {
    "sd": (sd, PICTURE),
    "sdxl": (sdxl, PICTURE),
    "flux": (flux, {**PICTURE, "max_sequence_length": 48}),
    "sd3": (sd3, {**PICTURE, "max_sequence_length": 48}),
    "wan": (wan, {**CLIP, "max_sequence_length": 16}),
    "ltx": (ltx, {**CLIP, "max_sequence_length": 16}),
    "sd-dpm": (sd_dpm, PICTURE),
    "sd-pndm": (sd_pndm, PICTURE),
    "sd-heun": (sd_heun, PICTURE),
    "sd-lcm": (sd_lcm, PICTURE),
    "framepack": (framepack, SECTIONS),
    "framepack-noise": (framepack_noise, {**SECTIONS, "sampling_type": "vanilla"}),
}
"""Name -> how it is built, and what it is called with, the number of steps aside."""
BEGINNING: Final[Mapping[str, tuple[Callable[[], Any], Mapping[str, Any]]]] = {
    "framepack": (framepack, LONG),
    "wan-i2v": (wan_i2v, {**CLIP, "max_sequence_length": 16}),
    "ltx-condition": (ltx_condition, {**CLIP, "max_sequence_length": 16}),
}
"""Those that are given how their clip begins, likewise."""


def build(name: str, folder: Path) -> None:
    """Write a pipeline into a folder, with weights that are the same every time."""
    torch.manual_seed(3)
    with torch.no_grad():
        {**BEGINNING, **MODELS}[name][0]().save_pretrained(folder)
    if name in MODELS and SEEN in map(str, MODELS[name][1].values()):
        Image.linear_gradient("L").convert("RGB").resize((32, 32)).save(folder / SEEN)


if __name__ == "__main__":
    for model in sys.argv[2:]:
        build(model, Path(sys.argv[1]) / model)
