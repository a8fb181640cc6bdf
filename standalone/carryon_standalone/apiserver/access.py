"""Who asks, and what they may. On one machine there is one token, and it may do everything."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from carryon_standalone.apiserver.errors import ApiError, unauthorized
from carryon_standalone.apiserver.requests import Target

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"
_READS: Final = {True: "get", False: "list"}
_WRITES: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who asks; `extra` are further facts about them, by name."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do, in the words of RBAC; `path` is set instead of all others for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authority(Protocol):
    """Knows users by their tokens, and what they may."""

    def user_of(self, token: str) -> User | None:
        """Whose token this is; None for nobody's."""

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether a user may do something."""


@dataclass(frozen=True, slots=True)
class OneToken:
    """The machine's owner, who may do everything; others may do nothing."""

    token: str
    owner: User = User("carryon:admin", (MASTERS, AUTHENTICATED))

    def user_of(self, token: str) -> User | None:
        """The owner, for the owner's token."""
        return self.owner if hmac.compare_digest(token.encode(), self.token.encode()) else None

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether this is the owner, or one of the masters that no cluster refuses anything."""
        del wanted
        return user.name == self.owner.name or MASTERS in user.groups


def authenticate(authority: Authority, headers: Mapping[str, str], groups: list[str]) -> User:
    """Who sent a request; where it asks for that, the one in whose name it was sent.

    Args:
        authority: Knows the tokens.
        headers: Of the request.
        groups: All values of Impersonate-Group.

    Raises:
        ApiError: 401, or 403 for one who may not speak for others.
    """
    user = authority.user_of(_token_of(headers.get("Authorization", "")))
    if user is None:
        raise unauthorized()
    name = headers.get("Impersonate-User", "")
    if not name:
        return user
    wanted = [("users", name), *(("groups", group) for group in groups)]
    for resource, each in wanted:
        authorize(authority, user, Attributes("impersonate", resource=resource, name=each))
    return User(name, tuple(dict.fromkeys([*groups, AUTHENTICATED])))


def authorize(authority: Authority, user: User, wanted: Attributes) -> None:
    """Make sure that a user may do something.

    Raises:
        ApiError: 403, in the words of a real server.
    """
    if authority.allows(user, wanted):
        return
    if wanted.path:
        said = f'User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
        raise ApiError(403, "Forbidden", f"forbidden: {said}", {})
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    named = f'{qualified} "{wanted.name}"' if wanted.name else qualified
    raise ApiError(
        403,
        "Forbidden",
        f'{named} is forbidden: User "{user.name}" cannot {wanted.verb} resource "{resource}" in API group'
        f' "{wanted.group}" {where}',
        {
            key: value
            for key, value in (("name", wanted.name), ("group", wanted.group), ("kind", wanted.resource))
            if value
        },
    )


def attributes_of(method: str, target: Target, watch: bool) -> Attributes:
    """What a request for an object or a collection wants to do."""
    if method in ("GET", "HEAD"):
        verb = "watch" if watch and not target.name else _READS[bool(target.name)]
    elif method == "DELETE":
        verb = "delete" if target.name else "deletecollection"
    else:
        verb = _WRITES.get(method, method.lower())
    resource = target.resource
    namespace = target.namespace or ""
    return Attributes(verb, resource.group, resource.plural, target.subresource, namespace, target.name)


def _token_of(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""
