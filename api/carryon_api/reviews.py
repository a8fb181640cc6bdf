"""Who a token belongs to and what that person may do, as Kubernetes says; remembered for a few seconds."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from carryon_api.problems import Problem, too_many, unauthorized
from carryon_core import names
from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_kube.ratelimit import TokenBucket
from carryon_kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS

KNOWN_SECONDS: Final = 60.0
"""How long a token counts as good after Kubernetes said so."""
REFUSED_SECONDS: Final = 10.0
ALLOWED_SECONDS: Final = 10.0
"""How long an access review holds, either way."""
AUTHENTICATED: Final = "system:authenticated"
"""Group of everybody who has signed in; Kubernetes adds it by itself to whomever one acts for."""
_REMEMBERED: Final = 4096
_REVIEWS_PER_SECOND: Final = 5.0
_REVIEWS_AT_ONCE: Final = 50
V = TypeVar("V")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Somebody who has signed in.

    Attributes:
        name: Of the user, as Kubernetes knows it.
        groups: Of the user.
        token: Bearer token; None where a trusted proxy named the user, for whom we then act by impersonation.
        uid: Of the user, where Kubernetes has one.
        extra: What else the authenticator said, for access reviews.
    """

    name: str
    groups: tuple[str, ...]
    token: str | None = field(repr=False)
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def key(self) -> Hashable:
        """What tells callers apart in caches and limits; never the token itself."""
        return (self.name, self.groups, self.extra) if self.token is None else digest(self.token)


@dataclass(frozen=True, slots=True)
class Access:
    """Something that one may or may not do, in the words of RBAC.

    Attributes:
        namespace: None: in all of them.
        resource: Of our group, but for pods.
        name: Of the object; empty: of any.
        path: Instead of all others, for what is no resource of Kubernetes.
    """

    verb: str
    namespace: str | None = None
    resource: str = names.PLURAL
    subresource: str = ""
    name: str = ""
    path: str = ""

    @property
    def group(self) -> str:
        """API group of the resource."""
        return names.GROUP if self.resource == names.PLURAL else ""

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} {self.path}"
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = "in any namespace" if self.namespace is None else f'in namespace "{self.namespace}"'
        return f"{self.verb} {what}{f'.{self.group}' if self.group else ''} {where}"


