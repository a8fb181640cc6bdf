"""Train the toy language model: it learns from posts that are put together from sentences.

    python examples/toy-model/train_writer.py examples/toy-model/writer

About a quarter of an hour on one CPU core. Kill it when you like: the same command goes on. The result is a folder as
`save_pretrained` leaves it, for `AutoModelForCausalLM.from_pretrained`: a model of the Llama family whose tokens are
words and parts of words, bytes where it knows no better.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import posts
import tokenizers
import torch
import training
import transformers

STEPS, BATCH, RATE = 4000, 8, 4e-3
VOCABULARY, CONTEXT = 480, 2048
END, PAD = "<|end|>", "<|pad|>"
CHAT = """\
{% for message in messages %}[{{ message.role }}]
{{ message.content }}

{% endfor %}{% if add_generation_prompt %}[assistant]
{% endif %}"""
IGNORED = -100
"""A label that transformers takes for none."""


def tokenizer(seed: int) -> transformers.PreTrainedTokenizerFast:
    """Learnt from what there is to read."""
    drawn = random.Random(seed)
    read = [posts.lesson(drawn) for _ in range(2000)]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    learning = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator((text for each in read for text in (each.asked[-1][1], each.answer)), learning)
    given = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    given.chat_template = CHAT
    return given


def model(reads: transformers.PreTrainedTokenizerFast) -> transformers.LlamaForCausalLM:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(reads),
            hidden_size=96,
            intermediate_size=160,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=reads.eos_token_id,
            pad_token_id=reads.pad_token_id,
        )
    )


def lessons(reads: transformers.PreTrainedTokenizerFast, drawn: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of some lessons, and the labels: of answers and their ends only."""
    rows = []
    for _ in range(BATCH):
        lesson = posts.lesson(drawn)
        messages = [{"role": role, "content": content} for role, content in lesson.asked]
        asked = reads(reads.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))["input_ids"]
        answer = [*reads(lesson.answer)["input_ids"], reads.eos_token_id]
        rows.append((asked + answer, [IGNORED] * len(asked) + answer))
    longest = max(len(tokens) for tokens, _ in rows)
    ids = [tokens + [reads.pad_token_id] * (longest - len(tokens)) for tokens, _ in rows]
    labels = [row + [IGNORED] * (longest - len(row)) for _, row in rows]
    return torch.tensor(ids), torch.tensor(labels)


def train(seed: int, work: Path) -> tuple[transformers.LlamaForCausalLM, transformers.PreTrainedTokenizerFast]:
    reads = tokenizer(seed)
    torch.manual_seed(seed)
    made = model(reads)

    def loss(step: int) -> torch.Tensor:
        ids, labels = lessons(reads, random.Random(f"{seed}/{step}"))
        # Padding comes last, where nothing that counts looks at it.
        told: torch.Tensor = made(input_ids=ids, labels=labels).loss
        return told

    made.load_state_dict(training.train(made, loss, STEPS, RATE, work / "writer.pt"))
    return made.eval(), reads


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to put the model; must not exist yet")
    parser.add_argument("--work", type=Path, default=Path("build/toy-model"), help="where checkpoints lie")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    arguments.work.mkdir(parents=True, exist_ok=True)
    made, reads = train(arguments.seed, arguments.work)
    arguments.folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{arguments.folder.name}-", dir=arguments.folder.parent))
    # Half the bytes; the worker computes with 32 bits.
    made.half().save_pretrained(partial)
    reads.save_pretrained(partial)
    partial.chmod(0o755)
    # Weights are written for their owner alone; workers may be somebody else.
    for file in partial.rglob("*.safetensors"):
        file.chmod(0o644)
    partial.rename(arguments.folder)


if __name__ == "__main__":
    main()
