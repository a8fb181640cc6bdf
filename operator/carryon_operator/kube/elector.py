"""Leads while it holds a Lease, and knows to the moment until when it may act."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol

from carryon_kube.client import Body, Client
from carryon_kube.errors import AlreadyExists, ApiError, Conflict, Fenced, NotFound
from carryon_kube.resources import LEASES
from carryon_operator.kube.election import Seen, Terms, claimed, holder_of, look, released, transitions_of, wait_for
from carryon_operator.steady import boot_clock

RELEASE_SECONDS: Final = 1.0
"""For giving the Lease back."""
_TRIES: Final = 3
"""Renewals that may go unanswered before the time to renew is over."""
_JITTER: Final = 0.2

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Somebody else may lead from now on: end, and start anew."""


class Leases(Protocol):
    """The Lease on its server."""

    async def get(self) -> Body:
        """The Lease.

        Raises:
            ApiError: `NotFound`, or it can't be read.
        """

    async def create(self, lease: Body) -> Body:
        """Create it; as it was stored.

        Raises:
            ApiError: `AlreadyExists`, or whether it was created is not known.
        """

    async def update(self, lease: Body) -> Body:
        """Put it in the place of the version that it names; as it was stored.

        Raises:
            ApiError: `Conflict`: it is another by now; or whether it was written is not known.
        """


