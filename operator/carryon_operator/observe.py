"""From a raw resource to an `Observation`: everything a decision is made from, read at one moment."""

from __future__ import annotations

import asyncio
import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from carryon_core import messages
from carryon_core.errors import SpecError
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, Unit, parse_items, resolve
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_operator.bucket import BucketMemory
from carryon_operator.config import Config
from carryon_operator.kube.client import Client
from carryon_operator.kube.errors import NotFound
from carryon_operator.kube.resources import SECRETS
from carryon_operator.looks import Looks
from carryon_operator.output import credentials, destination
from carryon_operator.plan.decide import is_over
from carryon_operator.plan.model import Observation, PodRecord
from carryon_store import NotFound as ObjectNotFound
from carryon_store import Store, StoreError, Stores
from carryon_store.records import get_items, put_items

_SECRET_SECONDS: Final = 300.0
"""How long the keys of a Secret are used before it is read again."""

ITEMS_LONGEST: Final = 100_000
"""Items of a job, at most: status can name no more."""
_ATTEMPTS: Final = re.compile(r"[1-9][0-9]{0,5}")
_Former = tuple[tuple[str, Mapping[str, Any]], ...] | None


@dataclass
class JobMemory:
    """What is kept of a job between reconciles; all of it can be lost and found again.

    Attributes:
        retry_at: Fingerprint -> time before which the unit is not tried again.
        wrote_at: When status was last written, on the monotonic clock; likewise `opened_at`.
        refused: Why the API server would not take the last pod.
        unanswered: Names of pods whose creation was asked for and never answered.
        look: The last one at the bucket, which may go on after nobody waits for it.
        resting: The job is over, and `resolved` holds nothing but the digest of its items.
    """

    uid: str
    bucket: BucketMemory = field(default_factory=BucketMemory)
    retry_at: Mapping[str, float] = field(default_factory=dict)
    wrote_at: float = -math.inf
    refused: str | None = None
    unanswered: set[str] = field(default_factory=set)
    items_stored: str = ""
    store: Store | None = None
    config: messages.StoreConfig | None = None
    opened_at: float = -math.inf
    generation: int = -1
    spec: JobSpec | None = None
    resolved: ResolvedJob | None = None
    problem: tuple[str, str] | None = None
    by_fingerprint: Mapping[str, Unit] = field(default_factory=dict)
    resting: bool = False
    look: asyncio.Future[_Former] | None = None

    def rest(self) -> None:
        """The job is over: keep what that is told by, and none of its units, which may be 100,000."""
        if self.resolved is not None:
            self.resolved = replace(self.resolved, ids=(), items="", stages=())
        self.bucket, self.by_fingerprint, self.retry_at, self.store = BucketMemory(), {}, {}, None
        self.resting = True

    def forget_spec(self) -> None:
        """Before it is read again: two generations are never held at once."""
        self.spec, self.resolved, self.problem, self.by_fingerprint = None, None, None, {}
        self.store, self.generation, self.resting = None, -1, False


