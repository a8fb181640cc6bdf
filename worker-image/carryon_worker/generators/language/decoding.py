"""Computes what may follow a prompt, token by token, so that a text can be gone on with to the same bits.

What a model computes for a token depends, in its last bits, on how many it is given at once. So tokens are not read
anew in one go after a kill, which would be fast and wrong, nor one by one, which would take as long as before. Instead
every run, interrupted or not, reads the text so far once more in blocks: where a block ends, what the single tokens
left in the cache is dropped, and the block is read in one go. A run that goes on reads the same blocks, and then only
the tokens after the last one by one. See docs/adr/0017-text-in-blocks.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from carryon_worker.failures import BadRequest

BLOCK: Final = 128
"""Tokens of a block; part of the worker fingerprint."""
_CACHES: Final = ("past_key_values", "cache_params")
"""Names under which models take and return what they have read."""


class Decoder:
    """Reads one prompt and the text after it.

    Args:
        model: A causal language model, in evaluation mode.
        prompt: Its tokens, at least one.

    Raises:
        BadRequest: The model keeps nothing of what it has read.
    """

    def __init__(self, model: Any, prompt: Sequence[int]) -> None:
        self._model = model
        self._prompt = list(prompt)
        takes = inspect.signature(model.forward).parameters
        names = [name for name in _CACHES if name in takes]
        if not names:
            raise BadRequest(f"{type(model).__name__} keeps nothing of what it has read: choose another model")
        self._name = names[0]
        self._last_only: Mapping[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._cache: Any = None
        self._scores = self._read(self._prompt)
        self._whole = len(self._prompt)
        """Tokens that were read in blocks; the prompt is the first."""
        self._blocks = isinstance(self._cache, DynamicCache) and all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self._cache.layers
        )
        self._kept = self._state() if self._blocks else []

    def first(self, tokens: int) -> int:
        """The position from which scores must be asked for to get at those after so many tokens."""
        # What is before it is read in blocks.
        return tokens // BLOCK * BLOCK if self._blocks else 0

    def scores(self, tokens: Sequence[int]) -> torch.Tensor:
        """Scores of the token that follows a text: shape (vocabulary,), float32, on the CPU.

        Args:
            tokens: The text so far: by one longer each time, from a length that `first` names.
        """
        position = len(tokens)
        if self._blocks and position % BLOCK == 0:
            self._read_blocks(tokens)
        elif position:
            self._scores = self._read(tokens[-1:])
        return self._scores

    def _read_blocks(self, tokens: Sequence[int]) -> None:
        self._rewind()
        begin = self._whole - len(self._prompt)
        for start in range(begin, len(tokens), BLOCK):
            self._scores = self._read(tokens[start : start + BLOCK])
            self._whole += BLOCK
        self._kept = self._state()

    def _read(self, tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._model.device)
            given = {self._name: self._cache} if self._cache is not None else {}
            answer = self._model(input_ids=ids, use_cache=True, return_dict=True, **given, **self._last_only)
            self._cache = getattr(answer, self._name)
            scores: torch.Tensor = answer.logits[0, -1].float().cpu()
            return scores

    def _state(self) -> list[dict[str, Any]]:
        """What is needed to get back to now, layer by layer; a layer only ever replaces its tensors."""
        return [{} if type(layer) is DynamicLayer else dict(vars(layer)) for layer in self._cache.layers]

    def _rewind(self) -> None:
        """Drop what single tokens left."""
        for layer, kept in zip(self._cache.layers, self._kept, strict=True):
            vars(layer).update(kept)
            if type(layer) is DynamicLayer and layer.get_seq_length():
                # The next update joins them with what is new, into tensors without gaps.
                given: Any = layer
                given.keys = given.keys[..., : self._whole, :]
                given.values = given.values[..., : self._whole, :]
