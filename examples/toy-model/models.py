"""The parts of the toy model, untrained: those of the Wan family, so small that two CPU cores train them.

It works on pixels. The pipeline wants an autoencoder, so it gets one that was not trained but written down: it passes
pixels through. The transformer's tokens are blocks of 4 frames of 16 x 16 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import diffusers
import torch
import transformers
from torch import nn

BLOCK = (4, 16, 16)
"""Frames, rows and columns of a token."""
PATTERNS = 128
"""Numbers that stand for a token."""
TEXT = 64
"""Numbers that stand for a word."""
CONTRAST = 1 / 4
"""What pixels are multiplied with. Neighbours are alike, so noise as strong as they are would hide little."""
STEADY = 64.0
"""A channel that holds this keeps a norm from changing the others: by less than a thousandth."""

STEADY_TOKENS = 12.0
"""What the transformer's tokens hold in a direction of their own, so that its norms change them less."""


def tokenizer(words: list[str]) -> transformers.T5Tokenizer:
    """A token for each word; other words are unknown to it."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    pieces += [(f"▁{word}", -1.0) for word in words]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0)


def text_encoder(vocabulary: int) -> transformers.UMT5EncoderModel:
    return transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=vocabulary, d_model=TEXT, d_kv=16, d_ff=128, num_layers=1, num_heads=4, dropout_rate=0.0
        )
    )


def transformer(channels: int, patch: tuple[int, int, int]) -> diffusers.WanTransformer3DModel:
    return diffusers.WanTransformer3DModel(
        patch_size=patch,
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=channels,
        out_channels=channels,
        text_dim=TEXT,
        freq_dim=64,
        ffn_dim=448,
        num_layers=3,
        rope_max_seq_len=32,
    )


@dataclass(frozen=True)
class Patterns:
    """What blocks of clips are mostly made of: their principal components.

    Attributes:
        mean: (pixels of a block).
        basis: (pixels of a block, patterns); the columns are orthonormal, so noise stays noise.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    @classmethod
    def of(cls, clips: torch.Tensor) -> Patterns:
        """Those of (clips, 3, frames, height, width)."""
        pixels = blocks(clips).flatten(0, 1)
        mean = pixels.mean(0)
        _, vectors = torch.linalg.eigh((pixels - mean).T @ (pixels - mean))
        return cls(mean, vectors[:, -PATTERNS:])


def blocks(clips: torch.Tensor) -> torch.Tensor:
    """Tokens of clips: (clips, tokens, pixels of a block), colours first, then frames, rows and columns."""
    for axis, length in enumerate(BLOCK, start=2):
        clips = clips.unfold(axis, length, length)
    return clips.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4).flatten(1, 3)


def compact() -> diffusers.WanTransformer3DModel:
    """The transformer that is trained: its tokens are shares of patterns, a twentieth as many numbers as pixels."""
    return transformer(PATTERNS, (1, 1, 1))


def begin_with_patterns(made: diffusers.WanTransformer3DModel, strengths: torch.Tensor) -> None:
    """Let each pattern begin with a place of its own in what the layers hand on; strong ones outdo weak ones less.

    One more place holds the same for all tokens: a norm would otherwise take their strength from them.

    Args:
        made: Its first and its last layer are changed.
        strengths: Deviation of each pattern's share in clips.
    """
    directions = torch.linalg.qr(torch.randn(made.proj_out.in_features, PATTERNS + 1)).Q
    places, steady = directions[:, :-1], directions[:, -1]
    with torch.no_grad():
        inward = places * (strengths**2 + 0.1**2) ** -0.25
        made.patch_embedding.weight.copy_(inward.view(made.patch_embedding.weight.shape))
        made.patch_embedding.bias.copy_(STEADY_TOKENS * steady)
        made.proj_out.weight.copy_((places * strengths).T)


def unfolded(trained: diffusers.WanTransformer3DModel, patterns: Patterns) -> diffusers.WanTransformer3DModel:
    """The same on pixels: its first layer looks for the patterns, its last one puts them together."""
    made = transformer(3, BLOCK)
    state = trained.state_dict()
    inward, outward = state["patch_embedding.weight"].flatten(1), state["proj_out.weight"]
    into = inward @ patterns.basis.T
    state["patch_embedding.weight"] = into.view(-1, 3, *BLOCK)
    state["patch_embedding.bias"] = state["patch_embedding.bias"] - into @ patterns.mean
    # What comes out has its colours last.
    last = torch.cat([patterns.basis @ outward, (patterns.mean + patterns.basis @ state["proj_out.bias"])[:, None]], 1)
    last = last.view(3, math.prod(BLOCK), -1).transpose(0, 1).flatten(0, 1)
    state["proj_out.weight"], state["proj_out.bias"] = last[:, :-1], last[:, -1]
    made.load_state_dict(state)
    return made


def vae() -> diffusers.AutoencoderKLWan:
    """Latents are pixels times CONTRAST: each colour goes through a channel of its own, and another as its opposite.

    silu(x) - silu(-x) is x, and the norms before it have next to nothing to do.
    """
    made = diffusers.AutoencoderKLWan(
        base_dim=8,
        z_dim=3,
        dim_mult=[1],
        num_res_blocks=0,
        temperal_downsample=[],
        latents_mean=[0.0] * 3,
        latents_std=[1 / CONTRAST] * 3,
        scale_factor_temporal=1,
        scale_factor_spatial=1,
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not name.endswith("gamma"):
                parameter.zero_()
        for convolution in (made.quant_conv, made.post_quant_conv):
            convolution.weight.copy_(torch.eye(convolution.in_channels).view(convolution.weight.shape))
        for half in (made.encoder, made.decoder):
            for colour in range(3):
                for channel, sign in ((colour, 1), (3 + colour, -1)):
                    now(half.conv_in)[channel, colour] = sign
                    now(half.conv_out)[colour, channel] = sign
            half.conv_in.bias[6] = STEADY
            half.norm_out.gamma.fill_(STEADY / math.sqrt(half.conv_in.out_channels))
        # No noise is added to what it encodes.
        made.encoder.conv_out.bias[3:] = -30
    return made


def now(convolution: nn.Conv3d) -> torch.Tensor:
    """The weights for the pixel itself: (out, in)."""
    return convolution.weight[:, :, -1, 1, 1]
