"""What controllers of a real cluster do to objects by themselves: a queue of keys for each, level-triggered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from carryon_standalone.apiserver import budgets, definitions
from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver.catalog import BUDGETS, CRD_KIND, EVENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from carryon_standalone.apiserver.deletion import DeleteOptions, Deletion
from carryon_standalone.apiserver.errors import ApiError
from carryon_standalone.apiserver.resources import Registry, Resource
from carryon_standalone.apiserver.storage import Event, Key, Object, StorageError, Store, Stored
from carryon_standalone.apiserver.writes import WriteOptions, Writes

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 100
_RETRY_SECONDS: Final = 1.0
_EXPIRY_SECONDS: Final = 60.0
_EVENT_LIFE: Final = timedelta(hours=1)
_BACKGROUND: Final = DeleteOptions(propagation="Background")
SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")


class Queue:
    """Keys to look at, each once, many at a time. A key whose turn failed comes again a second later."""

    def __init__(self, handle: Callable[[Key], Awaitable[None]]) -> None:
        self._handle = handle
        self._keys: dict[Key, None] = {}
        self._filled = asyncio.Event()

    def add(self, key: Key) -> None:
        """Look at a key soon."""
        self._keys[key] = None
        self._filled.set()

    async def run(self) -> None:
        """Handle keys for ever."""
        while True:
            await self._filled.wait()
            keys = list(self._keys)[:_AT_ONCE]
            for key in keys:
                del self._keys[key]
            if not self._keys:
                self._filled.clear()
            for key, failure in zip(
                keys, await asyncio.gather(*map(self._handle, keys), return_exceptions=True), strict=True
            ):
                if isinstance(failure, Exception):
                    self._later(key, failure)

    def _later(self, key: Key, failure: Exception) -> None:
        expected = isinstance(failure, ApiError | StorageError)
        # The object changed or went away under our hands, or the disk is full: the next look decides anew.
        _LOG.log(logging.INFO if expected else logging.ERROR, "%s %s/%s is looked at again: %r", *key, failure)
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.add, key)


class Controller:
    """What controllers share: objects of any kind are changed and deleted by their keys."""

    def __init__(self, store: Store, registry: Registry, writes: Writes, deletion: Deletion) -> None:
        self.store = store
        self.registry = registry
        self.writes = writes
        self.deletion = deletion

    def resource(self, key: Key) -> Resource:
        """The resource of a stored object."""
        found = self.registry.storing(key.kind)
        if found is None:
            raise ApiError(404, "NotFound", f"nothing serves {key.kind}")
        return found

    async def delete(self, key: Key, options: DeleteOptions = _BACKGROUND) -> None:
        """Delete an object that may be gone already."""
        if self.store.current(key) is not None:
            await self.deletion.delete(self.resource(key), key.namespace, key.name, options)

    async def change(self, key: Key, change: Callable[[Object], Object], manager: str) -> None:
        """Change an object that may be gone already."""
        if self.store.current(key) is not None:
            options = WriteOptions(manager=manager)
            await self.writes.update(self.resource(key), key.namespace, key.name, change, options, "patch")

    async def drop_finalizer(self, key: Key, finalizer: str) -> None:
        """Remove one finalizer."""

        def drop(value: Object) -> Object:
            kept = [each for each in value["metadata"].get("finalizers") or () if each != finalizer]
            value["metadata"]["finalizers"] = kept
            return value

        await self.change(key, drop, "garbage-collector")


class GarbageCollector(Controller):
    """Ownership: dependents go with their owners, in the background, before them, or not at all.

    A dependent none of whose owners exists is deleted, also when the owner never was.
    """

    def __init__(self, store: Store, registry: Registry, writes: Writes, deletion: Deletion) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        self._alive: dict[str, Key] = {}
        self._dependents: dict[str, set[Key]] = {}
        for kind in store.kinds():
            for stored in store.objects(kind):
                self._link(stored)
                if stored.owners or stored.deleting:
                    self.queue.add(stored.key)
        store.listeners.append(self._observe)

    def _link(self, stored: Stored) -> None:
        self._alive[stored.uid] = stored.key
        for owner in stored.owners:
            self._dependents.setdefault(owner, set()).add(stored.key)

    def _unlink(self, stored: Stored, owners: Iterable[str]) -> None:
        for owner in owners:
            dependents = self._dependents.get(owner, set())
            dependents.discard(stored.key)
            if not dependents:
                self._dependents.pop(owner, None)

    def _observe(self, event: Event) -> None:
        new, previous = event.new, event.previous
        if event.type == "DELETED":
            self._alive.pop(new.uid, None)
            self._unlink(new, {*new.owners, *(previous.owners if previous else ())})
            for dependent in self._dependents.get(new.uid, ()):
                self.queue.add(dependent)
            for owner in new.owners:
                if owner in self._alive:
                    self.queue.add(self._alive[owner])
            return
        if previous is not None and previous.owners != new.owners:
            self._unlink(previous, set(previous.owners) - set(new.owners))
        self._link(new)
        if new.deleting or (new.owners and (previous is None or previous.owners != new.owners)):
            self.queue.add(new.key)

    async def _look(self, key: Key) -> None:
        stored = self.store.get(key)
        if stored is None:
            return
        if stored.deleting:
            finalizers = stored.load()["metadata"].get("finalizers") or ()
            if meta.ORPHAN in finalizers:
                await self._orphan(stored)
            elif meta.FOREGROUND in finalizers:
                await self._delete_dependents_first(stored)
        if stored.owners:
            await self._check_owners(stored)

    async def _check_owners(self, stored: Stored) -> None:
        gone = {owner for owner in stored.owners if owner not in self._alive}
        if len(gone) == len(set(stored.owners)):
            if not stored.deleting:
                await self.delete(stored.key, DeleteOptions(uid=stored.uid))
        elif gone:
            await self.change(stored.key, _without_owners(gone), "garbage-collector")

    async def _orphan(self, owner: Stored) -> None:
        for dependent in list(self._dependents.get(owner.uid, ())):
            await self.change(dependent, _without_owners({owner.uid}), "garbage-collector")
        await self.drop_finalizer(owner.key, meta.ORPHAN)

    async def _delete_dependents_first(self, owner: Stored) -> None:
        blocking = False
        for key in list(self._dependents.get(owner.uid, ())):
            dependent = self.store.get(key)
            if dependent is None:
                continue
            references = dependent.load()["metadata"].get("ownerReferences") or ()
            blocking |= any(each.get("uid") == owner.uid and each.get("blockOwnerDeletion") for each in references)
            if not dependent.deleting:
                below = "Foreground" if self._dependents.get(dependent.uid) else "Background"
                await self.delete(key, DeleteOptions(propagation=below, uid=dependent.uid))
        if not blocking:
            await self.drop_finalizer(owner.key, meta.FOREGROUND)


def _without_owners(gone: set[str]) -> Callable[[Object], Object]:
    def change(value: Object) -> Object:
        owners = value["metadata"].get("ownerReferences") or ()
        value["metadata"]["ownerReferences"] = [each for each in owners if each.get("uid") not in gone]
        return value

    return change


class NamespaceController(Controller):
    """Every namespace has a default ServiceAccount; one that is deleted is emptied first."""

    def __init__(self, store: Store, registry: Registry, writes: Writes, deletion: Deletion) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        for stored in store.objects(NAMESPACES):
            self.queue.add(stored.key)
        store.listeners.append(self._observe)

    async def bootstrap(self) -> None:
        """Make the namespaces that every cluster has."""
        for name in SYSTEM_NAMESPACES:
            await self._ensure(Key(NAMESPACES, "", name), {})
            await self._ensure(Key(SERVICE_ACCOUNTS, name, "default"), {})

    async def _ensure(self, key: Key, content: Object) -> None:
        if self.store.current(key) is None:
            resource = self.resource(key)
            value = {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {"name": key.name},
                **content,
            }
            await self.writes.create(resource, key.namespace, value, WriteOptions(manager="carryon"))

    def _observe(self, event: Event) -> None:
        key = event.new.key
        if key.kind == NAMESPACES:
            self.queue.add(key)
        elif event.type == "DELETED" and key.namespace:
            namespace = self.store.get(Key(NAMESPACES, "", key.namespace))
            if namespace is not None and namespace.deleting:
                self.queue.add(namespace.key)

    async def _look(self, key: Key) -> None:
        stored = self.store.get(key)
        if stored is None:
            return
        if not stored.deleting:
            await self._ensure(Key(SERVICE_ACCOUNTS, key.name, "default"), {})
            return
        inside = [each for kind in self.store.kinds() for each in self.store.objects(kind, key.name)]
        if not inside:
            await self.deletion.remove_namespace(key.name)
            return
        await asyncio.gather(*(self.delete(each.key) for each in inside if not each.deleting))


class DefinitionController(Controller):
    """Serves custom resources as long as their definition stands; their objects go before it."""

    def __init__(self, store: Store, registry: Registry, writes: Writes, deletion: Deletion) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        for stored in store.objects(CRD_KIND):
            registry.define(stored.key.name, definitions.served(stored.load()))
            self.queue.add(stored.key)
        store.listeners.append(self._observe)

    def _observe(self, event: Event) -> None:
        key = event.new.key
        if key.kind == CRD_KIND:
            gone = event.type == "DELETED"
            self.registry.define(key.name, () if gone else definitions.served(event.new.load()))
            self.queue.add(key)
        elif event.type == "DELETED":
            plural_and_group = ".".join(reversed(key.kind.split("/")))
            definition = self.store.get(Key(CRD_KIND, "", plural_and_group))
            if definition is not None and definition.deleting:
                self.queue.add(definition.key)

    async def _look(self, key: Key) -> None:
        stored = self.store.get(key)
        if stored is None or not stored.deleting:
            return
        spec = stored.load()["spec"]
        objects = list(self.store.objects(f"{spec['group']}/{spec['names']['plural']}"))
        if not objects:
            await self.drop_finalizer(key, definitions.CLEANUP)
            return
        await asyncio.gather(*(self.delete(each.key) for each in objects if not each.deleting))


class BudgetController(Controller):
    """Keeps the status of PodDisruptionBudgets: how many of the pods they select may be evicted."""

    def __init__(self, store: Store, registry: Registry, writes: Writes, deletion: Deletion) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        for stored in store.objects(BUDGETS):
            self.queue.add(stored.key)
        store.listeners.append(self._observe)

    def _observe(self, event: Event) -> None:
        key = event.new.key
        if key.kind == BUDGETS:
            self.queue.add(key)
        elif key.kind == PODS:
            for stored in self.store.objects(BUDGETS, key.namespace):
                self.queue.add(stored.key)

    async def _look(self, key: Key) -> None:
        def judge(budget: Object) -> Object:
            selector = (budget.get("spec") or {}).get("selector")
            found = self.store.objects(PODS, key.namespace)
            pods = [each.load() for each in found if budgets.selects(selector, each.labels)]
            budget["status"] = budgets.status_of(budget, pods, datetime.now(UTC))
            return budget

        if self.store.current(key) is None:
            return
        options = WriteOptions(manager="kube-controller-manager", subresource="status")
        written = await self.writes.update(self.resource(key), key.namespace, key.name, judge, options, "patch")
        if (orjson.loads(written.raw).get("status") or {}).get("disruptedPods"):
            seconds = budgets.DISRUPTION_TIMEOUT.total_seconds() + 1
            asyncio.get_running_loop().call_later(seconds, self.queue.add, key)


class EventExpiry(Controller):
    """Events live for an hour after they were last seen, as on a cluster."""

    async def run(self) -> None:
        """Look every minute, for ever."""
        while True:
            await self.expire(datetime.now(UTC))
            await asyncio.sleep(_EXPIRY_SECONDS)

    async def expire(self, now: datetime) -> None:
        """Delete the events that are old by then."""
        oldest = (now - _EVENT_LIFE).isoformat()
        for stored in list(self.store.objects(EVENTS)):
            if _last_seen(stored.load()) < oldest:
                await self.delete(stored.key)


def _last_seen(event: Object) -> str:
    """RFC 3339 times in UTC: they sort as text."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event["metadata"]["creationTimestamp"])
    return max(str(time) for time in times if time)
