"""How a request says who it comes from: header, cookie or trusted proxy; and what a browser must add to change things.

A cookie travels by itself with whatever a browser sends, also when another site made it send that. So what a cookie
alone may do is read; a change also needs a header that other sites can't set without asking, and the page's own origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from carryon_api.config import Config, Network
from carryon_api.problems import Problem, unauthorized
from carryon_api.reviews import AUTHENTICATED

HEADER: Final = "x-carryon"
"""On every request that changes something by cookie: "1"."""
TOKEN_LONGEST: Final = 16_384
COOKIE_LONGEST: Final = 3_900
"""Characters of a token in a cookie: browsers drop cookies over 4,096 bytes without a word."""
_NAME: Final = "carryon-session"
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750, section 2.1."""
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_RESERVED: Final = "system:"
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows for its sender: a token, or the name that a trusted proxy vouches for.

    Attributes:
        by_browser: Whether the browser added it by itself, so that other sites could have caused the request.
    """

    token: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    by_browser: bool = False


def presented(request: HTTPConnection, config: Config) -> Presented:
    """What a request shows; a bearer token goes before the cookie, and that before a proxy's word.

    Raises:
        Problem: 401, where there is nothing, or nothing that could be a token.
    """
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized("sign in with a bearer token: Authorization: Bearer TOKEN")
        return Presented(checked(token.strip()))
    cookie = _cookie(request, config)
    if cookie:
        return Presented(checked(cookie), by_browser=True)
    named = _by_proxy(request, config)
    if named is not None:
        return named
    raise unauthorized("nobody has signed in: send a Kubernetes token as Authorization: Bearer TOKEN, or sign in first")


def _cookie(request: HTTPConnection, config: Config) -> str | None:
    held = request.cookies.get(cookie_name(request, secure=True))
    if held or (config.public_url or "").startswith("https:"):
        # Any host beside ours may set the other one, and so sign people in as somebody else.
        return held
    return request.cookies.get(cookie_name(request, secure=False))


def checked(token: str) -> str:
    """A token that may go into a header.

    Raises:
        Problem: 401.
    """
    if len(token) > TOKEN_LONGEST or not _TOKEN.fullmatch(token):
        raise unauthorized("this is no bearer token: it holds characters that none has, or is far too long")
    return token


def _by_proxy(request: HTTPConnection, config: Config) -> Presented | None:
    if config.user_header is None or not from_proxy(request, config):
        return None
    named = request.headers.getlist(config.user_header)
    if len(named) > 1:
        raise unauthorized("the proxy let a second user's name through: it must remove what clients send")
    user = named[0].strip() if named else ""
    if not user:
        return None
    groups = request.headers.get(config.groups_header, "") if config.groups_header else ""
    listed = tuple(part.strip() for part in groups.split(",") if part.strip())
    if user.startswith(_RESERVED) or any(group.startswith(_RESERVED) for group in listed):
        raise unauthorized(f'names that begin with "{_RESERVED}" belong to Kubernetes: the proxy must not send them')
    return Presented(user=user, groups=(*listed, AUTHENTICATED), by_browser=True)


def from_proxy(request: HTTPConnection, config: Config) -> bool:
    """Whether a trusted proxy sent this request."""
    return request.client is not None and _within(request.client.host, config.proxies)


def address_of(request: HTTPConnection, config: Config) -> str:
    """Where a request comes from; behind trusted proxies as the last of them saw it."""
    host = request.client.host if request.client is not None else ""
    for before in reversed(",".join(request.headers.getlist("x-forwarded-for")).split(",")):
        if not _within(host, config.proxies) or not before.strip():
            break
        host = before.strip()
    return host


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


def check_change(request: HTTPConnection, method: str, config: Config) -> None:
    """Make sure that the page itself wants a change that was signed by cookie or proxy.

    Raises:
        Problem: 403.
    """
    if method in _SAFE:
        return
    if request.headers.get(HEADER) != "1":
        raise Problem("cross-site", "a change that is signed by cookie needs the header X-Carryon: 1 as well")
    check_origin(request, config)


def check_origin(request: HTTPConnection, config: Config) -> None:
    """Make sure that a browser sent a request from the page that we served.

    Raises:
        Problem: 403.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Problem("cross-site", "another site caused this request: open the page itself")
    if origin is None:
        if site is None:
            raise Problem("cross-site", "the request names no Origin: send the page's own, or use a bearer token")
        return
    own = _host_of(config.public_url) if config.public_url else request.headers.get("host", "")
    if _host_of(origin) != own.lower():
        raise Problem("cross-site", f"the request comes from {origin[:200]}, not from the page at {own[:200]}")


def _host_of(origin: str) -> str:
    """Host and port; whatever somebody sends for an origin, this can't fail."""
    return origin.partition("://")[2].lower()


def check_host(request: HTTPConnection, config: Config) -> None:
    """Refuse names that are not this machine's own: a page elsewhere could have rebound its name to us.

    Raises:
        Problem: 403.
    """
    if not config.standalone:
        return
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    public = urlsplit(config.public_url).hostname if config.public_url else None
    if host != "localhost" and not _within(host, _LOOPBACK) and host != public:
        raise Problem("forbidden", f'this API answers as localhost only, not as "{host[:200]}": see --public-url')


def is_secure(request: HTTPConnection, config: Config) -> bool:
    """Whether the browser sees https, whatever stands in between."""
    if config.public_url is not None:
        return config.public_url.startswith("https:")
    origin = request.headers.get("origin", "")
    return request.scope.get("scheme") == "https" or origin.startswith("https:")


def cookie_name(request: HTTPConnection, *, secure: bool) -> str:
    """Name of the session's cookie; browsers hold __Host- names to this host, https and all paths.

    Cookies don't know ports: where several of us run on one machine each needs a name of its own.
    """
    if secure:
        return f"__Host-{_NAME}"
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{_NAME}-{port if port.isdecimal() else 80}"
