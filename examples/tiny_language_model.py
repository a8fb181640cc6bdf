"""Build a tiny language model with made-up weights: no download, half a megabyte, a second a page on one CPU.

    python examples/tiny_language_model.py build/tiny-language-model

The result is a folder as `save_pretrained` leaves it, for `AutoModelForCausalLM.from_pretrained`: a causal language
model, a tokenizer with a token for each byte, and a chat template. Nothing was trained. Its letters are as frequent as
those of English, and which one comes next depends on all that stand before it, in a way that means nothing. The same
seed builds the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import tokenizers
import torch
import transformers

CONTEXT = 8192
"""Tokens that it reads: bytes."""
END = "<|end|>"
CHAT = """\
{% for message in messages %}[{{ message.role }}]
{{ message.content }}

{% endfor %}{% if add_generation_prompt %}[assistant]
{% endif %}"""
SAMPLE = """\
When the water has boiled, let it stand for a few minutes and warm the pot with some of it. Then put in the leaves, a
spoonful for each cup, pour the water over them, and wait until they have sunk. What comes out first is light and sweet.
What is left in the pot grows darker, and those who like it strong may have it. Do not throw the leaves away, for they
give a second cup, and good ones a third.
"""
NEVER = -30.0
"""Score of what should not be written."""


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Bytes, written as the printable letters that byte-level tokenizers have for them."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    given = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, model_max_length=CONTEXT)
    given.chat_template = CHAT
    return given


def model(reads: transformers.PreTrainedTokenizerFast) -> transformers.PhiForCausalLM:
    """Two layers, and scores that begin with how frequent letters are."""
    made = transformers.PhiForCausalLM(
        transformers.PhiConfig(
            vocab_size=len(reads),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=None,
            eos_token_id=reads.eos_token_id,
            initializer_range=0.1,
        )
    )
    torch.nn.init.constant_(made.lm_head.bias, NEVER)
    counts = Counter(reads(SAMPLE)["input_ids"])
    for token, count in counts.items():
        made.lm_head.bias[token] = torch.log(torch.tensor(count / counts.total()))
    return made


def build(folder: Path, seed: int) -> None:
    """Write model and tokenizer into a folder; the folder appears whole or not at all."""
    torch.manual_seed(seed)
    reads = tokenizer()
    with torch.no_grad():
        made = model(reads)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    made.save_pretrained(partial)
    reads.save_pretrained(partial)
    partial.chmod(0o755)
    partial.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to put the model; must not exist yet")
    parser.add_argument("--seed", type=int, default=5, help="other seeds, other weights")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    build(arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
