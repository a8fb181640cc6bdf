"""One text, from its prompt to its end: what is kept of it is taken over, the rest is drawn and kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from carryon_worker.generators.language import keeping
from carryon_worker.generators.language.decoding import Decoder
from carryon_worker.generators.language.drawing import Drawing, draw
from carryon_worker.generators.language.endings import Endings, Finish
from carryon_worker.generators.language.keeping import Differs, Kept, Token, Trace
from carryon_worker.journal.chain import Chain
from carryon_worker.session import Session


@dataclass(frozen=True, slots=True)
class Written:
    """A text that has ended.

    Attributes:
        tokens: Of the text; where the model ended it, the last is the one by which it did.
    """

    tokens: tuple[int, ...]
    finish: Finish


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes one text.

    Attributes:
        model: The language model.
        prompt: The prompt's tokens.
        how: How tokens are taken.
        endings: When it ends.
        session: Of the unit.
    """

    model: Any
    prompt: tuple[int, ...]
    how: Drawing
    endings: Endings
    session: Session

    def write(self, chain: Chain = ()) -> Written:
        """The text, after what its journal holds; where that does not fit, from the start.

        Raises:
            UnitFailure: The model does not give scores.
        """
        try:
            return self._go_on(keeping.read(chain, self.prompt))
        except Differs as why:
            self.session.journal.start_over(str(why))
            return self._go_on(Kept())

    def _go_on(self, kept: Kept) -> Written:
        text = list(kept.tokens)
        account = self.session.journal.account
        account.calls = account.replayed = len(text)
        if finish := self.endings.finish(text):
            account.saved = sum(kept.seconds)
            return Written(kept.tokens, finish)
        decoder = Decoder(self.model, self.prompt)
        first = decoder.first(len(text))
        self._read_again(decoder, text, first)
        account.saved = sum(kept.seconds[:first])
        trace = Trace([*self.prompt, *text])
        before = None
        while finish is None:
            began = time.monotonic()
            token = draw(decoder.scores(text), self.prompt, text, self.how, self.session.seed)
            account.calls += 1
            drawn = time.monotonic()
            self.session.journal.add(
                Token(token, len(text), str(trace), began, 0.0 if before is None else began - before)
            )
            account.waited += time.monotonic() - drawn
            before = began
            trace.add(token)
            text.append(token)
            self.session.step(len(text), self.endings.most)
            finish = self.endings.finish(text)
        return Written(tuple(text), finish)

    def _read_again(self, decoder: Decoder, text: Sequence[int], first: int) -> None:
        """Read a text's last tokens one by one.

        Raises:
            Differs: Another one would be drawn in the place of one of them.
        """
        for position in range(first, len(text)):
            before = text[:position]
            if draw(decoder.scores(before), self.prompt, before, self.how, self.session.seed) != text[position]:
                raise Differs(f"token {position} would be another")
        if text:
            self.session.step(len(text), self.endings.most)
