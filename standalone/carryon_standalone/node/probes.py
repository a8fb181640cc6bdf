"""Liveness, readiness and startup probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from carryon_standalone.node.pods import Object


@dataclass(frozen=True)
class Verdict:
    """What a probe says; the message is of the last failure."""

    healthy: bool
    message: str = ""


Check = Callable[[], Awaitable[str | None]]
"""One look at a container: None is success, a text says what is wrong."""


async def follow(probe: Object, check: Check) -> AsyncIterator[Verdict]:
    """Verdicts of one probe, each when the thresholds are reached that change it.

    The first verdict comes after `successThreshold` successes or `failureThreshold` failures in a row.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    needed = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    current: bool | None = None
    latest, count = True, 0
    while True:
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                problem = await check()
        except TimeoutError:
            problem = "context deadline exceeded"
        healthy = problem is None
        latest, count = healthy, count + 1 if healthy == latest else 1
        if count >= needed[healthy] and healthy != current:
            current = healthy
            yield Verdict(healthy, problem or "")
        await asyncio.sleep(probe.get("periodSeconds", 10))


def port_of(container: Object, port: int | str) -> int:
    """The number of a port that a probe names."""
    for offered in container.get("ports") or ():
        if offered.get("name") == port:
            return int(offered["containerPort"])
    return int(port)


async def check_http(action: Object, container: Object, pod_ip: str) -> str | None:
    """An HTTP GET: 200 to 399 is success."""
    host = action.get("host") or pod_ip
    url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{port_of(container, action['port'])}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url + action.get("path", "/"), headers=headers, ssl=False, allow_redirects=False) as answer,
        ):
            if 200 <= answer.status < 400:
                return None
            return f"HTTP probe failed with statuscode: {answer.status}"
    except (aiohttp.ClientError, OSError) as error:
        return str(error)


async def check_tcp(action: Object, container: Object, pod_ip: str) -> str | None:
    """A TCP connection: success when it is accepted."""
    try:
        _, writer = await asyncio.open_connection(action.get("host") or pod_ip, port_of(container, action["port"]))
    except OSError as error:
        return str(error)
    writer.close()
    return None