class ApiLeases:
    """A Lease of the API server, through a client that nothing else waits for."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def get(self) -> Body:
        """See `Leases`."""
        return await self._client.get(LEASES, self._name, namespace=self._namespace)

    async def create(self, lease: Body) -> Body:
        """See `Leases`."""
        return await self._client.create(LEASES, lease, namespace=self._namespace)

    async def update(self, lease: Body) -> Body:
        """See `Leases`."""
        return await self._client.update(LEASES, self._name, lease, namespace=self._namespace)


class Elector:
    """Takes a Lease when it may, and keeps it.

    Attributes:
        identity: Who we are; no other process is called so.
        acquired: Set once we lead.
        transitions: How often the Lease has changed hands, as last seen.
        holder: Who holds it, as last seen.
    """

    def __init__(
        self,
        leases: Leases,
        where: tuple[str, str],
        identity: str,
        terms: Terms,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = boot_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Prepare, inside a running event loop; `run` takes part.

        Args:
            leases: The Lease on its server.
            where: Its namespace and name.
            identity: Who we are.
            terms: How long things last.
            clock: Seconds since the epoch, for people who look at the Lease.
            monotonic: Seconds, for everything that is decided.
            sleep: Waits.
            draw: Uniform in [0, 1): those who wait do not all ask at once.
        """
        self.identity: Final = identity
        self.acquired = asyncio.Event()
        self.transitions = 0
        self.holder = ""
        self._leases = leases
        self._where = where
        self._named = "/".join(where)
        self._terms = terms
        self._try_seconds = terms.renew / _TRIES
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._draw = draw
        self._lease: Body | None = None
        self._held_since = -math.inf  # When the last renewal that worked was begun.
        self._told = ""

    @property
    def leading(self) -> bool:
        """Whether we may act, at this moment."""
        return self._monotonic() < self._held_since + self._terms.renew

    def time_left(self) -> float:
        """Seconds in which a request that begins now must have ended: nobody else leads before.

        Raises:
            Fenced: None may begin.
        """
        now = self._monotonic()
        if now >= self._held_since + self._terms.renew:
            raise Fenced(f"this operator does not hold the Lease {self._named} (any more): nothing is written")
        return self._held_since + self._terms.over - now

    async def run(self) -> NoReturn:
        """Wait for the Lease, take it, and renew it for as long as that works.

        Raises:
            LeaseLost: It did not, or somebody took it away.
        """
        await self._acquire()
        log.info("leading: %s holds the Lease %s", self.identity, self._named)
        self.acquired.set()
        while True:
            await self._sleep(self._terms.retry)
            try:
                await self._renew()
            except LeaseLost:
                # Before its time, if somebody else has taken it: what is still being ended here writes no more either.
                self._held_since = -math.inf
                raise

    async def release(self) -> None:
        """Start no request any more and give the Lease back, if it is ours; nobody may be at `run` meanwhile."""
        ours, self._held_since = self.leading, -math.inf
        if not ours or self._lease is None:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._give_back(self._lease)
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s is not given back, and runs out by itself: %s", self._named, _words(error))
        else:
            log.info("the Lease %s is given back", self._named)

    async def _give_back(self, lease: Body) -> None:
        try:
            await self._leases.update(released(lease, self._where, self._clock()))
        except Conflict:
            # A renewal that nobody waited for any more, or somebody's label.
            found = await self._leases.get()
            if holder_of(found) == self.identity:
                await self._leases.update(released(found, self._where, self._clock()))

    async def _acquire(self) -> None:
        seen: Seen | None = None
        while True:
            wait = self._terms.retry * (1.0 + _JITTER * self._draw())
            try:
                async with asyncio.timeout(self._try_seconds):
                    lease = await self._read()
                    seen = look(lease, seen, self._monotonic(), self._terms)
                    self._note(lease, seen.holder)
                    left = wait_for(seen, self.identity, self._monotonic())
                    if left == 0.0:
                        await self._take(lease)
                        return
                    wait = min(wait, left)
            except (AlreadyExists, Conflict):
                log.debug("somebody else was first")
            except (ApiError, TimeoutError) as error:
                self._tell(f"the Lease {self._named} can't be had: {_words(error)}; trying again")
            await self._sleep(wait)

    async def _read(self) -> Body | None:
        try:
            return await self._leases.get()
        except NotFound as error:
            # Nor is it there where its namespace is not; creating it says so.
            self._tell(f"there is no Lease {self._named} yet ({error.message})")
            return None

    async def _take(self, lease: Body | None) -> None:
        begun = self._monotonic()
        claim = claimed(lease, self._where, self.identity, self._terms, self._clock())
        self._won(begun, await (self._leases.create(claim) if lease is None else self._leases.update(claim)))

    async def _renew(self) -> None:
        """Renew the Lease, as often as there is time for it.

        Raises:
            LeaseLost: It is not ours any more, or may not be soon.
        """
        problem: Exception | None = None
        while True:
            begun = self._monotonic()
            left = self._held_since + self._terms.renew - begun
            if left <= 0:
                why = f": {_words(problem)}" if problem is not None else ""
                raise LeaseLost(
                    f"the Lease {self._named} was not renewed within {self._terms.renew:g} s{why}; another replica may"
                    " lead by now"
                )
            try:
                async with asyncio.timeout(min(self._try_seconds, left)):
                    await self._take(self._lease)
                return
            except Conflict as conflict:
                problem = conflict
            except NotFound as error:
                raise self._gone() from error
            except (ApiError, TimeoutError) as error:
                problem = error
                log.warning("the Lease %s is not renewed yet: %s", self._named, _words(error))
                await self._sleep(min(self._terms.retry, left))
                continue
            await self._look_again()

    async def _look_again(self) -> None:
        """Another version of the Lease is there than we wrote last: find out whose it is.

        Raises:
            LeaseLost: Not ours.
        """
        try:
            async with asyncio.timeout(self._try_seconds):
                found = await self._leases.get()
        except NotFound as error:
            raise self._gone() from error
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s can't be read: %s", self._named, _words(error))
            await self._sleep(self._terms.retry / 4)
            return
        self._note(found, holder_of(found))
        if self.holder != self.identity:
            raise LeaseLost(f"the Lease {self._named} is held by {self.holder or 'nobody'}")
        # Somebody's label, or a renewal of ours whose answer was lost: the next try is made with this version.
        self._lease = found

    def _gone(self) -> LeaseLost:
        return LeaseLost(f"the Lease {self._named} is gone: somebody deleted it")

    def _won(self, begun: float, lease: Body) -> None:
        self._lease = lease
        # From the beginning of the request: the server has written it later, and the others see it later still.
        self._held_since = begun
        self._note(lease, self.identity)

    def _note(self, lease: Body | None, holder: str) -> None:
        self.transitions = transitions_of(lease)
        if holder not in (self.holder, self.identity, ""):
            log.info("standing by: %s holds the Lease %s", holder, self._named)
        self.holder = holder
        if lease is not None:
            self._told = ""

    def _tell(self, what: str) -> None:
        """Say what is wrong, but not every two seconds of an outage."""
        if what != self._told:
            log.warning("%s", what)
            self._told = what


def _words(error: Exception) -> str:
    return str(error) or "no answer in time"
