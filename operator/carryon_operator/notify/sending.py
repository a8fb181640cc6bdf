"""One attempt at a notification: one POST, to an address that is allowed, and what its answer means."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from carryon_core.notifications import Notify
from carryon_kube.client import Client
from carryon_kube.errors import ApiError, Fenced, NotFound
from carryon_kube.fence import Fence
from carryon_kube.resources import SECRETS
from carryon_operator.notify import message
from carryon_operator.notify.addresses import Allowed, literal
from carryon_operator.plan.model import DeliveryAttempt, DeliveryEnd
from carryon_operator.plan.notifying import Delivery

LONGEST: Final = 15.0
"""Seconds of one attempt, reading the Secret and looking up the host included."""
_AGAIN: Final = frozenset({408, 425, 429})
"""Of the 4xx, those that say nothing about the request."""
_MOVED: Final = frozenset({301, 308})

LookUp = Callable[[str, int], list[tuple[int, str]]]
"""Host and port -> families and addresses; blocks."""


class Sender:
    """Posts notifications."""

    def __init__(
        self,
        client: Client,
        *,
        allowed: Allowed,
        proxy: str | None,
        page_url: str | None,
        clock: Callable[[], float],
        threads: int,
        look_up: LookUp | None = None,
        longest: float = LONGEST,
        fence: Fence | None = None,
    ) -> None:
        """Prepare; `close` when no attempt is under way any more.

        Args:
            client: To read Secrets with.
            allowed: Where notifications may go besides the internet.
            proxy: Through which all of them go; None sends them straight.
            page_url: Where people see jobs, if anywhere.
            clock: Seconds since the epoch.
            threads: For looking up hosts: as many as there are attempts at a time.
            look_up: Instead of the system's resolver.
            longest: Seconds of an attempt.
            fence: Asked when an attempt is about to be made.
        """
        self._client = client
        self._allowed = allowed
        self._proxy = proxy
        self._page_url = page_url
        self._clock = clock
        self._longest = longest
        self._fence = fence
        self._resolver = _Resolver(threads, look_up or _look_up)

    @property
    def busy(self) -> bool:
        """Whether a thread looks up a host: nothing ends it."""
        return self._resolver.busy

    def close(self) -> None:
        """Let go of the threads."""
        self._resolver.shut_down()

    async def post(self, job: Mapping[str, Any], delivery: Delivery) -> DeliveryAttempt:
        """Try once; whatever goes wrong is in what is returned."""
        told = delivery.notification
        try:
            async with asyncio.timeout(self._longest):
                end, result, wait = await self._post(job, delivery)
        except TimeoutError:
            end, result, wait = DeliveryEnd.FAILED, f"no answer within {self._longest:.0f} s", None
        return DeliveryAttempt(told.url, told.id, told.attempts + 1, self._clock(), end, result, wait)

    async def _post(self, job: Mapping[str, Any], delivery: Delivery) -> tuple[DeliveryEnd, str, float | None]:
        hook, told = delivery.hook, delivery.notification
        try:
            keys = await self._keys(job["metadata"]["namespace"], hook)
        except message.SecretUnusable as error:
            return DeliveryEnd.FAILED, str(error), None
        except ApiError as error:
            return DeliveryEnd.FAILED, f"its Secret cannot be read: {error}", None
        body = message.payload(job, told, self._page_url)
        try:
            headers = message.headers(told.id, body, keys, self._clock())
            route = _Route(self._allowed, self._proxy, URL(hook.url).host or "")
        except message.ForeignId as error:
            return DeliveryEnd.GIVEN_UP, str(error), None
        except ValueError:
            return DeliveryEnd.GIVEN_UP, "the url has no host or port that there can be", None
        if (refused := route.refusal()) is not None:
            return DeliveryEnd.GIVEN_UP, refused, None
        return await self._through(route, hook.url, body, headers)

    async def _through(
        self, route: _Route, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[DeliveryEnd, str, float | None]:
        """Post, if the way there is allowed."""
        try:
            if self._fence is not None:
                self._fence()
            async with (
                self._session(route) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy) as answer,
            ):
                return judge(answer.status, answer.headers.get("Retry-After"), self._clock())
        except TimeoutError:
            raise
        except Fenced as error:
            return DeliveryEnd.FAILED, error.message, None
        except (aiohttp.InvalidURL, UnicodeError):
            return DeliveryEnd.GIVEN_UP, "the url has no host that there can be: write names and addresses out", None
        except (aiohttp.ClientError, OSError) as error:
            if (refused := route.refusal()) is not None:
                return DeliveryEnd.GIVEN_UP, refused, None
            return DeliveryEnd.FAILED, _failure(error), None

    async def _keys(self, namespace: str, hook: Notify) -> list[bytes]:
        """The keys to sign with; none where the webhook asks for none.

        Raises:
            SecretUnusable, ApiError: They can't be had now.
        """
        wanted = hook.signing_secret
        if wanted is None:
            return []
        try:
            found = await self._client.get(SECRETS, wanted.name, namespace=namespace)
        except NotFound:
            raise message.SecretUnusable(
                f'there is no Secret "{wanted.name}" in namespace "{namespace}": create it, or name another'
            ) from None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return message.signing_keys(wanted.name, wanted.key, data)

    def _session(self, route: _Route) -> aiohttp.ClientSession:
        """A session for one request: no cookies, no proxy of the environment, no connection that was open before."""
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, force_close=True, socket_factory=route.socket
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "carryon"},
            timeout=aiohttp.ClientTimeout(total=None),  # The whole attempt has one.
            auto_decompress=False,
            trust_env=False,
        )


def judge(status: int, retry_after: str | None, now: float) -> tuple[DeliveryEnd, str, float | None]:
    """What an answer means: how the attempt ended, in words, and how long the receiver wants to be left alone.

    Args:
        status: Of the answer.
        retry_after: That header.
        now: Seconds since the epoch.
    """
    told = f"HTTP {status}"
    if 200 <= status < 300:
        return DeliveryEnd.DELIVERED, told, None
    if status in _MOVED:
        return DeliveryEnd.GIVEN_UP, f"{told}: redirects are not followed; name the address it leads to", None
    if 400 <= status < 500 and status not in _AGAIN:
        return DeliveryEnd.GIVEN_UP, told, None
    return DeliveryEnd.FAILED, told, _seconds(retry_after, now)


def _seconds(retry_after: str | None, now: float) -> float | None:
    """Seconds that Retry-After asks for: it says so, or names a time (RFC 9110, section 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now, 0.0)


