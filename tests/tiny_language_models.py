"""Tiny language models of several families with made-up weights, each built in code and saved to a folder.

    python tests/tiny_language_models.py FOLDER gpt2 llama ...

What they write means nothing: they are there to be interrupted. Their weights are larger than those of trained models,
so that a difference in the last bit of anything soon shows in what they write.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import tokenizers
import torch
import transformers

CHAT: Final = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT: Final = 2048
_END: Final = "<|end|>"


def tokenizer(chat: bool) -> Any:
    """One token a byte, and one that ends a text."""
    symbols = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(symbols))}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    given = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=_END)
    given.chat_template = CHAT if chat else None
    return given


SHARED: Final = {"vocab_size": 257, "eos_token_id": 256, "bos_token_id": None, "initializer_range": 0.3}
GROUPED: Final = {
    **SHARED,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}


def gpt2() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**SHARED, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4)
    )


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))


def qwen() -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**GROUPED, tie_word_embeddings=True))


def mistral() -> Any:
    """Layers that see the last 100 tokens only."""
    return transformers.MistralForCausalLM(transformers.MistralConfig(**GROUPED, sliding_window=100))


def mamba() -> Any:
    """A state instead of a cache that can be cut back."""
    return transformers.MambaForCausalLM(
        transformers.MambaConfig(**SHARED, hidden_size=32, state_size=4, num_hidden_layers=2)
    )


MODELS: Final[Mapping[str, tuple[Callable[[], Any], bool]]] = {
    "gpt2": (gpt2, False),
    "llama": (llama, True),
    "qwen": (qwen, True),
    "mistral": (mistral, False),
    "mamba": (mamba, False),
}
"""Name -> how it is built, and whether it has a chat template."""


def build(name: str, folder: Path) -> None:
    """Write a model into a folder, with weights that are the same every time."""
    make, chat = MODELS[name]
    torch.manual_seed(3)
    with torch.no_grad():
        make().save_pretrained(folder)
    tokenizer(chat).save_pretrained(folder)


if __name__ == "__main__":
    for model in sys.argv[2:]:
        build(model, Path(sys.argv[1]) / model)
