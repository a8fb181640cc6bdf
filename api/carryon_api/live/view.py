"""What one open page gets to see: the jobs it asked for, in the namespaces that its reader may list at this moment."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

from carryon_api.live.feed import Entry

CHECKS_AT_ONCE: Final = 8


class Expired(Exception):
    """The reader's token is not good any more; the message says why."""


class Unanswered(Exception):
    """Nobody says at the moment who somebody is, or what they may see."""


class Reader(Protocol):
    """Who reads a page, and what they may see; answers are cached for some seconds by whoever gives them.

    All raise `Unanswered` where there is no answer.
    """

    async def signed_in(self) -> None:
        """Whether the token still holds.

        Raises:
            Expired: It does not.
        """
        ...

    async def may_list(self, namespace: str | None) -> bool:
        """Whether they may list the jobs of a namespace; None: of all."""
        ...

    async def may_get(self, namespace: str, name: str) -> bool:
        """Whether they may read this job."""
        ...


class View:
    """A page's filter, and the namespaces that were granted when it was last reviewed: none before.

    Attributes:
        job: (namespace, name) of the only job that is shown; None: all jobs.
        renewed: A review gave or took what was decided otherwise before: the page is to begin again.
    """

    def __init__(self, reader: Reader, namespace: str | None = None, job: tuple[str, str] | None = None) -> None:
        """Prepare; nothing is visible before the first review.

        Args:
            reader: Who looks.
            namespace: Show only its jobs.
            job: Show only this one.
        """
        self._reader = reader
        self._namespace = namespace
        self.job: Final = job
        self.renewed = False
        self._everything = False
        self._decided: dict[str, bool] = {}

    def visible(self, entry: Entry) -> bool:
        """Whether the page may see a change of a job, and wants to."""
        if self.job is not None and (entry.namespace, entry.name) != self.job:
            return False
        if self._namespace is not None and entry.namespace != self._namespace:
            return False
        return self._everything or self._decided.get(entry.namespace, False)

    def undecided(self, namespaces: Iterable[str]) -> list[str]:
        """Those of the namespaces whose jobs this page wants and of which nobody has said whether it may."""
        if self._everything:
            return []
        return [each for each in namespaces if each not in self._decided and self._wants(each)]

    async def review(self, namespaces: Iterable[str]) -> None:
        """Ask again what the reader may see.

        Args:
            namespaces: That have jobs.

        Raises:
            Expired: They are not signed in any more.
        """
        await self._reader.signed_in()
        former, decided = self._everything, self._decided
        everything = self.job is None and self._namespace is None and await self._reader.may_list(None)
        self._decided = {} if everything else await self._ask(each for each in namespaces if self._wants(each))
        self._everything = everything
        changed = any(self._decided.get(each, granted) != granted for each, granted in decided.items())
        self.renewed = self.renewed or former != everything or changed

    async def learn(self, namespaces: Iterable[str]) -> None:
        """Ask about namespaces that are new."""
        self._decided |= await self._ask(self.undecided(namespaces))

    @property
    def key(self) -> tuple[object, ...]:
        """The same for views that show the same."""
        granted = None if self._everything else frozenset(each for each, yes in self._decided.items() if yes)
        return self.job, self._namespace, granted

    @property
    def mark(self) -> str:
        """The same in a few letters, on every replica: an event's id is worth nothing to a view that shows others."""
        granted = ["*"] if self._everything else sorted(each for each, yes in self._decided.items() if yes)
        told = repr((self.job, self._namespace, granted))
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    def _wants(self, namespace: str) -> bool:
        if self.job is not None and namespace != self.job[0]:
            return False
        return self._namespace is None or namespace == self._namespace

    async def _ask(self, namespaces: Iterable[str]) -> dict[str, bool]:
        few = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def granted(namespace: str) -> bool:
            async with few:
                if self.job is not None:
                    return await self._reader.may_get(*self.job)
                return await self._reader.may_list(namespace)

        asked = list(namespaces)
        return dict(zip(asked, await asyncio.gather(*map(granted, asked)), strict=True))
