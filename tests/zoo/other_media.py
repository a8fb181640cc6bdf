"""What is heard, and what has a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import diffusers

from zoo import text
from zoo.entry import Entry, Sampler
from zoo.unets import PROMPT


def stable_audio() -> dict[str, Any]:
    return {
        "tokenizer": text.t5_tokenizer(model_max_length=25),
        "text_encoder": text.t5(),
        "projection_model": diffusers.StableAudioProjectionModel(
            text_encoder_dim=text.WIDTH, conditioning_dim=4, min_value=0, max_value=32
        ),
        "vae": diffusers.AutoencoderOobleck(
            encoder_hidden_size=6,
            downsampling_ratios=[1, 2],
            decoder_channels=3,
            decoder_input_channels=3,
            audio_channels=2,
            channel_multiples=[2, 4],
            sampling_rate=400,
        ),
        "transformer": diffusers.StableAudioDiTModel(
            sample_size=400,
            in_channels=3,
            num_layers=2,
            attention_head_dim=4,
            num_key_value_attention_heads=2,
            out_channels=3,
            cross_attention_dim=4,
            time_proj_dim=8,
            global_states_input_dim=8,
            cross_attention_input_dim=4,
        ),
    }


def shap_e() -> dict[str, Any]:
    from diffusers.pipelines.shap_e import ShapERenderer

    return {
        "prior": diffusers.PriorTransformer(
            num_attention_heads=2,
            attention_head_dim=16,
            embedding_dim=32,
            num_embeddings=32,
            embedding_proj_dim=32,
            time_embed_dim=128,
            num_layers=1,
            clip_embed_dim=64,
            additional_embeddings=0,
            time_embed_act_fn="gelu",
            norm_in_type="layer",
            embedding_proj_norm_type=None,
            encoder_hid_proj_type=None,
            added_emb_type=None,
        ),
        "tokenizer": text.clip_tokenizer(),
        "text_encoder": text.projecting_clip(),
        "shap_e_renderer": ShapERenderer(
            param_shapes=((8, 93), (8, 8), (8, 8), (8, 8)), d_latent=32, d_hidden=8, n_output=12
        ),
    }


ENTRIES: Final[Mapping[str, Entry]] = {
    "stable-audio": Entry(
        "StableAudioPipeline",
        stable_audio,
        {**PROMPT, "audio_end_in_s": 0.5},
        {
            "cosine": Sampler(
                "CosineDPMSolverMultistepScheduler",
                {"sigma_schedule": "exponential", "prediction_type": "v_prediction"},
            ),
            "edm": Sampler("EDMDPMSolverMultistepScheduler", {"prediction_type": "v_prediction"}),
        },
    ),
    "shap-e": Entry(
        "ShapEPipeline",
        shap_e,
        {**PROMPT, "frame_size": 32},
        {
            "heun": Sampler(
                "HeunDiscreteScheduler",
                {"beta_schedule": "exp", "num_train_timesteps": 1024, "prediction_type": "sample"},
            )
        },
    ),
}
