"""What was asked of the API server and not yet seen: until then a cache is stale, and decisions from it would repeat.

The idea of the Kubernetes Job controller (pkg/controller/controller_utils.go): before a pod is created or deleted, that
is written down; the owner is left alone until the informer has shown it all, or until so much time has passed that it
is never going to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

EXPIRE_AFTER: Final = 300.0
"""Seconds after which an expectation is given up, as in the Job controller."""

log = logging.getLogger(__name__)

_Expected = tuple[str, str]


class Expectations:
    """Creates (by name: there is no uid yet) and deletes (by uid) that are still to be seen, for each owner."""

    def __init__(self, clock: Callable[[], float], expire_after: float = EXPIRE_AFTER) -> None:
        self._clock = clock
        self._expire_after = expire_after
        self._deadlines: dict[str, dict[_Expected, float]] = {}

    def expect_create(self, owner: str, name: str) -> None:
        """Before an object of this name is created."""
        self._expect(owner, ("create", name))

    def expect_delete(self, owner: str, uid: str) -> None:
        """Before the object of this uid is deleted."""
        self._expect(owner, ("delete", uid))

    def cancel_create(self, owner: str, name: str) -> None:
        """The create was refused: there is nothing to be seen."""
        self._settle(owner, ("create", name))

    def cancel_delete(self, owner: str, uid: str) -> None:
        """The delete was refused: there is nothing to be seen."""
        self._settle(owner, ("delete", uid))

    def observed_create(self, owner: str, name: str) -> None:
        """The informer shows an object of this name."""
        self._settle(owner, ("create", name))

    def observed_delete(self, owner: str, uid: str) -> None:
        """The informer shows that the object is gone, or on its way out."""
        self._settle(owner, ("delete", uid))

    def forget(self, owner: str) -> None:
        """The owner is gone: whatever was expected of it never matters again."""
        self._deadlines.pop(owner, None)

    def satisfied(self, owner: str) -> bool:
        """Everything was seen, or is given up."""
        now = self._clock()
        deadlines = self._deadlines.get(owner, {})
        for (verb, what), deadline in list(deadlines.items()):
            if deadline <= now:
                log.warning("%s of %s was never seen in the cache: going on without it", verb, what)
                self._settle(owner, (verb, what))
        return owner not in self._deadlines

    def creates(self, owner: str) -> int:
        """Objects of this owner whose creation was asked for and not yet seen."""
        return sum(verb == "create" for verb, _ in self._deadlines.get(owner, ()))

    def owners(self) -> Iterable[str]:
        """Owners of whom anything is still to be seen."""
        return self._deadlines.keys()

    def expires_in(self, owner: str) -> float:
        """Seconds until the last expectation of this owner is given up; 0 if there is none."""
        return max(0.0, max(self._deadlines.get(owner, {}).values(), default=0.0) - self._clock())

    def _expect(self, owner: str, what: _Expected) -> None:
        self._deadlines.setdefault(owner, {})[what] = self._clock() + self._expire_after

    def _settle(self, owner: str, what: _Expected) -> None:
        deadlines = self._deadlines.get(owner)
        if deadlines is not None:
            deadlines.pop(what, None)
            if not deadlines:
                del self._deadlines[owner]
