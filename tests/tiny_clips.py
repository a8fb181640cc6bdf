"""Tiny pipelines for clips, all of whose families convolve in three dimensions; built in memory."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers

from tiny_models import ltx, t5_config, t5_tokenizer, wan


def hunyuan() -> Any:
    """HunyuanVideo, to be called with embeddings instead of prompts."""
    return diffusers.HunyuanVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        vae=diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("HunyuanVideoDownBlock3D",) * 4,
            up_block_types=("HunyuanVideoUpBlock3D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
        ),
        transformer=diffusers.HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=1,
            patch_size_t=1,
            guidance_embeds=True,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(2, 4, 4),
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def cogvideox() -> Any:
    return diffusers.CogVideoXPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=transformers.T5EncoderModel(t5_config(transformers.T5Config)),
        vae=diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=4,
            attention_head_dim=8,
            in_channels=4,
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
        ),
        scheduler=diffusers.DDIMScheduler(),
    )


def build(family: str) -> Any:
    """A pipeline in bfloat16, with weights that are the same every time."""
    torch.manual_seed(3)
    with torch.no_grad():
        pipeline = {"wan": wan, "hunyuan": hunyuan, "cogvideox": cogvideox, "ltx": ltx}[family]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.bfloat16)


def arguments(family: str) -> dict[str, Any]:
    """What its call takes."""
    size = {"height": 32, "width": 32, "num_frames": 9, "num_inference_steps": 2, "output_type": "pt"}
    if family == "hunyuan":
        return {
            **size,
            "prompt_embeds": torch.ones(1, 6, 16, dtype=torch.bfloat16),
            "pooled_prompt_embeds": torch.ones(1, 8, dtype=torch.bfloat16),
            "prompt_attention_mask": torch.ones(1, 6, dtype=torch.bfloat16),
        }
    return {**size, "prompt": "dunes at dawn", "max_sequence_length": 16}