def _failure(error: Exception) -> str:
    """What went wrong, without a word of the receiver's."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answers HTTP {error.status}"
        case aiohttp.ClientConnectorDNSError():
            return "the host is not found"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"no trusted connection: {error.__cause__ or error}"
        case aiohttp.ClientConnectorError():
            reason = error.os_error.errno
            return f"no connection: {os.strerror(reason) if reason else error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "the receiver hung up"
        case aiohttp.ClientResponseError():
            return "what the receiver answers is no HTTP"
        case _:
            return f"no answer: {type(error).__name__}"


class _Route:
    """The way to one webhook, and what on it is not allowed."""

    def __init__(self, allowed: Allowed, proxy: str | None, host: str) -> None:
        self._allowed = allowed
        self._proxy = proxy
        self._host = host
        self._refused = False
        self._permitted = False
        address = literal(host)
        if proxy is not None:
            # Where a name leads is the proxy's affair, but not what its own machine is.
            local = host.rstrip(".").lower()
            if (
                local == "localhost"
                or local.endswith(".localhost")
                or (address is not None and not allowed.permits(address, host))
            ):
                self._refused = True

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is about to be connected to.

        Raises:
            OSError: It is not allowed.
        """
        family, kind, proto, _, where = info
        if self._proxy is None and not self._allowed.permits(ipaddress.ip_address(where[0]), self._host):
            self._refused = True
            raise OSError("not allowed")
        self._permitted = True
        return socket.socket(family, kind, proto)

    def refusal(self) -> str | None:
        """Why nothing may be sent there; None where something was connected to, or nothing tried yet."""
        if not self._refused or self._permitted:
            return None
        # Not which address it is: what names lead to inside is not for everybody.
        return f"{self._host} leads to a private address that this operator's --notify-allow does not hold"


class _Resolver(AbstractResolver):
    """Looks hosts up in threads of its own: a name server that hangs holds up nothing else."""

    def __init__(self, threads: int, look_up: LookUp) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="webhook")
        self._look_up = look_up
        self._running: set[Future[list[tuple[int, str]]]] = set()

    @property
    def busy(self) -> bool:
        """Whether a thread is at work, waited for or not."""
        return bool(self._running)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: There are none, or the name server does not answer.
        """
        looking = self._pool.submit(self._look_up, host, port)
        self._running.add(looking)
        looking.add_done_callback(self._running.discard)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in await asyncio.wrap_future(looking)
        ]

    async def close(self) -> None:
        """Nothing: sessions come and go, and this stays."""

    def shut_down(self) -> None:
        """Begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A link-local address of IPv6 with its scope is of no use here: it is not allowed.
    return [(family, str(where[0])) for family, _, _, _, where in found]
