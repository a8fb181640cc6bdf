"""Tokenizers and encoders of texts and pictures: made here, nothing comes from a hub."""

from __future__ import annotations

from typing import Any, Final

import tokenizers
import transformers

SYMBOLS: Final = sorted({chr(code) for code in range(33, 127)} | {"Ġ"})
WIDTH: Final = 32
"""Of every embedding."""


def clip_tokenizer() -> Any:
    words = ["<|startoftext|>", "<|endoftext|>", *SYMBOLS, *(f"{symbol}</w>" for symbol in SYMBOLS)]
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )


def clip_config(**more: Any) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=200,
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=WIDTH,
        **more,
    )


def clip() -> Any:
    return transformers.CLIPTextModel(clip_config())


def projecting_clip() -> Any:
    return transformers.CLIPTextModelWithProjection(clip_config())


def t5_tokenizer(**more: Any) -> Any:
    pieces = [symbol for symbol in SYMBOLS if symbol.isascii()]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((piece, -8.0) for piece in pieces)]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, **more)


def t5_config(kind: Any) -> Any:
    return kind(vocab_size=120, d_model=WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=4)


def t5() -> Any:
    return transformers.T5EncoderModel(t5_config(transformers.T5Config))


def umt5() -> Any:
    return transformers.UMT5EncoderModel(t5_config(transformers.UMT5Config))


def byte_t5() -> Any:
    config = transformers.T5Config(vocab_size=400, d_model=WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    return transformers.T5EncoderModel(config)


CHAT: Final = (
    "{% for message in messages %}<|{{ message.role }}|>{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}<|assistant|>"
)


def letters() -> Any:
    """A tokenizer of a large language model: every letter is a word, and there is a template for chats."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {word: number for number, word in enumerate([*special, *SYMBOLS, " ", "\n"])}
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    engine.decoder = tokenizers.decoders.Fuse()
    # Whatever a text is, even none, begins with a word.
    engine.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=engine,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT,
        padding_side="right",
        model_max_length=512,
    )


LANGUAGE: Final = {
    "vocab_size": 120,
    "hidden_size": WIDTH,
    "intermediate_size": 37,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama() -> Any:
    return transformers.LlamaModel(transformers.LlamaConfig(**LANGUAGE))


def gemma() -> Any:
    return transformers.GemmaModel(transformers.GemmaConfig(**LANGUAGE))


def gemma_2() -> Any:
    return transformers.Gemma2Model(transformers.Gemma2Config(**LANGUAGE, attn_implementation="eager"))


def glm() -> Any:
    return transformers.GlmModel(transformers.GlmConfig(**LANGUAGE))


def qwen_3() -> Any:
    return transformers.Qwen3Model(transformers.Qwen3Config(**LANGUAGE))


def qwen_vl() -> Any:
    """Qwen 2.5 that sees; its eyes stay shut."""
    text = {**LANGUAGE, "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}}
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=text,
            vision_config=eyes,
            vision_start_token_id=117,
            vision_end_token_id=118,
            vision_token_id=119,
            image_token_id=116,
            video_token_id=115,
        )
    )


def qwen_2_vl() -> Any:
    text = {**LANGUAGE, "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}}
    eyes = {"depth": 1, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    return transformers.Qwen2VLForConditionalGeneration(
        transformers.Qwen2VLConfig(
            text_config=text,
            vision_config=eyes,
            vision_start_token_id=117,
            vision_end_token_id=118,
            vision_token_id=119,
            image_token_id=116,
            video_token_id=115,
        )
    )


def bert_tokenizer() -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SYMBOLS, *(f"##{symbol}" for symbol in SYMBOLS)]
    return transformers.BertTokenizer(vocab={word: n for n, word in enumerate(words)}, model_max_length=77)


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=220, hidden_size=WIDTH, intermediate_size=37, num_hidden_layers=1, num_attention_heads=4
    )
    return transformers.BertModel(config)


def clip_vision_config(side: int = 16) -> Any:
    return transformers.CLIPVisionConfig(
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=side,
        intermediate_size=37,
        patch_size=side // 2,
    )


def clip_vision() -> Any:
    return transformers.CLIPVisionModel(clip_vision_config())


def projecting_clip_vision(side: int = 16) -> Any:
    return transformers.CLIPVisionModelWithProjection(clip_vision_config(side))


def clip_pictures() -> Any:
    return transformers.CLIPImageProcessorPil(crop_size=16, size=16)


def siglip() -> Any:
    config = transformers.SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
    )
    return transformers.SiglipVisionModel(config)


def siglip_pictures() -> Any:
    return transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16})
