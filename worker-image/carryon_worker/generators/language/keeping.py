"""A text's tokens in the unit's journal: one call each, and each says which tokens it follows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from carryon_worker.journal.chain import Chain
from carryon_worker.journal.segments import Blob, Call, Kind

COMPONENT: Final = "lm"
_BEFORE: Final = "before"
_SIZE: Final = 128
"""Bytes that a token takes in a segment, nearly all of them in its header."""


class Differs(Exception):
    """The journal does not hold what would be computed: the sentence says where."""


class Trace:
    """A digest of the tokens so far, prompt included.

    Args:
        prompt: The prompt's tokens.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self._hash = hashlib.sha256(",".join(map(str, prompt)).encode())

    def add(self, token: int) -> None:
        """One more token."""
        self._hash.update(f",{token}".encode())

    def __str__(self) -> str:
        """16 hex digits."""
        return self._hash.copy().hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Token:
    """A token on its way into the journal.

    Attributes:
        token: Its number in the vocabulary.
        position: Tokens of the text before it.
        before: Digest of all tokens before it.
        began: When it was begun, monotonic seconds.
        seconds: Since the attempt's token before it was begun.
    """

    token: int
    position: int
    before: str
    began: float
    seconds: float

    @property
    def section(self) -> bool:
        """It stands for nothing but itself."""
        return False

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return _SIZE

    def ready(self) -> bool:
        """It has no tensors that might be under way."""
        return True

    def describe(self) -> tuple[Call, Sequence[Blob]]:
        """What is written of it."""
        call = Call(
            component=COMPONENT,
            kind=Kind.KEPT,
            inputs={_BEFORE: self.before},
            output={"value": self.token},
            step=self.position,
            seconds=round(self.seconds, 6),
        )
        return call, ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What earlier attempts left.

    Attributes:
        tokens: Of the text, from its first on.
        seconds: What each took.
    """

    tokens: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


def read(chain: Chain, prompt: Sequence[int]) -> Kept:
    """The tokens in a journal.

    Args:
        chain: As `Journal.open` returns it.
        prompt: The prompt's tokens.

    Raises:
        Differs: It holds something else, or tokens that follow others than it says.
    """
    trace = Trace(prompt)
    tokens: list[int] = []
    seconds: list[float] = []
    for call in (call for segment in chain for call in segment.header.calls):
        match call.output:
            case {"value": int(token)} if call.component == COMPONENT:
                pass
            case _:
                raise Differs(f"call {len(tokens)} holds no token")
        if call.inputs != {_BEFORE: str(trace)}:
            raise Differs(f"token {len(tokens)} follows other tokens")
        tokens.append(token)
        seconds.append(call.seconds)
        trace.add(token)
    return Kept(tuple(tokens), tuple(seconds))