class Observer:
    """Looks at one job at a time: its spec, its pods, and its bucket as far as needed."""

    def __init__(self, config: Config, client: Client, looks: Looks, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._client = client
        self._looks = looks
        self._monotonic = monotonic
        self._stores = Stores()

    async def observe(
        self, raw: Mapping[str, Any], pods: tuple[PodRecord, ...], memory: JobMemory, now: float, *, sweep: bool = False
    ) -> Observation:
        """The job as it is now.

        Args:
            raw: The resource.
            pods: Its pods.
            memory: Of this job; brought up to date.
            now: Seconds since the epoch.
            sweep: Look at the whole bucket, whatever is known.

        Raises:
            Busy: Others look at that bucket now.
        """
        await self._read_spec(raw, memory)
        seen = self._first_sight(raw, pods, memory, now)
        if memory.resting and seen.problem is None and not is_over(seen):
            memory.forget_spec()
            await self._read_spec(raw, memory)
            seen = self._first_sight(raw, pods, memory, now)
        if seen.problem is not None:
            return seen
        if is_over(seen):
            memory.rest()
            return seen
        try:
            await self._open(seen, memory)
        except SpecError as error:
            return replace(seen, problem=(error.reason, error.message))
        assert memory.config is not None
        seen = replace(seen, output=memory.config.uri)
        # Make sure that a bucket is never looked at twice at a time for one job: what is known of it has one writer.
        if memory.look is not None and not memory.look.done():
            return replace(seen, outage=self._too_long)
        memory.bucket.note_pods(pods)
        memory.look = self._looks.start(memory.config, partial(self._look, seen, memory, sweep))
        await asyncio.wait([memory.look], timeout=self._looks.longest)
        if not memory.look.done():
            return replace(seen, outage=self._too_long)
        try:
            former = memory.look.result()
        except StoreError as error:
            memory.store = None  # The keys may have been changed meanwhile: read them again.
            return replace(seen, outage=str(error))
        bucket = memory.bucket
        return replace(
            seen,
            former_items=former,
            done=frozenset(bucket.done),
            invalid=dict(bucket.invalid),
            swept=bucket.fresh,
        )

    @property
    def _too_long(self) -> str:
        return f"the bucket took longer than {self._looks.longest:.0f} s"

    def _first_sight(
        self, raw: Mapping[str, Any], pods: tuple[PodRecord, ...], memory: JobMemory, now: float
    ) -> Observation:
        """The job without its bucket."""
        metadata = raw["metadata"]
        return Observation(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            annotations=metadata.get("annotations") or {},
            spec=memory.spec,
            status=_read_status(raw),
            resolved=memory.resolved,
            problem=memory.problem,
            now=now,
            pods=pods,
            refused=memory.refused,
            retry_at=memory.retry_at,
        )

    async def _read_spec(self, raw: Mapping[str, Any], memory: JobMemory) -> None:
        """Resolve the spec, once a generation and off the event loop."""
        metadata = raw["metadata"]
        generation = metadata.get("generation", 0)
        if memory.generation == generation:
            return
        memory.forget_spec()
        try:
            memory.spec = JobSpec.model_validate(raw.get("spec") or {})
            memory.resolved = await asyncio.to_thread(resolve, metadata["namespace"], metadata["name"], memory.spec)
        except SpecError as error:
            memory.problem = (error.reason, error.message)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(("spec", *map(str, first["loc"])))
            memory.problem = ("InvalidSpec", f"{where}: {first['msg']}")
        else:
            memory.by_fingerprint = {unit.fingerprint: unit for unit in memory.resolved.units()}
        memory.generation = generation

    async def _open(self, seen: Observation, memory: JobMemory) -> None:
        """Open the job's store, with the keys of its Secret.

        Raises:
            SpecError: The store is not allowed, or the Secret is missing or incomplete.
        """
        if memory.store is not None and self._monotonic() - memory.opened_at < _SECRET_SECONDS:
            return
        assert seen.spec is not None
        memory.config = destination(seen.namespace, seen.spec, seen.status.resolved.output, self._config)
        secret = seen.spec.output.credentials_secret if seen.spec.output else None
        keys = None
        if secret is not None:
            try:
                found = await self._client.get(SECRETS, secret.name, namespace=seen.namespace)
            except NotFound:
                raise SpecError(
                    "SecretNotFound",
                    f'spec.output.credentialsSecret: there is no Secret "{secret.name}" in namespace'
                    f' "{seen.namespace}": create it, or name another',
                ) from None
            data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
            keys = credentials(data, secret.name)
        try:
            memory.store = self._stores.open(memory.config, keys)
        except (StoreError, ValueError) as error:
            raise SpecError("InvalidOutput", f"spec.output cannot be used: {error}") from None
        memory.opened_at = self._monotonic()

    def _look(self, seen: Observation, memory: JobMemory, sweep: bool) -> _Former:
        """Everything that is read from the bucket. Blocking."""
        store, resolved, bucket = memory.store, seen.resolved, memory.bucket
        assert store is not None
        assert resolved is not None
        if sweep or self._sweep_due(seen, bucket):
            bucket.sweep(store, resolved, seen.generation, self._monotonic())
        else:
            bucket.settle(store, resolved, memory.by_fingerprint)
        if memory.items_stored != resolved.items_digest:
            put_items(store, resolved.namespace, resolved.name, resolved.items)
            memory.items_stored = resolved.items_digest
        former = seen.status.items.digest
        if former in ("", resolved.items_digest):
            return None
        try:
            return parse_items(get_items(store, resolved.namespace, resolved.name, former))
        except ObjectNotFound:
            return ()

    def _sweep_due(self, seen: Observation, bucket: BucketMemory) -> bool:
        return (
            bucket.swept_at is None
            or bucket.swept_for != seen.generation
            or seen.resume_request is not None
            or self._monotonic() - bucket.swept_at >= self._config.verify_interval
        )


def _read_status(raw: Mapping[str, Any]) -> JobStatus:
    """Status as we left it; one that somebody damaged counts as lost, and is found again from the bucket."""
    try:
        status = JobStatus.model_validate(raw.get("status") or {})
        if status.items.count > ITEMS_LONGEST:
            return JobStatus()
        items = IndexSet.span(status.items.count)
        for stage in status.stages:
            for indexes in (stage.succeeded, stage.failed, *stage.failures.values()):
                if IndexSet.parse(indexes) - items:
                    return JobStatus()
            if not all(_ATTEMPTS.fullmatch(attempts) for attempts in stage.failures):
                return JobStatus()
    except ValueError:
        return JobStatus()
    return status
