"""From a raw resource to an `Observation`: everything a decision is made from, read at one moment."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from carryon_core.errors import SpecError
from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_jobs.destinations import check_token, credentials, destination, secret_of
from carryon_kube.client import Client
from carryon_kube.errors import ApiError, Forbidden, NotFound
from carryon_kube.resources import CONFIG_MAPS, SECRETS
from carryon_operator.config import Config
from carryon_operator.items import UNREACHABLE, ConfigMapSource, Source
from carryon_operator.look import Access, Former, Known, Looker, asked
from carryon_operator.looks import Looks
from carryon_operator.memory import JobMemory
from carryon_operator.metrics import Metrics
from carryon_operator.plan.model import Observation, PodRecord
from carryon_operator.plan.rest import is_over
from carryon_operator.pods import image_of, template_digest
from carryon_operator.reading import read_status
from carryon_store import StoreError, Stores
from carryon_store.protocol import Guard

_SECRET_SECONDS: Final = 300.0
"""How long the keys of a Secret are used before it is read again."""
_LATE_AGAIN: Final = 3600.0
"""Seconds until a late look is tried again that got no answer, at most."""
_SOONEST: Final = 1.0
"""Seconds until what is due is looked at again, at least: a look that hangs holds it up."""


@dataclass(frozen=True, slots=True)
class _Found:
    """How a look ended: with the items that status refers to, or with why it gives no verdict, or what is wrong."""

    former: Former = None
    outage: str | None = None
    problem: tuple[str, str] | None = None


class Observer:
    """Looks at one job at a time: its spec, its pods, and its bucket as far as needed."""

    def __init__(
        self,
        config: Config,
        client: Client,
        looks: Looks,
        monotonic: Callable[[], float],
        metrics: Metrics,
        guard: Guard | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._looks = looks
        self._monotonic = monotonic
        self._stores = Stores(guard, observe=metrics.operated)
        self._looker = Looker(config, self._stores, monotonic, metrics.looked)

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
        memory.read(raw)
        status = await read_status(raw)
        seen = _first_sight(raw, status, pods, memory, now)
        if seen.spec is None:
            return seen
        if is_over(replace(seen, resolved=memory.known.current(seen.generation) or _resting(seen))):
            return await self._observe_over(raw, replace(seen, resolved=_resting(seen)), memory)
        # Make sure that a bucket is never looked at twice at a time for one job: what is known of it has one writer.
        if memory.look is not None and not memory.look.done():
            return _without_verdict(seen, self._too_long)
        if memory.known.resting:
            memory.reopen()
        problem = memory.known.hopeless(seen.generation)
        if problem is not None and seen.spec.items.from_ is None:
            return replace(seen, problem=problem)
        try:
            await self._look_for_token(seen.namespace, seen.spec, memory)
            await self.open_store(seen.namespace, seen.spec, seen.status.resolved.output, memory)
        except SpecError as error:
            return replace(seen, problem=(error.reason, error.message))
        memory.bucket.note_pods(pods)
        source = await self._config_map(seen, memory)
        # Most reconciles have nothing to read, and need no thread.
        if not sweep and self._looker.is_settled(seen, memory.known, source):
            return self._complete(seen, memory, None)
        memory.look = self._start(memory, partial(self._looker.look, source=source, sweep=sweep), seen)
        found = await self._found(memory)
        seen = _first_sight(raw, status, pods, memory, now)
        if found.outage is not None:
            return _without_verdict(seen, found.outage)
        if found.problem is not None:
            return replace(seen, problem=found.problem)
        return self._complete(seen, memory, found.former)

    def wakes_in(self, seen: Observation, memory: JobMemory) -> float | None:
        """Seconds until a job wants to be looked at again although nothing happens; None if it does not."""
        known, config = memory.known, self._config
        moments = []
        if seen.spec is not None and seen.spec.items.from_ is not None and known.following.checked_at is not None:
            moments.append(known.following.checked_at + config.items_interval)
        if known.resting:
            moments.append(known.late_at + config.ended_verify_interval)
        elif known.bucket.swept_at is not None:
            moments.append(known.bucket.swept_at + config.verify_interval)
        return max(min(moments) - self._monotonic(), _SOONEST) if moments else None

    async def open_store(self, namespace: str, spec: JobSpec, filled_in: str | None, memory: JobMemory) -> None:
        """Open a job's store, with the keys of its Secret: `memory.store` and `memory.config`.

        Args:
            namespace: Of the job.
            spec: Of the job.
            filled_in: Where its artifacts go if its spec does not say, `status.resolved.output`.
            memory: Of the job.

        Raises:
            SpecError: The store is not allowed, or the Secret is missing or incomplete.
        """
        if self._is_fresh(memory):
            return
        memory.config = destination(namespace, spec, filled_in, self._config)
        secret = secret_of(spec, self._config)
        memory.keys = None
        if secret is not None:
            field = "spec.output.credentialsSecret" if spec.output else "the operator's default store needs its keys"
            memory.keys = credentials(await self._secret(field, secret, namespace), secret)
        try:
            memory.store = self._stores.open(memory.config, memory.keys)
        except (StoreError, ValueError) as error:
            raise SpecError("InvalidOutput", f"spec.output cannot be used: {error}") from None
        memory.opened_at = self._monotonic()

    async def _look_for_token(self, namespace: str, spec: JobSpec, memory: JobMemory) -> None:
        """Make sure that the Secret for the hub's token holds one, which is for the pods; as often as keys are read."""
        wanted = spec.models.token_secret
        if wanted is not None and not self._is_fresh(memory):
            check_token(await self._secret("spec.models.tokenSecret", wanted.name, namespace), wanted)

    def _is_fresh(self, memory: JobMemory) -> bool:
        return memory.store is not None and self._monotonic() - memory.opened_at < _SECRET_SECONDS

    async def _secret(self, field: str, name: str, namespace: str) -> dict[str, bytes]:
        try:
            found = await self._client.get(SECRETS, name, namespace=namespace)
        except NotFound:
            raise SpecError(
                "SecretNotFound",
                f'{field}: there is no Secret "{name}" in namespace "{namespace}": create it, or name another',
            ) from None
        except Forbidden as error:
            raise SpecError(
                "SecretForbidden",
                f'{field}: the operator may not read Secret "{name}" in namespace "{namespace}": {error.message}; give'
                " its service account the right to get Secrets there",
            ) from None
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    async def _observe_over(self, raw: Mapping[str, Any], seen: Observation, memory: JobMemory) -> Observation:
        """A job that is over: now and then its source is looked at, and whether its artifacts are still there."""
        assert seen.spec is not None
        assert seen.resolved is not None
        if not memory.known.resting:
            memory.rest(seen.resolved, self._monotonic())
            memory.known.following.version = memory.known.following.version or seen.status.items.source
        known, now = memory.known, self._monotonic()
        follows = seen.spec.items.from_ is not None and known.following.due(
            now, self._config.items_interval, asked(seen)
        )
        late = now - known.late_at >= self._config.ended_verify_interval
        if (follows or late) and (memory.look is None or memory.look.done()):
            former = await self._look_late(seen, seen.spec, memory, late=late)
            if not known.resting and not is_over(replace(seen, resolved=known.resolved)):
                return self._complete(_first_sight(raw, seen.status, seen.pods, memory, seen.now), memory, former)
            memory.rest(seen.resolved, known.late_at)
        following = memory.known.following
        return replace(seen, stale=following.stale, source=following.version, lost=memory.known.lost)

    async def _look_late(self, seen: Observation, spec: JobSpec, memory: JobMemory, *, late: bool) -> Former:
        """Look at what is due; what gives no answer is asked again later, and changes nothing."""
        known = memory.known
        try:
            await self.open_store(seen.namespace, spec, seen.status.resolved.output, memory)
        except SpecError as error:
            known.following.stale = (UNREACHABLE, error.message) if spec.items.from_ is not None else None
            self._postpone(seen, known, late=late)
            return None
        source = await self._config_map(seen, memory)
        memory.look = self._start(memory, partial(self._looker.look_late, source=source, late=late), seen)
        found = await self._found(memory)
        if found.outage is not None or found.problem is not None:
            self._postpone(seen, known, late=late)
        return found.former

    def _postpone(self, seen: Observation, known: Known, *, late: bool) -> None:
        now, interval = self._monotonic(), self._config.ended_verify_interval
        known.following.note(now, asked(seen))
        if late:
            known.late_at = now - interval + min(_LATE_AGAIN, interval)

    def _start(self, memory: JobMemory, look: Callable[..., Former], seen: Observation) -> asyncio.Future[Former]:
        assert memory.config is not None
        assert memory.store is not None
        access = Access(memory.config, memory.keys, memory.store)
        return self._looks.start(
            memory.config, partial(look, seen, memory.known, access), f"{seen.namespace}/{seen.name}"
        )

    async def _found(self, memory: JobMemory) -> _Found:
        """Wait for the look that was begun."""
        assert memory.look is not None
        await asyncio.wait([memory.look], timeout=self._looks.longest)
        if not memory.look.done():
            return _Found(outage=self._too_long)
        try:
            return _Found(memory.look.result())
        except SpecError as error:
            return _Found(problem=(error.reason, error.message))
        except StoreError as error:
            memory.store = None  # The keys may have been changed meanwhile: read them again.
            return _Found(outage=str(error))

    @property
    def _too_long(self) -> str:
        return f"the bucket took longer than {self._looks.longest:.0f} s"

    def _complete(self, seen: Observation, memory: JobMemory, former: Former) -> Observation:
        """The job with all that the look has found out."""
        known, bucket = memory.known, memory.known.bucket
        assert seen.spec is not None
        assert memory.config is not None
        assert known.resolved is not None
        return replace(
            seen,
            output=memory.config.uri,
            former_items=former,
            done=dict(bucket.done),
            kept=dict(bucket.kept),
            garbage=bucket.garbage,
            invalid=dict(bucket.invalid),
            swept=bucket.fresh,
            stale=known.following.stale,
            source=known.following.version,
            templates=self._templates(seen, seen.spec, memory),
            images={stage.name: image_of(seen.spec, at, self._config) for at, stage in enumerate(seen.spec.stages)},
            warnings=known.resolved.warnings,
        )

    def _templates(self, seen: Observation, spec: JobSpec, memory: JobMemory) -> Mapping[str, frozenset[str]]:
        """Stage name -> digests of what its pods would be made with now."""
        if memory.templates[0] != seen.generation:
            # The last of the overrides holds for all rounds that follow.
            rounds = range(1 + min(len(spec.retry.round_overrides), spec.retry.rounds))
            made = {
                stage.name: frozenset(template_digest(spec, index, self._config, number) for number in rounds)
                for index, stage in enumerate(spec.stages)
            }
            memory.templates = (seen.generation, made)
        return memory.templates[1]

    async def _config_map(self, seen: Observation, memory: JobMemory) -> Source | None:
        """The ConfigMap that the items come from, if they do and it is time to look at it."""
        assert seen.spec is not None
        source = seen.spec.items.from_
        if source is None or source.config_map_key_ref is None:
            return None
        ref = source.config_map_key_ref
        if not memory.known.following.due(self._monotonic(), self._config.items_interval, asked(seen)):
            return ConfigMapSource(ref, None)
        try:
            return ConfigMapSource(ref, await self._client.get(CONFIG_MAPS, ref.name, namespace=seen.namespace))
        except NotFound:
            return ConfigMapSource(ref, None)
        except ApiError as error:
            return ConfigMapSource(ref, None, str(error))


def _first_sight(
    raw: Mapping[str, Any], status: JobStatus, pods: tuple[PodRecord, ...], memory: JobMemory, now: float
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
        status=status,
        resolved=memory.resolved,
        problem=memory.problem,
        now=now,
        pods=pods,
        refused=memory.refused,
        refusal=memory.refusal,
        retry_at=memory.retry_at,
        stopped=memory.stopped,
    )


def _without_verdict(seen: Observation, outage: str) -> Observation:
    """The job while its bucket does not answer; its units may not even be known yet."""
    return replace(seen, resolved=seen.resolved or _resting(seen), outage=outage)


def _resting(seen: Observation) -> ResolvedJob:
    """What is kept of a job that is over, or not known yet."""
    items = seen.status.items
    return ResolvedJob(seen.namespace, seen.name, (), "", items.digest, (), variant=items.variant)
