"""Pictures from UNets: Stable Diffusion, its relatives, Kandinsky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers

from zoo import autoencoders, text
from zoo.entry import Entry, Picture, Sampler
from zoo.samplers import OFFSET, TRAINED, some

UNSAFE: Final = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
PROMPT: Final = {"prompt": "dunes at dawn"}
SIZED: Final = {**PROMPT, "height": 16, "width": 16}
BLOCKS: Final = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "norm_num_groups": 8,
}
SD: Final = {"cross_attention_dim": 32, "attention_head_dim": 8}
SDXL: Final = {
    "cross_attention_dim": 64,
    "attention_head_dim": (2, 4),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "transformer_layers_per_block": (1, 2),
    "projection_class_embeddings_input_dim": 80,
}


def unet(**more: Any) -> Any:
    blocks = {**BLOCKS, "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    return diffusers.UNet2DConditionModel(sample_size=8, **{**blocks, **more})


def controlnet(**more: Any) -> Any:
    return diffusers.ControlNetModel(conditioning_embedding_out_channels=(16, 32), **BLOCKS, **more)


def sd(**of_unet: Any) -> dict[str, Any]:
    return {
        "tokenizer": text.clip_tokenizer(),
        "text_encoder": text.clip(),
        "vae": autoencoders.of_images(),
        "unet": unet(**{**SD, **of_unet}),
        **UNSAFE,
    }


def sd_controlnet() -> dict[str, Any]:
    # One that has learned nothing adds nothing.
    return {**sd(), "controlnet": _learned(controlnet(**SD))}


def sd_controlnet_xs() -> dict[str, Any]:
    parts = sd(use_linear_projection=True, layers_per_block=2)
    adapter = diffusers.ControlNetXSAdapter.from_unet(
        parts["unet"], size_ratio=1, conditioning_embedding_out_channels=(16, 32)
    )
    return {**parts, "controlnet": adapter}


def sd_upscale() -> dict[str, Any]:
    parts = sd(in_channels=7, num_class_embeds=1000, only_cross_attention=(True, True))
    parts = {name: part for name, part in parts.items() if name != "requires_safety_checker"}
    return {**parts, "low_res_scheduler": diffusers.DDPMScheduler(), "max_noise_level": 350}


def lcm() -> dict[str, Any]:
    return sd(time_cond_proj_dim=8)


def sdxl(**of_unet: Any) -> dict[str, Any]:
    return {
        "tokenizer": text.clip_tokenizer(),
        "tokenizer_2": text.clip_tokenizer(),
        "text_encoder": text.clip(),
        "text_encoder_2": text.projecting_clip(),
        "vae": autoencoders.of_images(sample_size=16),
        "unet": unet(**{**SDXL, **of_unet}),
    }


def sdxl_controlnet() -> dict[str, Any]:
    return {**sdxl(), "controlnet": _learned(controlnet(**SDXL))}


def kandinsky_2() -> dict[str, Any]:
    """Prior and decoder."""
    return {
        "unet": diffusers.UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            addition_embed_type="image",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(32, 64),
            layers_per_block=1,
            encoder_hid_dim=text.WIDTH,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=32,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
        ),
        "movq": autoencoders.quantised(),
        "prior_prior": diffusers.PriorTransformer(
            num_attention_heads=2, attention_head_dim=12, embedding_dim=text.WIDTH, num_layers=1
        ),
        "prior_image_encoder": text.projecting_clip_vision(),
        "prior_text_encoder": text.projecting_clip(),
        "prior_tokenizer": text.clip_tokenizer(),
        "prior_scheduler": diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=5.0
        ),
        "prior_image_processor": text.clip_pictures(),
    }


def kandinsky_3() -> dict[str, Any]:
    return {
        "unet": diffusers.Kandinsky3UNet(
            in_channels=4,
            time_embedding_dim=4,
            groups=2,
            attention_head_dim=4,
            layers_per_block=3,
            block_out_channels=(32, 64),
            cross_attention_dim=4,
            encoder_hid_dim=text.WIDTH,
        ),
        "movq": autoencoders.quantised(),
        "tokenizer": text.t5_tokenizer(),
        "text_encoder": text.t5(),
    }


def deepfloyd() -> dict[str, Any]:
    """Paints pixels: no latents, and scheduler steps that need a predicted variance."""
    return {
        "tokenizer": text.t5_tokenizer(model_max_length=77),
        "text_encoder": text.t5(),
        "unet": diffusers.UNet2DConditionModel(
            sample_size=16,
            in_channels=3,
            out_channels=6,
            layers_per_block=1,
            block_out_channels=(32, 64),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            cross_attention_dim=32,
            encoder_hid_dim=text.WIDTH,
            attention_head_dim=8,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
        ),
        "watermarker": None,
        **UNSAFE,
    }


def unconditional() -> dict[str, Any]:
    return {
        "unet": diffusers.UNet2DModel(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
    }


def _learned(made: Any) -> Any:
    """A controlnet begins with zeros in the layers that lead out of it."""
    for name, weights in made.named_parameters():
        if name.startswith("controlnet_") and name.endswith("weight"):
            weights.data.normal_(std=0.1)
    return made


FEW: Final = some(TRAINED, "ddim", "euler-a", "dpm-sde")
EULERS: Final = some(TRAINED, "euler", "euler-a", "dpm", "dpm-sde", "unipc", "ddim", "lcm", "heun")
IMAGE: Final = {**PROMPT, "image": Picture(), "strength": 0.9}
HOLE: Final = {**SIZED, "image": Picture(), "mask_image": Picture(mode="L")}
POSE: Final = {**SIZED, "image": Picture()}
CLIPPED: Final = {**OFFSET, "clip_sample": True, "variance_type": "learned_range"}

ENTRIES: Final[Mapping[str, Entry]] = {
    "sd": Entry("StableDiffusionPipeline", sd, SIZED, TRAINED),
    "sd-img2img": Entry("StableDiffusionImg2ImgPipeline", sd, IMAGE, FEW),
    "sd-inpaint": Entry("StableDiffusionInpaintPipeline", sd, HOLE, FEW),
    "sd-controlnet": Entry("StableDiffusionControlNetPipeline", sd_controlnet, POSE, FEW),
    "sd-controlnet-img2img": Entry(
        "StableDiffusionControlNetImg2ImgPipeline", sd_controlnet, {**IMAGE, "control_image": Picture()}, FEW
    ),
    "sd-controlnet-xs": Entry("StableDiffusionControlNetXSPipeline", sd_controlnet_xs, POSE, FEW),
    "sd-upscale": Entry("StableDiffusionUpscalePipeline", sd_upscale, {**PROMPT, "image": Picture(8)}, FEW),
    "sd-instruct": Entry(
        "StableDiffusionInstructPix2PixPipeline", lambda: sd(in_channels=8), {**PROMPT, "image": Picture()}, FEW
    ),
    "sd-pag": Entry("StableDiffusionPAGPipeline", sd, {**SIZED, "pag_scale": 3.0}, FEW),
    "lcm": Entry("LatentConsistencyModelPipeline", lcm, SIZED, some(TRAINED, "lcm")),
    "lcm-img2img": Entry("LatentConsistencyModelImg2ImgPipeline", lcm, IMAGE, some(TRAINED, "lcm")),
    "sdxl": Entry("StableDiffusionXLPipeline", sdxl, SIZED, EULERS),
    "sdxl-img2img": Entry("StableDiffusionXLImg2ImgPipeline", sdxl, IMAGE, some(EULERS, "euler", "euler-a", "dpm-sde")),
    "sdxl-inpaint": Entry("StableDiffusionXLInpaintPipeline", sdxl, HOLE, some(EULERS, "euler", "euler-a", "dpm-sde")),
    "sdxl-controlnet": Entry(
        "StableDiffusionXLControlNetPipeline", sdxl_controlnet, POSE, some(EULERS, "euler", "euler-a", "dpm-sde")
    ),
    "kandinsky-2.2": Entry(
        "KandinskyV22CombinedPipeline",
        kandinsky_2,
        {**PROMPT, "height": 32, "width": 32, "prior_num_inference_steps": 4},
        {
            "ddpm": Sampler("DDPMScheduler", {**OFFSET, "variance_type": "learned_range"}),
            **some(TRAINED, "ddim"),
        },
    ),
    "kandinsky-3": Entry("Kandinsky3Pipeline", kandinsky_3, SIZED, some(TRAINED, "ddpm", "ddim", "dpm-sde")),
    "deepfloyd": Entry("IFPipeline", deepfloyd, PROMPT, {"ddpm": Sampler("DDPMScheduler", CLIPPED)}),
    "ddpm": Entry("DDPMPipeline", unconditional, {}, some(TRAINED, "ddpm")),
    "ddim": Entry("DDIMPipeline", unconditional, {"eta": 0.5}, some(TRAINED, "ddim")),
}
