"""Takes one of the tokens that may follow. Pure: the same scores, seed and position give the same token.

No generator is kept whose state would have to be saved: a position's random number is a digest of seed and position.
What temperature, top-k, top-p and repetition penalty do is what transformers' own processors do, in its order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from carryon_core.texts import Text
from carryon_worker.failures import UnitFailure

_ENOUGH: Final = 1024
"""Tokens among which top-p is looked for first: to sort a whole vocabulary takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are taken.

    Attributes:
        sample: Draw by chance; else take the likeliest.
        top_k: Of so many of the likeliest; 0: of all.
        top_p: Of the likeliest that together have this probability.
        least: Tokens before which none ends the text.
        ends: Tokens that end a text.
    """

    sample: bool
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    least: int
    ends: tuple[int, ...]


def drawing(wanted: Text, own: Any, ends: Sequence[int]) -> Drawing:
    """How a unit's tokens are taken: as asked for, else as the model's own generation config says.

    Args:
        wanted: The unit's configuration.
        own: The model's generation config.
        ends: Tokens that end a text.
    """

    def first(asked: float | None, name: str, neutral: float) -> float:
        value = asked if asked is not None else getattr(own, name, None)
        return float(neutral if value is None else value)

    penalty = first(wanted.repetition_penalty, "repetition_penalty", 1.0)
    if not wanted.sample:
        return Drawing(False, 1.0, 0, 1.0, penalty, wanted.min_new_tokens, tuple(ends))
    return Drawing(
        sample=True,
        # 0 stands in some generation configs that do not sample.
        temperature=first(wanted.temperature, "temperature", 1.0) or 1.0,
        top_k=int(first(wanted.top_k, "top_k", 0)),
        top_p=first(wanted.top_p, "top_p", 1.0),
        repetition_penalty=penalty,
        least=wanted.min_new_tokens,
        ends=tuple(ends),
    )


def chance(seed: int, position: int) -> float:
    """The random number of a position, 0 <= chance < 1."""
    drawn = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return (int.from_bytes(drawn[:8], "big") >> 11) / 2.0**53


def draw(scores: torch.Tensor, prompt: Sequence[int], text: Sequence[int], how: Drawing, seed: int) -> int:
    """The token that follows a text.

    Args:
        scores: Of every token of the vocabulary, on the CPU: shape (vocabulary,), float32.
        prompt: Tokens before the text.
        text: Its tokens so far.
        how: How one is taken.
        seed: Of the unit.

    Raises:
        UnitFailure: The scores are not numbers.
    """
    best = scores.max().item()
    if not math.isfinite(best):
        raise UnitFailure(
            "NotANumber",
            f"the model's scores for token {len(text)} are not numbers: look whether its files are whole, or give it"
            " another dtype",
        )
    if how.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*prompt, *text}))
        told = scores[seen]
        scores = scores.index_put(
            (seen,), torch.where(told < 0, told * how.repetition_penalty, told / how.repetition_penalty)
        )
    if how.ends and len(text) < how.least:
        scores = scores.index_fill(0, torch.tensor(how.ends), -math.inf)
    if not how.sample:
        return int(scores.argmax().item())
    candidates, weights = _candidates(scores / how.temperature, how)
    rising = weights.cumsum(0)
    total = rising[-1]
    # Below the total whatever rounding does: what has no weight is never taken.
    at = torch.minimum(chance(seed, len(text)) * total, torch.nextafter(total, total * 0))
    return int(candidates[torch.searchsorted(rising, at, right=True)].item())


def _candidates(scores: torch.Tensor, how: Drawing) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that may be taken, and what each weighs: shapes (n,), int64 and float64."""
    everything = torch.exp(scores.double() - scores.max().double())
    if how.top_k and how.top_k < len(scores):
        values, tokens = scores.topk(how.top_k)
        weights = torch.exp(values.double() - values[0].double())
        return _likeliest(tokens, weights, how.top_p, weights.sum())
    if how.top_p >= 1.0:
        return torch.arange(len(scores)), everything
    total = everything.sum()
    if len(scores) > _ENOUGH:
        weights, tokens = everything.topk(_ENOUGH)
        if weights.sum() >= how.top_p * total:
            return _likeliest(tokens, weights, how.top_p, total)
    weights, tokens = everything.sort(descending=True, stable=True)
    return _likeliest(tokens, weights, how.top_p, total)


def _likeliest(
    tokens: torch.Tensor, weights: torch.Tensor, top_p: float, total: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first of some tokens, sorted by weight, that together have the share `top_p` of the total."""
    before = weights.cumsum(0) - weights
    count = max(1, int((before < top_p * total).sum().item()))
    return tokens[:count], weights[:count]
