"""Pictures from other transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers
import transformers

from zoo import autoencoders, text
from zoo.entry import Entry, Sampler
from zoo.multimodal import ALL_BENT, BENT_EULERS, EULERS, FLOW, SHORT, SHORT_IMAGE
from zoo.samplers import TRAINED, some
from zoo.unets import SIZED


def qwen() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_vl(),
        "vae": autoencoders.of_qwen(),
        "transformer": diffusers.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=32,
            axes_dims_rope=(8, 4, 4),
        ),
    }


def pixart(of_sigma: bool = False) -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.t5(),
        "vae": autoencoders.of_images(),
        "transformer": diffusers.PixArtTransformer2DModel(
            # Of this size alone it is told the size of the picture.
            sample_size=8 if of_sigma else 128,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            cross_attention_dim=24,
            in_channels=4,
            out_channels=8,
            use_additional_conditions=not of_sigma,
        ),
    }


def sana() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.gemma_2(),
        "vae": autoencoders.compressing(),
        "transformer": diffusers.SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=32,
            sample_size=32,
        ),
    }


def lumina() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.gemma(),
        "vae": autoencoders.of_images(),
        "transformer": diffusers.LuminaNextDiT2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            hidden_size=24,
            num_layers=2,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=16,
            cross_attention_dim=32,
        ),
    }


def lumina_2() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.gemma_2(),
        "vae": autoencoders.of_images(4, **autoencoders.FLOWING),
        "transformer": diffusers.Lumina2Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=8,
            num_layers=2,
            num_attention_heads=1,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(128, 128, 128),
            cap_feat_dim=32,
        ),
    }


def z_image() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_3(),
        "vae": autoencoders.of_images(16, **autoencoders.FLOWING),
        "transformer": diffusers.ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[8, 4, 4],
            axes_lens=[256, 32, 32],
        ),
    }


def hunyuan_dit() -> dict[str, Any]:
    return {
        "tokenizer": text.bert_tokenizer(),
        "text_encoder": text.bert(),
        "tokenizer_2": text.t5_tokenizer(),
        "text_encoder_2": text.t5(),
        "vae": autoencoders.of_images(),
        "transformer": diffusers.HunyuanDiT2DModel(
            sample_size=16,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            in_channels=4,
            cross_attention_dim=32,
            cross_attention_dim_t5=32,
            pooled_projection_dim=16,
            hidden_size=24,
            activation_fn="gelu-approximate",
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def hunyuan_image() -> dict[str, Any]:
    """Its guiders keep a momentum."""
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_vl(),
        "tokenizer_2": transformers.ByT5Tokenizer(),
        "text_encoder_2": text.byte_t5(),
        "vae": autoencoders.of_hunyuan_images(),
        "transformer": diffusers.HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=4,
            attention_head_dim=8,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=(1, 1),
            text_embed_dim=32,
            text_embed_2_dim=32,
            rope_axes_dim=(4, 4),
        ),
        "guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2),
        "ocr_guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=3),
    }


def kandinsky_5() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.qwen_vl(),
        "tokenizer_2": text.clip_tokenizer(),
        "text_encoder_2": text.clip(),
        "vae": autoencoders.of_images(4, **autoencoders.FLOWING),
        "transformer": kandinsky_5_transformer(),
    }


def kandinsky_5_transformer() -> Any:
    return diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=32,
        out_visual_dim=4,
        patch_size=(1, 2, 2),
        model_dim=48,
        ff_dim=64,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(8, 8, 8),
    )


def aura_flow() -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.umt5(),
        "vae": autoencoders.of_images(),
        "transformer": diffusers.AuraFlowTransformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pos_embed_max_size=64,
        ),
    }


def cogview_3() -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.t5(),
        "vae": autoencoders.of_images(sample_size=16),
        "transformer": diffusers.CogView3PlusTransformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=2,
            out_channels=4,
            text_embed_dim=32,
            time_embed_dim=8,
            condition_dim=2,
            pos_embed_max_size=8,
            sample_size=8,
        ),
    }


def cogview_4() -> dict[str, Any]:
    return {
        "tokenizer": text.letters(),
        "text_encoder": text.glm(),
        "vae": autoencoders.of_images(sample_size=16),
        "transformer": diffusers.CogView4Transformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=4,
            num_attention_heads=4,
            out_channels=4,
            text_embed_dim=32,
            time_embed_dim=8,
            condition_dim=4,
            rope_axes_dim=(16, 16),
        ),
    }


def dit() -> dict[str, Any]:
    return {
        "vae": autoencoders.of_images(),
        "transformer": diffusers.DiTTransformer2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
            num_embeds_ada_norm=1000,
        ),
    }


EXACT_SIZE: Final = {**SHORT, "use_resolution_binning": False}
CLEAN: Final = {**EXACT_SIZE, "clean_caption": False}
COGVIEW: Final = {**SIZED, "max_sequence_length": 16}
VARIANCE: Final = some(TRAINED, "dpm", "ddim", "euler-a", "dpm-sde", "unipc")


ENTRIES: Final[Mapping[str, Entry]] = {
    "qwen-image": Entry(
        "QwenImagePipeline", qwen, {**SHORT, "true_cfg_scale": 2.0, "negative_prompt": "rain"}, ALL_BENT
    ),
    "qwen-image-img2img": Entry("QwenImageImg2ImgPipeline", qwen, {**SHORT_IMAGE}, BENT_EULERS),
    "pixart-alpha": Entry("PixArtAlphaPipeline", pixart, CLEAN, VARIANCE),
    "pixart-sigma": Entry("PixArtSigmaPipeline", lambda: pixart(of_sigma=True), CLEAN, VARIANCE),
    "sana": Entry("SanaPipeline", sana, {**CLEAN, "height": 32, "width": 32, "complex_human_instruction": None}, FLOW),
    "lumina": Entry("LuminaPipeline", lumina, {**SHORT, "height": 64, "width": 64, "clean_caption": False}, EULERS),
    "lumina-2": Entry("Lumina2Pipeline", lumina_2, {**SHORT, "height": 64, "width": 64}, BENT_EULERS),
    "z-image": Entry("ZImagePipeline", z_image, SHORT, EULERS),
    "hunyuan-dit": Entry(
        "HunyuanDiTPipeline",
        hunyuan_dit,
        {**SIZED, "use_resolution_binning": False},
        some(TRAINED, "ddpm", "dpm", "euler-a"),
    ),
    "hunyuan-image": Entry("HunyuanImagePipeline", hunyuan_image, SIZED, EULERS),
    "kandinsky-5-image": Entry("Kandinsky5T2IPipeline", kandinsky_5, SHORT, EULERS),
    "aura-flow": Entry("AuraFlowPipeline", aura_flow, SHORT, EULERS),
    "cogview-3": Entry(
        "CogView3PlusPipeline",
        cogview_3,
        COGVIEW,
        {
            "ddim": Sampler("CogVideoXDDIMScheduler", {"rescale_betas_zero_snr": True}),
            "dpm": Sampler("CogVideoXDPMScheduler", {"rescale_betas_zero_snr": True}),
        },
    ),
    "cogview-4": Entry("CogView4Pipeline", cogview_4, COGVIEW, BENT_EULERS),
    "dit": Entry("DiTPipeline", dit, {"class_labels": [7]}, some(TRAINED, "ddim", "dpm", "ddpm")),
}
