"""Who leads, decided from one Lease and a clock of our own.

The protocol is that of client-go (tools/leaderelection/leaderelection.go), with two of its gaps closed. The times that
stand in a Lease are for people: what counts is how long a version of it has been seen unchanged, by a clock that nobody
sets. And a Lease that is not there is waited for as long as one that is held, because it may have been there a moment
ago: otherwise whoever deletes it makes two leaders. (Still does who deletes one within seconds of its creation.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from carryon_core.durations import moment
from carryon_kube.client import Body

_VERSION: Final = "coordination.k8s.io/v1"
_LONGEST: Final = 3600
"""Seconds of a Lease that are believed: one that says more was not written by any of us."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last, in seconds.

    Attributes:
        duration: Until a Lease that nobody renews may be taken. Whole seconds.
        renew: After a renewal, until its holder begins no request any more.
        retry: Between two renewals, and between two looks of those who wait.
    """

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    @property
    def over(self) -> float:
        """After a renewal, until requests have ended; the rest is for clocks that do not run at the same pace."""
        return (self.renew + self.duration) / 2


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as it was last seen.

    Attributes:
        version: Its resourceVersion; None: there was none.
        holder: Who holds it, "" for nobody.
        duration: Seconds that it is good for after each renewal.
        since: When this version was first seen, on a monotonic clock of our own.
        looked: When it was last seen.
    """

    version: str | None
    holder: str
    duration: float
    since: float
    looked: float


def look(lease: Mapping[str, Any] | None, before: Seen | None, now: float, terms: Terms) -> Seen:
    """Take in a Lease as the server shows it.

    Args:
        lease: None where there is none.
        before: What was seen before, if anything.
        now: When the server had answered, on a monotonic clock.
        terms: Ours, for what the Lease does not say.
    """
    version = None if lease is None else str(lease["metadata"]["resourceVersion"])
    # Make sure that "still none" means that there was none in between: it has no version to tell by.
    gap = version is None and before is not None and now - before.looked > terms.duration - terms.renew
    if before is not None and before.version == version and not gap:
        return replace(before, looked=now)
    spec = _spec(lease)
    told = spec.get("leaseDurationSeconds")
    # The holder's, who may have been started with others than ours.
    duration = float(told) if isinstance(told, int) and 0 < told <= _LONGEST else terms.duration
    return Seen(version, str(spec.get("holderIdentity") or ""), duration, now, now)


def wait_for(seen: Seen, me: str, now: float) -> float:
    """Seconds until a Lease may be taken; 0: now."""
    # Make sure that what was given back, or is ours by a write whose answer was lost, is not waited for.
    if seen.version is not None and seen.holder in ("", me):
        return 0.0
    return max(seen.since + seen.duration - now, 0.0)


def claimed(lease: Mapping[str, Any] | None, where: tuple[str, str], me: str, terms: Terms, wall: float) -> Body:
    """A Lease as its next holder writes it.

    Args:
        lease: As it is; None: there is none.
        where: Namespace and name.
        me: Who takes or renews it.
        terms: Ours.
        wall: Seconds since the epoch, for people.
    """
    spec, told = _spec(lease), _micros(wall)
    # Make sure that each renewal is a change: the server takes an equal object for none, and nobody would see it.
    if told == spec.get("renewTime"):
        told = _micros((moment(told) or wall) + 1e-3)
    again = spec.get("holderIdentity") == me
    held = transitions_of(lease)
    fields = {
        "holderIdentity": me,
        "leaseDurationSeconds": int(terms.duration),
        "acquireTime": spec.get("acquireTime") if again else told,
        "renewTime": told,
        "leaseTransitions": held if again or lease is None else held + 1,
    }
    return _written(lease, where, {**spec, **fields})


def released(lease: Mapping[str, Any], where: tuple[str, str], wall: float) -> Body:
    """A Lease as its holder gives it back: whoever sees it may take it at once."""
    return _written(lease, where, {**_spec(lease), "holderIdentity": "", "renewTime": _micros(wall)})


def holder_of(lease: Mapping[str, Any]) -> str:
    """Who holds a Lease, "" for nobody."""
    return str(_spec(lease).get("holderIdentity") or "")


def transitions_of(lease: Mapping[str, Any] | None) -> int:
    """How often a Lease has changed hands."""
    told = _spec(lease).get("leaseTransitions")
    return told if isinstance(told, int) else 0


def _spec(lease: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (lease or {}).get("spec") or {}


def _written(lease: Mapping[str, Any] | None, where: tuple[str, str], spec: Mapping[str, Any]) -> Body:
    metadata = {"namespace": where[0], "name": where[1]} if lease is None else lease["metadata"]
    return {"apiVersion": _VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}


def _micros(wall: float) -> str:
    """A MicroTime of Kubernetes."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
