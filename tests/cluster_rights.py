"""What RBAC objects grant, decided as Kubernetes does; and what was asked for and by whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from carryon_standalone.apiserver.access import AUTHENTICATED, MASTERS, Attributes, User

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, as a role grants it.

    Attributes:
        account: Name of the service account.
        scope: Namespace that it holds in; "" for all of them, and for what is in none.
        verb: Of RBAC.
        group: Of the API.
        resource: With its subresource, as "pods/log".
        only: Names of the objects that it holds for; empty: all.
    """

    account: str
    scope: str
    verb: str
    group: str
    resource: str
    only: tuple[str, ...] = ()

    def covers(self, account: str, wanted: Attributes) -> bool:
        """Whether this is all that a request takes."""
        # The namespace of a request for a namespace is that one: a Role in it may grant it.
        within = wanted.name if wanted.resource == "namespaces" and not wanted.group else wanted.namespace
        asked = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        return (
            self.account == account
            and self.scope in ("", within)
            and (self.verb, self.group, self.resource) == (wanted.verb, wanted.group, asked)
            and (not self.only or wanted.name in self.only)
        )


def granted(manifests: list[Any]) -> Iterator[Right]:
    """All that the bindings among some manifests grant to service accounts; non-resource URLs are left out.

    Raises:
        KeyError: A binding names a role that is not among them.
    """
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in manifests
    }
    for binding in manifests:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        scope, ref = binding["metadata"].get("namespace", ""), binding["roleRef"]
        role = roles[ref["kind"], scope if ref["kind"] == "Role" else "", ref["name"]]
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule.get("resources", ()), *rule.get("apiGroups", ())], rule
            for subject in binding["subjects"]:
                for group in rule.get("apiGroups", ()):
                    for resource in rule.get("resources", ()):
                        for verb in rule["verbs"]:
                            only = tuple(rule.get("resourceNames", ()))
                            yield Right(subject["name"], scope, verb, group, resource, only)


@dataclass
class Enforcer:
    """An authority over an API server that allows what was granted, and remembers what of it was used.

    Attributes:
        rights: Granted to service accounts.
        users: Token -> user; a service account's user has its name, and masters may do everything.
    """

    rights: frozenset[Right]
    users: Mapping[str, User]
    used: set[Right] = field(default_factory=set)
    refused: list[tuple[str, Attributes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def user_of(self, token: str) -> User | None:
        """Whose token this is."""
        return self.users.get(token)

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether a user may do something."""
        if MASTERS in user.groups:
            return True
        found = {right for right in self.rights if right.covers(user.name, wanted)}
        with self._lock:
            self.used |= found
            if not found:
                self.refused.append((user.name, wanted))
        return bool(found)

    @property
    def unused(self) -> set[Right]:
        """What was granted and never asked for."""
        return set(self.rights - self.used)


def admin(name: str) -> User:
    return User(name, (MASTERS, AUTHENTICATED))
