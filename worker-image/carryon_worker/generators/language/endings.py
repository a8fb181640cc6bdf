"""When a text is long enough, and what of it counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Finish(StrEnum):
    """Why a text ended."""

    LENGTH = "length"
    """It has `maxNewTokens`."""
    END = "end"
    """The model ended it."""
    STOP = "stop"
    """A text of `stop` came."""


@dataclass(frozen=True)
class Endings:
    """Says whether a text has ended.

    Attributes:
        tokenizer: Turns tokens into text.
        ends: Tokens that end a text.
        stop: Texts before which it ends.
        most: Tokens that it may have.
        prompt: Tokens of a prompt that the text goes on after as it stands; none where it is an answer.
    """

    tokenizer: Any
    ends: frozenset[int]
    stop: tuple[str, ...]
    most: int
    prompt: tuple[int, ...] = ()

    def finish(self, tokens: Sequence[int]) -> Finish | None:
        """Why a text ends with its last token; None where it goes on."""
        if tokens and tokens[-1] in self.ends:
            return Finish.END
        if tokens and self.stop and self._stopped(tokens):
            return Finish.STOP
        return Finish.LENGTH if len(tokens) >= self.most else None

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, up to what stops it."""
        text = self._decoded(tokens)
        found = [at for each in self.stop if (at := text.find(each)) >= 0]
        return text[: min(found)] if found else text

    def _stopped(self, tokens: Sequence[int]) -> bool:
        # A token that shows has a byte at least, so a stop that has just come lies in the last few.
        reach = max(len(each.encode()) for each in self.stop) + _MARGIN
        tail = self._decode(tokens[-reach:])
        return any(each in tail for each in self.stop) and any(each in self._decoded(tokens) for each in self.stop)

    def _decoded(self, tokens: Sequence[int]) -> str:
        """The text of tokens where they stand: some tokenizers leave out the space that a text begins with."""
        before = self.prompt[-_MARGIN:]
        start, whole = self._decode(before), self._decode([*before, *tokens])
        return whole[len(start) :] if start and whole.startswith(start) else self._decode(tokens)

    def _decode(self, tokens: Sequence[int]) -> str:
        shown = [token for token in tokens if token not in self.ends]
        return str(self.tokenizer.decode(shown, skip_special_tokens=True, clean_up_tokenization_spaces=False))


_MARGIN = 8
"""Tokens around what is looked at: a letter may have four."""