class Remembered(Generic[V]):
    """Answers that hold for a while; who asks for the same at the same time waits for the one answer."""

    def __init__(self, clock: Callable[[], float], most: int = _REMEMBERED) -> None:
        """Start empty.

        Args:
            clock: Seconds, monotonic.
            most: Answers that are kept.
        """
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._asked: dict[Hashable, asyncio.Future[V]] = {}

    def known(self, key: Hashable) -> V | None:
        """What is remembered."""
        found = self._kept.get(key)
        if found is None or found[0] <= self._clock():
            return None
        self._kept.move_to_end(key)
        return found[1]

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[V]], holds: Callable[[V], float]) -> V:
        """What is remembered, else the answer to `ask`, remembered for as many seconds as `holds` says.

        Raises:
            Exception: What `ask` raises; nothing is remembered then.
        """
        known = self.known(key)
        if known is not None:
            return known
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.ensure_future(ask())
            asked.add_done_callback(lambda done: self._keep(key, done, holds))
        # Shielded: that one of those who wait goes away is no reason for the others to start over.
        return await asyncio.shield(asked)

    def _keep(self, key: Hashable, done: asyncio.Future[V], holds: Callable[[V], float]) -> None:
        self._asked.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[key] = (self._clock() + holds(done.result()), done.result())
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a token review said; `caller` is None for a token that is not good."""

    caller: Caller | None


class Reviews:
    """Asks Kubernetes who somebody is and what they may, with the API's own rights."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        """Start with nothing known.

        Args:
            client: Of the API itself, which may create token and access reviews.
            clock: Seconds, monotonic.
        """
        self._client = client
        self._clock = clock
        self._tokens: Remembered[_Found] = Remembered(clock)
        self._access: Remembered[bool] = Remembered(clock)
        self._asking: OrderedDict[str, TokenBucket] = OrderedDict()

    async def caller(self, token: str, address: str) -> Caller:
        """Whose token this is.

        Args:
            token: As it was sent.
            address: Where it was sent from: unknown tokens of one address are looked at slowly.

        Raises:
            Problem: 401, or 429 where the address has tried too many.
        """

        async def ask() -> _Found:
            # Here, so that many pages with one token, which come back after a restart all at once, count as one.
            self._slow_down(address)
            return await self._who(token)

        found = await self._tokens.get(
            digest(token), ask, lambda found: KNOWN_SECONDS if found.caller else REFUSED_SECONDS
        )
        if found.caller is None:
            raise unauthorized("Kubernetes does not know this token, or it has expired: sign in with another one")
        return found.caller

    async def may(self, caller: Caller, access: Access) -> bool:
        """Whether a caller may do something."""
        # Most roles name no objects: one answer then holds for all of a namespace.
        if access.name and await self.may(caller, replace(access, name="")):
            return True
        return await self._access.get(
            (caller.name, caller.groups, caller.uid, caller.extra, access),
            lambda: self._may(caller, access),
            lambda _: ALLOWED_SECONDS,
        )

    async def demand(self, caller: Caller, access: Access) -> None:
        """Make sure that a caller may do something.

        Raises:
            Problem: 403.
        """
        if not await self.may(caller, access):
            raise Problem("forbidden", f'"{caller.name}" may not {access}: ask for a role that allows it')

    async def _who(self, token: str) -> _Found:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        with by_own_right("create tokenreviews"):
            status = (await self._client.create(TOKEN_REVIEWS, body)).get("status") or {}
        if not status.get("authenticated"):
            return _Found(None)
        user: Mapping[str, Any] = status.get("user") or {}
        extra = tuple(sorted((name, tuple(values)) for name, values in (user.get("extra") or {}).items()))
        groups = tuple(user.get("groups") or ())
        return _Found(Caller(str(user.get("username", "")), groups, token, str(user.get("uid") or ""), extra))

    async def _may(self, caller: Caller, access: Access) -> bool:
        named = {
            "verb": access.verb,
            "group": access.group,
            "resource": access.resource,
            "subresource": access.subresource,
            "namespace": access.namespace or "",
            "name": access.name,
        }
        attributes = {name: value for name, value in named.items() if value}
        about: dict[str, Any] = {"resourceAttributes": attributes}
        if access.path:
            about = {"nonResourceAttributes": {"verb": access.verb, "path": access.path}}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": caller.name,
                "groups": list(caller.groups),
                "uid": caller.uid,
                "extra": {name: list(values) for name, values in caller.extra},
                **about,
            },
        }
        with by_own_right("create subjectaccessreviews"):
            status = (await self._client.create(SUBJECT_ACCESS_REVIEWS, body)).get("status") or {}
        return bool(status.get("allowed")) and not status.get("denied")

    def _slow_down(self, address: str) -> None:
        bucket = self._asking.get(address)
        if bucket is None:
            bucket = self._asking[address] = TokenBucket(_REVIEWS_PER_SECOND, _REVIEWS_AT_ONCE, self._clock)
            while len(self._asking) > _REMEMBERED:
                self._asking.popitem(last=False)
        self._asking.move_to_end(address)
        wait = bucket.take()
        if wait > 0:
            raise too_many("too many tokens from this address were unknown: try again later", wait)


@contextmanager
def by_own_right(right: str) -> Iterator[None]:
    """What Kubernetes refuses to the API itself is no fault of the caller's.

    Raises:
        Problem: 503, that names the right.
    """
    try:
        yield
    except ApiError as error:
        if error.status not in (401, 403):
            raise
        log.error("the API may not %s: %s", right, error)
        raise Problem(
            "unavailable", f"Kubernetes refuses the API itself: its service account needs the right to {right}"
        ) from None


def digest(token: str) -> str:
    """A token as caches know it."""
    return hashlib.sha256(token.encode()).hexdigest()
