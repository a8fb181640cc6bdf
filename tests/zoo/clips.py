"""Clips, from UNets and from transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers

from zoo import autoencoders, text, unets
from zoo.entry import Entry, Picture, Sampler
from zoo.samplers import NOISE, SHIFT, TRAINED, flow, some
from zoo.transformers_of_images import kandinsky_5_transformer
from zoo.unets import PROMPT

SQUARE: Final = {**PROMPT, "height": 32, "width": 32}


def animatediff() -> dict[str, Any]:
    adapter = diffusers.MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
    )
    # One that has learned nothing moves nothing.
    for name, weights in adapter.named_parameters():
        if "proj_out" in name:
            weights.data.normal_(std=0.1)
    parts = unets.sd()
    return {**{name: parts[name] for name in ("tokenizer", "text_encoder", "vae", "unet")}, "motion_adapter": adapter}


def stable_video() -> dict[str, Any]:
    return {
        # The size that the pipeline brings every picture to.
        "image_encoder": text.projecting_clip_vision(224),
        "feature_extractor": text.clip_pictures(),
        "vae": autoencoders.temporal(),
        "unet": diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=(32, 32),
            layers_per_block=1,
            sample_size=8,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            cross_attention_dim=32,
            num_attention_heads=4,
            projection_class_embeddings_input_dim=96,
            addition_time_embed_dim=32,
        ),
    }


def model_scope() -> dict[str, Any]:
    return {
        "tokenizer": text.clip_tokenizer(),
        "text_encoder": text.clip(),
        "vae": autoencoders.of_images(),
        "unet": diffusers.UNet3DConditionModel(
            sample_size=8,
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=2,
        ),
    }


def of_t5(vae: Any, transformer: Any) -> dict[str, Any]:
    return {"tokenizer": text.t5_tokenizer(), "text_encoder": text.t5(), "vae": vae, "transformer": transformer}


def ltx() -> dict[str, Any]:
    return of_t5(autoencoders.of_ltx(), ltx_transformer())


def ltx_transformer() -> Any:
    return diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )


HUNYUAN: Final = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 10,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "patch_size": 2,
    "patch_size_t": 1,
    "guidance_embeds": True,
    "text_embed_dim": 32,
    "pooled_projection_dim": 32,
    "rope_axes_dim": (2, 4, 4),
}


def of_llama(transformer: Any) -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.llama(),
        "tokenizer_2": text.clip_tokenizer(),
        "text_encoder_2": text.clip(),
        "vae": autoencoders.of_hunyuan_clips(),
        "transformer": transformer,
    }


def hunyuan() -> dict[str, Any]:
    return of_llama(diffusers.HunyuanVideoTransformer3DModel(**HUNYUAN))


def framepack() -> dict[str, Any]:
    """Section by section, each on top of those before it."""
    transformer = diffusers.HunyuanVideoFramepackTransformer3DModel(
        **HUNYUAN, image_condition_type=None, has_image_proj=True, image_proj_dim=32, has_clean_x_embedder=True
    )
    return {**of_llama(transformer), "image_encoder": text.siglip(), "feature_extractor": text.siglip_pictures()}


def kandinsky_5() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_vl(),
        "tokenizer_2": text.clip_tokenizer(),
        "text_encoder_2": text.clip(),
        "vae": autoencoders.of_hunyuan_clips(),
        "transformer": kandinsky_5_transformer(),
    }


def cogvideo(in_channels: int = 4, heads: int = 4, **more: Any) -> dict[str, Any]:
    return of_t5(
        autoencoders.of_cogvideo(),
        diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=heads,
            attention_head_dim=32 // heads,
            in_channels=in_channels,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=1,
            sample_width=2,
            sample_height=2,
            sample_frames=9,
            patch_size=2,
            temporal_compression_ratio=4,
            max_text_seq_length=16,
            **more,
        ),
    )


def mochi() -> dict[str, Any]:
    return of_t5(
        autoencoders.of_mochi(),
        diffusers.MochiTransformer3DModel(
            patch_size=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            pooled_projection_dim=16,
            in_channels=12,
            text_embed_dim=32,
            time_embed_dim=4,
            max_sequence_length=16,
        ),
    )


def latte() -> dict[str, Any]:
    return of_t5(
        autoencoders.of_images(),
        diffusers.LatteTransformer3DModel(
            sample_size=8,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_channels=32,
            cross_attention_dim=32,
            in_channels=4,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            video_length=2,
        ),
    )


def easyanimate() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_2_vl(),
        "vae": autoencoders.of_easyanimate(),
        "transformer": diffusers.EasyAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=1,
            sample_width=16,
            sample_height=16,
            patch_size=2,
        ),
    }


def sana_video() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.gemma_2(),
        "vae": autoencoders.of_wan(),
        "transformer": diffusers.SanaVideoTransformer3DModel(
            in_channels=16,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=12,
            cross_attention_dim=24,
            caption_channels=32,
            sample_size=8,
            rope_max_seq_len=32,
        ),
    }


CLIP: Final = {**SQUARE, "num_frames": 9, "max_sequence_length": 16}
FROM_IMAGE: Final = {**CLIP, "image": Picture(32)}
FLOW: Final = flow(**SHIFT)
EULERS: Final = some(FLOW, "euler", "stochastic")
FASTER: Final = some(FLOW, "euler", "stochastic", "lcm", "unipc")


OF_COGVIDEO: Final = {
    "ddim": Sampler("CogVideoXDDIMScheduler", {"rescale_betas_zero_snr": True}),
    "dpm": Sampler("CogVideoXDPMScheduler", {"rescale_betas_zero_snr": True}),
}


FRAMED: Final = {"prompt_template": {"template": "{}", "crop_start": 0}}


KARRAS: Final = {
    **NOISE,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}


ENTRIES: Final[Mapping[str, Entry]] = {
    "animatediff": Entry(
        "AnimateDiffPipeline",
        animatediff,
        {**unets.SIZED, "num_frames": 4},
        some(TRAINED, "ddim", "euler", "euler-a", "dpm", "dpm-sde", "lcm"),
    ),
    "stable-video": Entry(
        "StableVideoDiffusionPipeline",
        stable_video,
        {"image": Picture(32), "height": 32, "width": 32, "num_frames": 2, "decode_chunk_size": 2},
        {"euler": Sampler("EulerDiscreteScheduler", KARRAS)},
    ),
    "model-scope": Entry(
        "TextToVideoSDPipeline",
        model_scope,
        {**unets.SIZED, "num_frames": 4},
        some(TRAINED, "ddim", "euler-a", "dpm-sde"),
    ),
    "ltx": Entry("LTXPipeline", ltx, CLIP, FASTER),
    "ltx-i2v": Entry("LTXImageToVideoPipeline", ltx, FROM_IMAGE, EULERS),
    "ltx-condition": Entry("LTXConditionPipeline", ltx, FROM_IMAGE, some(EULERS, "euler")),
    "hunyuan": Entry("HunyuanVideoPipeline", hunyuan, {**CLIP, **FRAMED}, FASTER),
    "framepack": Entry(
        "HunyuanVideoFramepackPipeline",
        framepack,
        {**FROM_IMAGE, **FRAMED, "num_frames": 25, "latent_window_size": 3},
        some(EULERS, "euler", "stochastic"),
    ),
    "kandinsky-5": Entry("Kandinsky5T2VPipeline", kandinsky_5, CLIP, EULERS),
    "cogvideo": Entry("CogVideoXPipeline", cogvideo, {**CLIP, "height": 16, "width": 16}, OF_COGVIDEO),
    "cogvideo-i2v": Entry(
        "CogVideoXImageToVideoPipeline",
        lambda: cogvideo(8, heads=2, use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True),
        {**FROM_IMAGE, "height": 16, "width": 16, "image": Picture(16)},
        OF_COGVIDEO,
    ),
    "mochi": Entry("MochiPipeline", mochi, {**CLIP, "height": 16, "width": 16, "num_frames": 7}, some(FLOW, "euler")),
    "latte": Entry(
        "LattePipeline",
        latte,
        {**unets.SIZED, "video_length": 2, "clean_caption": False},
        some(TRAINED, "ddim", "euler-a", "dpm"),
    ),
    "easyanimate": Entry(
        "EasyAnimatePipeline",
        easyanimate,
        {**PROMPT, "negative_prompt": "rain", "height": 16, "width": 16, "num_frames": 5},
        EULERS,
    ),
    "sana-video": Entry(
        "SanaVideoPipeline",
        sana_video,
        {
            **SQUARE,
            "frames": 9,
            "max_sequence_length": 16,
            "use_resolution_binning": False,
            "complex_human_instruction": None,
        },
        FLOW,
    ),
}
