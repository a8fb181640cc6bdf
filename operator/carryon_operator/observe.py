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

from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.phases import Phase
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ITEMS_MOST, ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus, StageStatus
from carryon_jobs.destinations import check_token, credentials, destination, secret_of
from carryon_kube.client import Client
from carryon_kube.errors import ApiError, Forbidden, NotFound
from carryon_kube.resources import CONFIG_MAPS, SECRETS
from carryon_operator.bucket import BucketMemory
from carryon_operator.config import Config
from carryon_operator.items import UNREACHABLE, ConfigMapSource, Source
from carryon_operator.look import Access, Former, Known, Looker, asked
from carryon_operator.looks import Looks
from carryon_operator.metrics import Metrics
from carryon_operator.plan.model import Observation, Plan, PodRecord, Stopped
from carryon_operator.plan.rest import is_over
from carryon_operator.pods import image_of, template_digest
from carryon_store import Credentials, Store, StoreError, Stores
from carryon_store.protocol import Guard

_SECRET_SECONDS: Final = 300.0
"""How long the keys of a Secret are used before it is read again."""
_LATE_AGAIN: Final = 3600.0
"""Seconds until a late look is tried again that got no answer, at most."""
_SOONEST: Final = 1.0
"""Seconds until what is due is looked at again, at least: a look that hangs holds it up."""
_LONG_STATUS: Final = 20_000
"""Characters of the stages in a status from which on reading it takes milliseconds."""
_PHASES: Final = frozenset(map(str, Phase))
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A status write that was never answered.

    Attributes:
        version: resourceVersion of the job that it was to change.
        before: Status as it was.
        plan: What was written.
    """

    version: str
    before: JobStatus
    plan: Plan


@dataclass
class JobMemory:
    """What is kept of a job between reconciles; all of it can be lost and found again.

    Attributes:
        pods: As they were seen last, see `vanished`.
        retry_at: Fingerprint -> time before which the unit is not tried again.
        stopped: Pods that were stopped, and whose end is still to be accounted for.
        wrote_at: When status was last written, on the monotonic clock; likewise `opened_at`.
        refused: Why the API server would not take the last pod, and `refusal` in one word.
        unanswered: Names of pods whose creation was asked for and never answered.
        doubtful: A status write of which the same is true.
        store: The job's own, at `config`, with `keys`.
        known: What looks found out.
        look: The last one, which may go on after nobody waits for it.
        templates: What pods would be made with now, and of which generation that is.
    """

    uid: str
    pods: tuple[PodRecord, ...] = ()
    retry_at: Mapping[str, float] = field(default_factory=dict)
    stopped: tuple[Stopped, ...] = ()
    wrote_at: float = -math.inf
    refused: str | None = None
    refusal: str = "PodRefused"
    unanswered: set[str] = field(default_factory=set)
    doubtful: Doubtful | None = None
    store: Store | None = None
    config: StoreConfig | None = None
    keys: Credentials | None = None
    opened_at: float = -math.inf
    generation: int = -1
    spec: JobSpec | None = None
    problem: tuple[str, str] | None = None
    known: Known = field(default_factory=Known)
    look: asyncio.Future[Former] | None = None
    templates: tuple[int, Mapping[str, frozenset[str]]] = field(default_factory=lambda: (-1, {}))

    @property
    def bucket(self) -> BucketMemory:
        """What is known of the job's bucket."""
        return self.known.bucket

    @property
    def resolved(self) -> ResolvedJob | None:
        """The job's units, as last resolved."""
        return self.known.resolved

    def rest(self, resting: ResolvedJob, now: float) -> None:
        """The job is over: keep what that is told by, and none of its units, which may be 100,000."""
        self.retry_at, self.store = {}, None
        former = self.known
        if not former.resting:
            self.known = Known(
                self.generation,
                resting,
                following=former.following,
                resting=True,
                lost=former.lost,
                late_at=now,
            )

    def reopen(self) -> None:
        """It is not over any more: find everything out anew."""
        self.known = Known()


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
        _read_spec(raw, memory)
        status = await _status_of(raw)
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


def _read_spec(raw: Mapping[str, Any], memory: JobMemory) -> None:
    """Read the spec, once a generation."""
    generation = raw["metadata"].get("generation", 0)
    if memory.generation == generation:
        return
    memory.spec, memory.problem, memory.store = None, None, None
    try:
        memory.spec = JobSpec.model_validate(raw.get("spec") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("spec", *map(str, first["loc"])))
        unknown = (
            "this operator does not know it, and the CRD does, which is of a later release: upgrade the operator, or"
            " leave it out"
        )
        memory.problem = ("InvalidSpec", f"{where}: {unknown if first['type'] == 'extra_forbidden' else first['msg']}")
    memory.generation = generation


async def _status_of(raw: Mapping[str, Any]) -> JobStatus:
    """Status as we left it, read off the event loop where it is long."""
    told = raw.get("status") or {}
    stages = told.get("stages") if isinstance(told, Mapping) else None
    long = isinstance(stages, list) and sum(len(str(stage)) for stage in stages) > _LONG_STATUS
    return await asyncio.to_thread(_read_status, told) if long else _read_status(told)


def _read_status(told: Any) -> JobStatus:
    """Status as we left it; one that somebody damaged counts as lost, and is found again from the bucket."""
    try:
        # Nothing depends on the phase: one of another version is no damage.
        phase = told.get("phase")
        status = JobStatus.model_validate({**told, "phase": phase if phase in _PHASES else None})
    except (AttributeError, TypeError, ValueError):
        return JobStatus()
    sound = status.items.count <= ITEMS_MOST and all(_sound(stage, status.items.count) for stage in status.stages)
    sound = sound and min((*status.counters.model_dump().values(), *status.gpu_seconds.model_dump().values())) >= 0
    return status if sound else JobStatus()


def _sound(stage: StageStatus, items: int) -> bool:
    """Whether a stage's index sets are some, and name no units that there are not."""
    counted = (*stage.failures.values(), *stage.fruitless.values())
    active = (pod.units for pod in stage.active)
    sets = (stage.succeeded, stage.failed, stage.skipped, stage.permanent, *stage.images.values())
    for indexes in (*sets, *counted, *active):
        try:
            IndexSet.parse(indexes)
        except ValueError:
            return False
        # They ascend: the last is the largest.
        if indexes and int(indexes.rpartition(",")[2].rpartition("-")[2]) >= max(items, 1):
            return False
    return all(map(_COUNT.fullmatch, (*stage.failures, *stage.fruitless)))
