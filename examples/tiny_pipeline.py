"""Build a tiny diffusers pipeline with made-up weights: no download, half a megabyte, a second a unit on two CPUs.

    python examples/tiny_pipeline.py build/tiny-video
    python examples/tiny_pipeline.py --image build/tiny-image
    python examples/tiny_pipeline.py --longer build/tiny-longer

The result is a folder as `save_pretrained` leaves it, for `DiffusionPipeline.from_pretrained`: WanPipeline for clips,
StableDiffusionPipeline for pictures, WanImageToVideoPipeline for clips that go on from a picture. Nothing was trained.
Its transformer draws from the prompt a direction in which the noise drifts; its decoder mixes channels and blurs, so
that noise becomes soft shapes that flow in colour. The same seed builds the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from string import ascii_lowercase, printable
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

CONTRAST = 0.55
DRIFT = 3.0
"""How far the denoiser moves the noise."""
BLUR = torch.tensor([0.25, 0.5, 0.25])
PAIRS = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
"""Tokens of two letters: other words, other embeddings."""


def video() -> diffusers.DiffusionPipeline:
    """Text to clips: 17 frames of 96x96 in eight steps, for example."""
    return diffusers.WanPipeline(**video_parts())


def longer() -> diffusers.DiffusionPipeline:
    """A picture to clips that begin with it: as Wan 2.2 of 5B, where its latents take the place of noise."""
    return diffusers.WanImageToVideoPipeline(**video_parts(), expand_timesteps=True)


def video_parts() -> dict[str, Any]:
    """What pipelines of the Wan family are made of."""
    pieces = [character for character in printable if not character.isspace()]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(piece, -8.0) for piece in pieces] + [(pair, -9.0) for pair in PAIRS]
    tokenizer = transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0)
    encoder = transformers.UMT5EncoderModel(
        transformers.UMT5Config(vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )
    transformer = diffusers.WanTransformer3DModel(
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
    listen_to_the_prompt(transformer, gain=400.0)
    transformer.proj_out.weight.mul_(DRIFT)
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    mix_and_blur(vae)
    balance_colours(vae, vae.decoder, torch.Size((16, 5, 12, 12)))
    return {
        "tokenizer": tokenizer,
        "text_encoder": encoder,
        "vae": vae,
        "transformer": transformer,
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def image() -> diffusers.DiffusionPipeline:
    """Text to pictures: 96x96 in eight steps, for example."""
    symbols = sorted({chr(code) for code in range(33, 127)} | {"Ġ"})
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *symbols, *(f"{symbol}</w>" for symbol in symbols), *PAIRS]
    tokenizer = transformers.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)},
        merges=[(pair[0], pair[1]) for pair in PAIRS],
        model_max_length=77,
    )
    encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=12,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    listen_to_the_prompt(unet, gain=20.0)
    unet.conv_out.weight.mul_(DRIFT)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
    )
    mix_and_blur(vae)
    balance_colours(vae, vae.decoder, torch.Size((4, 12, 12)))
    return diffusers.StableDiffusionPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=vae,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def listen_to_the_prompt(denoiser: nn.Module, gain: float) -> None:
    """Make the prompt count: padding stands for nothing, and what attention gathers from words is strong."""
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.Linear) and ("attn2.to_" in name or "text_embedder" in name):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("attn2.to_out.0"):
                module.weight.mul_(gain)


def mix_and_blur(vae: nn.Module) -> None:
    """Let every convolution of the decoder mix channels at random and blur what lies side by side."""
    for name, module in vae.named_modules():
        if not name.startswith(("decoder", "post_quant_conv")) or not isinstance(module, nn.Conv2d | nn.Conv3d):
            continue
        into, of = module.weight.shape[:2]
        nn.init.zeros_(module.bias)
        mixed = torch.randn(into, of) / of**0.5
        if name.endswith("time_conv"):
            # It makes two frames of one: the first half way from the frame before.
            mixed = torch.eye(of).repeat(2, 1)
        kernel = torch.zeros(module.weight.shape[2:])
        height, width = kernel.shape[-2:]
        space = torch.outer(BLUR if height == 3 else torch.ones(1), BLUR if width == 3 else torch.ones(1))
        # In time, only the frame itself: the first ones have no past to look at.
        kernel[(-1,) * (kernel.ndim - 2)] = space
        module.weight.copy_(mixed[(...,) + (None,) * kernel.ndim] * kernel)
        if name.endswith("time_conv"):
            module.weight[:of, :, -2:] = module.weight[:of, :, -1:] / 2


def balance_colours(vae: nn.Module, decoder: nn.Module, latents: torch.Size) -> None:
    """Turn and scale the last convolution so that red, green and blue vary alike and independently."""
    seen: list[torch.Tensor] = []
    hook = decoder.register_forward_hook(lambda module, args, output: seen.append(output.transpose(0, 1).flatten(1)))
    vae.decode(torch.randn(4, *latents))
    hook.remove()
    colours = torch.cat(seen, dim=1)
    mean = colours.mean(dim=1)
    turn = CONTRAST * torch.linalg.inv(torch.linalg.cholesky(colours.cov()))
    last = decoder.conv_out
    last.weight.copy_(torch.einsum("ij,j...->i...", turn, last.weight))
    last.bias.copy_(turn @ (last.bias - mean))


def build(make: Callable[[], diffusers.DiffusionPipeline], folder: Path, seed: int) -> None:
    """Write a pipeline into a folder; the folder appears whole or not at all."""
    torch.manual_seed(seed)
    with torch.no_grad():
        pipeline = make()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    pipeline.save_pretrained(partial)
    partial.chmod(0o755)
    partial.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to put the pipeline; must not exist yet")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--image", action="store_true", help="text to pictures instead of text to clips")
    kinds.add_argument("--longer", action="store_true", help="clips that go on from a picture instead of text to clips")
    parser.add_argument("--seed", type=int, default=5, help="other seeds, other weights")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already")
    # Before either is used: their modules load, and warn, when something of them is first named.
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    make = image if arguments.image else longer if arguments.longer else video
    build(make, arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
