"""Requests to a service that may be busy, out of order or not to be reached for a while."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import http_answers
from carryon_worker.generators.http_answers import Verdict

_log = logging.getLogger(__name__)

SERVICE_UNAVAILABLE: Final = "ServiceUnavailable"
NOT_THERE: Final = "NotThere"
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=15.0)
_SLICE: Final = 5.0
"""Seconds between signs of life while the service asks us to wait."""
_TOLD_LONGEST: Final = 500
_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Unsure(Exception):
    """Nobody knows whether the service has taken the request; the sentence says what happened."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole.

    Attributes:
        path: File with its body.
        content_type: Without parameters, in small letters; "" if it has none.
        url: That gave it, after redirects.
    """

    path: Path
    content_type: str
    url: str


class Requests:
    """Asks until it is answered.

    Args:
        origin: Url whose host gets the headers; others get none.
        headers: Name -> value.
        give_up: Seconds of trying.
        moved: Told whenever something arrives, and while a service that is there wants us to wait.
    """

    def __init__(self, origin: str, headers: Mapping[str, str], give_up: float, moved: Callable[[], None]) -> None:
        # It logs urls, which may hold keys.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._client = httpx2.Client(timeout=_TIMEOUT)
        self._origin = _origin(origin)
        self._headers = dict(headers)
        self._give_up = give_up
        self._moved = moved
        self._draw = random.Random()

    def close(self) -> None:
        """Give connections back."""
        self._client.close()

    def send(self, method: str, url: str, path: Path, *, repeatable: bool = True, **content: Any) -> Answer:
        """Send a request until it is answered, and keep the answer's body in a file.

        Args:
            method: Of the request.
            url: Where to.
            path: File for the body.
            repeatable: Sending it twice does no harm.
            content: headers, json, data or files, as httpx2 takes them.

        Raises:
            UnitFailure: The service refuses it, or was not to be had for too long.
            Unsure: It is not repeatable, and may have been taken.
        """
        until = time.monotonic() + self._give_up
        tries = 0
        while True:
            tries += 1
            verdict, told, after = Verdict.UNKNOWN, "", None
            try:
                with self._stream(method, url, content) as response:
                    verdict = http_answers.verdict(response.status_code)
                    if verdict is Verdict.TAKEN:
                        return self._keep(response, path)
                    told, after = _words(response), response.headers.get("retry-after")
                    if verdict is Verdict.REFUSED:
                        raise _refusal(method, url, response, told)
                    self._moved()
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise BadRequest(f"{_shown(url)} is no url that can be asked: {error}") from None
            except httpx2.TransportError as error:
                told = f"{type(error).__name__} {error}".strip()
                if isinstance(error, _UNSENT):
                    verdict = Verdict.AGAIN
            if verdict is Verdict.UNKNOWN and not repeatable:
                raise Unsure(f"{method} {_shown(url)}: {told}")
            pause = http_answers.wait(tries, after, datetime.now(UTC), self._draw)
            if time.monotonic() + pause > until:
                raise UnitFailure(
                    SERVICE_UNAVAILABLE,
                    f"{method} {_shown(url)} was tried {tries} times within {self._give_up:.0f} s: {told}",
                )
            _log.info("%s %s: %s; again in %.1f s", method, _shown(url), told, pause)
            self.rest(pause)

    def rest(self, seconds: float) -> None:
        """Let time pass, which is no standstill."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_SLICE, left))
            self._moved()

    def _stream(self, method: str, url: str, content: Mapping[str, Any]) -> Any:
        ours = _origin(url) == self._origin
        headers = {**(self._headers if ours else {}), **content.get("headers", {})}
        # A redirected POST would become a GET; a GET leaves the headers behind where it leads to another host.
        return self._client.stream(method, url, follow_redirects=method == "GET", **{**content, "headers": headers})

    def _keep(self, response: Any, path: Path) -> Answer:
        with path.open("wb") as file:
            for part in response.iter_bytes():
                file.write(part)
                self._moved()
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(path, kind, str(response.url))


def _refusal(method: str, url: str, response: Any, told: str) -> UnitFailure:
    status = response.status_code
    what = f"{method} {_shown(url)}: {told}"
    if 300 <= status < 400:
        return BadRequest(f"{what}: it leads to {_shown(response.headers.get('location', '?'))}; give that url")
    if status in (401, 403):
        return UnitFailure("ServiceDenied", f"{what}: look whether `secret` holds a valid key")
    if status == 402:
        return UnitFailure("ServiceDenied", f"{what}: look whether the account is paid up")
    if status in (404, 410):
        return UnitFailure(NOT_THERE, what)
    return BadRequest(what)


def _words(response: Any) -> str:
    """Status and the beginning of the body, in one line."""
    body = b""
    with suppress(httpx2.TransportError):
        for part in response.iter_bytes():
            body += part
            if len(body) >= _TOLD_LONGEST:
                break
    text = " ".join(body.decode("utf-8", "replace").split())[:_TOLD_LONGEST]
    return f"{response.status_code} {response.reason_phrase}{': ' if text else ''}{text}"


def _shown(url: str) -> str:
    """A url without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
