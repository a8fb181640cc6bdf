"""Train the toy model: it draws its own clips, and learns to make them from words.

    python examples/toy-model/train.py examples/toy-model/shapes

About half an hour on two CPU cores. Kill it when you like: the same command goes on. The result is a folder as
`save_pretrained` leaves it, for `DiffusionPipeline.from_pretrained`: a WanPipeline. The same seed on the same kind of
machine trains the same weights.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import diffusers
import models
import scenes
import torch
import training
import transformers
from torch import nn

STEPS, BATCH, RATE = 2750, 32, 3e-3
LIBRARY = 4000
"""Ways of forms to learn from; colours are given to them anew in each step."""
GRID = tuple(
    length // part for length, part in zip((scenes.FRAMES, scenes.SIZE, scenes.SIZE), models.BLOCK, strict=True)
)
"""Tokens of a clip: in time, down and across."""
WORDLESS = 0.1
"""Share of clips without a prompt, for guidance."""
LENGTHS = (16, 24, 48, 96)
"""Tokens that a prompt is filled up to: the filling is to mean nothing, however much of it there is."""
FEW_NOISE = 0.05
"""Share of noise below which errors don't count more."""


class Denoiser(nn.Module):
    """What is trained together: words to vectors, and vectors and noise to clips."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = models.text_encoder(vocabulary)
        self.transformer = models.compact()

    def forward(self, noisy: torch.Tensor, share: torch.Tensor, ids: torch.Tensor, length: int) -> torch.Tensor:
        """What the clips would be without noise; the prompts reach the transformer as WanPipeline hands them over.

        Args:
            noisy: (clips, tokens, patterns), as is what comes out.
            share: (clips), of noise.
            ids: (clips, words).
            length: What prompts are filled up to.
        """
        mask = ids != 0
        text = self.text_encoder(ids, mask).last_hidden_state * mask.unsqueeze(-1)
        text = nn.functional.pad(text, (0, 0, 0, length - text.shape[1]))
        grid = noisy.transpose(1, 2).unflatten(2, GRID)
        return self.transformer(grid, share * 1000, text).sample.flatten(2).transpose(1, 2)


class Lessons:
    """What each step learns from, drawn from the seed and the step's number.

    A clip is its landscape, and where its form covers that, the form's colour instead of it. All of that is linear, so
    the shares of patterns in what forms cover are worked out once, and those of clips in any colours follow.
    """

    def __init__(self, tokenizer: transformers.T5Tokenizer, seed: int) -> None:
        self.seed = seed
        self.kinds = [scene for scene in scenes.scenes() if not scene.unseen]
        ids = tokenizer(["", *(scene.prompt for scene in self.kinds)], padding=True, return_tensors="pt").input_ids
        self.wordless, self.ids = ids[0], dict(zip(self.kinds, ids[1:], strict=True))
        drawn = random.Random(seed)
        some = [scenes.draw(drawn.sample(self.kinds, 100), drawn) for _ in range(5)]
        self.patterns = models.Patterns.of(torch.cat(some) * models.CONTRAST)
        # By turns, so that no form and no motion is rarer than another.
        moves = [(form, motion) for form in scenes.FORMS for motion in scenes.MOTIONS]
        self.ways = [moves[number % len(moves)] for number in range(LIBRARY)]
        self.covered = torch.stack([self._covered(scenes.coverage(*way, drawn)) for way in self.ways])
        self.kinds_of = {way: [each for each in self.kinds if (each.form, each.motion) == way] for way in moves}
        empty = torch.zeros(1, scenes.FRAMES, scenes.SIZE, scenes.SIZE)
        one_each = [next(each for each in self.kinds if each.place == place) for place in scenes.PLACES]
        pixels = models.blocks(scenes.paint(empty, one_each) * models.CONTRAST) - self.patterns.mean
        self.places = dict(zip(scenes.PLACES, pixels @ self.patterns.basis, strict=True))

    def _covered(self, coverage: torch.Tensor) -> torch.Tensor:
        """Shares of patterns in what a form covers: (tokens, sky's and ground's three colours each, patterns)."""
        sky = coverage * scenes.above()
        pixels = models.blocks(torch.stack([sky, coverage - sky]).unsqueeze(1))
        found = torch.einsum("stp,cpk->tsck", pixels, self.patterns.basis.unflatten(0, (3, -1)))
        return found.flatten(1, 2).half()

    def clips(self, drawn: random.Random, count: int) -> tuple[torch.Tensor, list[scenes.Scene]]:
        """Shares of patterns in some clips, (clips, tokens, patterns), and what they show."""
        chosen = drawn.sample(range(LIBRARY), count)
        shown = [drawn.choice(self.kinds_of[self.ways[number]]) for number in chosen]
        behind = torch.stack([self.places[scene.place] for scene in shown])
        front = torch.tensor([scenes.COLOURS[scene.colour] for scene in shown])
        back = torch.tensor([scenes.PLACES[scene.place] for scene in shown])
        change = (front.unsqueeze(1) - back).flatten(1) / 127.5 * models.CONTRAST
        return behind + torch.einsum("bs,btsk->btk", change, self.covered[chosen].float()), shown

    def loss(self, made: Denoiser, step: int) -> torch.Tensor:
        """Errors count as much where noise leaves a prompt to be followed as where it leaves edges to be drawn."""
        drawn = random.Random(f"{self.seed}/{step}")
        source = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        clean, shown = self.clips(drawn, BATCH)
        ids = [self.wordless if drawn.random() < WORDLESS else self.ids[scene] for scene in shown]
        share = torch.sigmoid(torch.randn(BATCH, generator=source) * 1.7 + 0.3)
        much = share.view(-1, 1, 1)
        noisy = torch.lerp(clean, torch.randn(clean.shape, generator=source), much)
        told = made(noisy, share, torch.stack(ids), drawn.choice(LENGTHS))
        return ((told - clean).square() / much.clamp(min=FEW_NOISE)).mean()


def train(seed: int, work: Path) -> diffusers.WanPipeline:
    tokenizer = models.tokenizer(scenes.words())
    lessons = Lessons(tokenizer, seed)
    torch.manual_seed(seed)
    made = Denoiser(len(tokenizer))
    models.begin_with_patterns(made.transformer, lessons.clips(random.Random(seed), 400)[0].flatten(0, 1).std(0))
    weights = training.train(made, lambda step: lessons.loss(made, step), STEPS, RATE, work / "denoiser.pt")
    made.load_state_dict(weights)
    return pipeline(tokenizer, made, lessons.patterns)


def pipeline(tokenizer: transformers.T5Tokenizer, made: Denoiser, patterns: models.Patterns) -> diffusers.WanPipeline:
    return diffusers.WanPipeline(
        tokenizer=tokenizer,
        text_encoder=made.text_encoder,
        vae=models.vae(),
        transformer=models.unfolded(made.transformer, patterns),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="sample", use_flow_sigmas=True, flow_shift=3.0, final_sigmas_type="zero"
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to put the pipeline; must not exist yet")
    parser.add_argument("--work", type=Path, default=Path("build/toy-model"), help="where checkpoints lie")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already")
    for loud in (diffusers, transformers):
        loud.utils.logging.set_verbosity_error()
        loud.utils.logging.disable_progress_bar()
    arguments.work.mkdir(parents=True, exist_ok=True)
    made = train(arguments.seed, arguments.work)
    arguments.folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{arguments.folder.name}-", dir=arguments.folder.parent))
    # Half the bytes; the worker computes with 32 bits.
    made.to(dtype=torch.float16).save_pretrained(partial)
    partial.chmod(0o755)
    # Weights are written for their owner alone; workers may be somebody else.
    for file in partial.rglob("*.safetensors"):
        file.chmod(0o644)
    partial.rename(arguments.folder)


if __name__ == "__main__":
    main()
