"""A job's units as the API server and the bucket show them: ids, fingerprints, and where they lie. Reads only."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from carryon_core.done import Outcome
from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, file_uris, parse_items, resolve
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_core.status import JobStatus
from carryon_jobs.destinations import Rules, credentials, data_place, destination, secret_of
from carryon_jobs.errors import NotPossible, OutOfReach
from carryon_jobs.view import JobView
from carryon_store import Credentials, NotFound, Store, StoreError, Stores, place_of
from carryon_store.records import get_items

READERS: Final = 16
"""Threads that ask a bucket at the same time."""
Secrets: TypeAlias = Callable[[str], Mapping[str, str]]
"""Reads the data of a Secret in the job's namespace."""
M = TypeVar("M", bound=BaseModel)
Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Job:
    """One job of the API server, and its bucket.

    Attributes:
        raw: As the API server gives it.
        secrets: Reads Secrets of its namespace, for the keys of its bucket.
        rules: Which buckets may be opened here; None: whichever it names, as is right for its owner's own command.
        stores: Opens buckets; one for many jobs shares its connections between them.
    """

    raw: Mapping[str, Any]
    secrets: Secrets
    rules: Rules | None = None
    stores: Stores = field(default_factory=Stores)

    @cached_property
    def view(self) -> JobView:
        """What people see of it."""
        return JobView.of(self.raw)

    @cached_property
    def spec(self) -> JobSpec:
        """Its spec.

        Raises:
            JobError: It is of another version of Carryon.
        """
        return _parsed(JobSpec, self.raw["spec"], self.view.name)

    @cached_property
    def status(self) -> JobStatus:
        """Its status; empty before the operator has looked."""
        return _parsed(JobStatus, self.raw.get("status") or {}, self.view.name)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations, the requests among them."""
        found: Mapping[str, str] = self.raw["metadata"].get("annotations") or {}
        return found

    @cached_property
    def ids(self) -> Sequence[str]:
        """Ids of its items, in order."""
        items = self.spec.items
        if items.list_ is not None:
            return [item.id for item in items.list_]
        if items.count is not None:
            return [str(number) for number in range(items.count)]
        return [item for item, _ in self.rows or ()]

    @cached_property
    def rows(self) -> Rows | None:
        """(id, params) of items that come from data, as the job's own copy in the bucket has them; else None.

        Raises:
            JobError: There is no copy yet, or it can't be read.
        """
        if self.spec.items.from_ is None:
            return None
        digest, store = self.status.items.digest, self.store
        if not digest or store is None:
            raise NotPossible(f"{self.view.name} has not read its items yet: see `carryon describe {self.view.name}`")
        try:
            return parse_items(get_items(store, self.view.namespace, self.view.name, digest))
        except StoreError as error:
            raise OutOfReach(f"the items of {self.view.name} can't be read: {error}") from None

    @cached_property
    def keys(self) -> Credentials | None:
        """Keys of its bucket; None where the environment has them, or there is no Secret."""
        name = secret_of(self.spec, self.rules)
        if name is None:
            return None
        data = {key: base64.b64decode(value) for key, value in self.secrets(name).items()}
        try:
            return credentials(data, name)
        except SpecError as error:
            raise OutOfReach(error.message) from None

    @cached_property
    def config(self) -> StoreConfig | None:
        """Where its bucket is; None while nobody knows.

        Raises:
            NotPossible: It may not be opened here.
        """
        if self.rules is not None:
            if self.spec.output is None and self.view.output is None:
                return None
            try:
                return destination(self.view.namespace, self.spec, self.status.resolved.output, self.rules)
            except SpecError as error:
                raise NotPossible(f"{self.view.name}: {error.message}") from None
        if self.spec.output is not None:
            output = self.spec.output
            return StoreConfig(uri=output.uri, endpoint=output.endpoint, region=output.region)
        return None if self.view.output is None else StoreConfig(uri=self.view.output)

    @cached_property
    def store(self) -> Store | None:
        """Its bucket; None while nobody knows where it is."""
        return None if self.config is None else self.stores.open(self.config, self.keys)

    def resolved(self, spec: JobSpec | None = None) -> ResolvedJob:
        """Its units, by its own spec or by another.

        Raises:
            JobError: It can't be resolved.
        """
        if spec is None:
            return self._own_units
        return self._resolve(spec)

    @cached_property
    def _own_units(self) -> ResolvedJob:
        return self._resolve(self.spec)

    def _resolve(self, spec: JobSpec) -> ResolvedJob:
        try:
            return resolve(self.view.namespace, self.view.name, spec, self.rows, self._digests(spec))
        except SpecError as error:
            raise NotPossible(f"{self.view.name} can't be carried out as written: {error.message}") from None

    def inherit(self, earlier: Job) -> None:
        """Take over what was worked out for the job as it was earlier, where nothing it depends on has changed."""
        if _wanted(self.raw) != _wanted(earlier.raw):
            return
        for name in ("spec", "ids", "rows", "_own_units"):
            if name in earlier.__dict__:
                self.__dict__[name] = earlier.__dict__[name]

    @cached_property
    def standing(self) -> Standing:
        """Its units with their fingerprints, as far as what status calls done goes."""
        return standing_of(self.resolved(), self.view)

    def place(self, uri: str) -> tuple[Store, str]:
        """Where a file lies that a param names: its store, and the key in it.

        Raises:
            JobError: Nobody knows where its own bucket is.
            StoreError: The uri names no object.
        """
        if self.config is None:
            raise NotPossible(f"{self.view.name} has no bucket yet: see `carryon describe {self.view.name}`")
        config, key = self._place(uri, self.config)
        return self.stores.open(config, self.keys), key

    def _digests(self, spec: JobSpec) -> dict[str, str | None]:
        """SHA-256 of the files that params name, None where one is not there."""
        uris = sorted(file_uris(self.view.namespace, self.view.name, spec, self.rows))
        if not uris:
            return {}

        def digest(uri: str) -> str | None:
            store, key = self.place(uri)
            try:
                return store.sha256(key)
            except NotFound:
                return None

        try:
            with ThreadPoolExecutor(READERS) as readers:
                return dict(zip(uris, readers.map(digest, uris), strict=True))
        except StoreError as error:
            raise OutOfReach(f"files of {self.view.name} can't be looked at: {error}") from None

    def _place(self, uri: str, config: StoreConfig) -> tuple[StoreConfig, str]:
        if self.rules is None:
            return place_of(uri, config)
        try:
            return data_place("a file parameter", uri, self.view.namespace, self.spec, config, self.rules)
        except SpecError as error:
            raise NotPossible(f"{self.view.name}: {error.message}") from None


def _wanted(raw: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a job's units depend on: its spec, its items and its input files."""
    items = (raw.get("status") or {}).get("items") or {}
    metadata = raw["metadata"]
    return metadata["uid"], metadata.get("generation"), items.get("digest"), items.get("variant")


def standing_of(resolved: ResolvedJob, view: JobView) -> Standing:
    """A job's units with their fingerprints, as far as what status calls done goes."""
    done: dict[str, DoneUnit] = {}
    made = stand(resolved, done)
    # A unit that gathers has its fingerprint once those before it are known to be done, and so on downwards.
    for stage in sorted(resolved.stages, key=lambda stage: stage.depth):
        seen = view.stages[stage.index]
        skipped = IndexSet.parse(seen.skipped)
        for index in IndexSet.parse(seen.succeeded):
            if index < len(stage.units) and (fingerprint := made.job.unit(stage.index, index).fingerprint):
                done[fingerprint] = DoneUnit(Outcome.SKIPPED if index in skipped else Outcome.GENERATED)
        made = stand(resolved, done)
    return made


def _parsed(kind: type[M], value: Mapping[str, Any], name: str) -> M:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise NotPossible(
            f"{name} holds what this version of carryon does not know ({where}): use the one that the cluster has"
        ) from None
