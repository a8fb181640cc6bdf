"""What only pods have: `binding` gives them their node, `eviction` deletes them and says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from carryon_standalone.apiserver import budgets, ownership
from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver.catalog import BUDGETS
from carryon_standalone.apiserver.deletion import DeleteOptions, Deletion
from carryon_standalone.apiserver.errors import bad_request, conflict, not_found
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.storage import Key, Object, Store, Stored
from carryon_standalone.apiserver.writes import WriteOptions, author


class PodActions:
    """Binding and eviction on one store."""

    def __init__(self, store: Store, deletion: Deletion) -> None:
        self._store = store
        self._deletion = deletion

    async def bind(self, resource: Resource, key: Key, node: str, options: WriteOptions) -> None:
        """Give a pod its node: `pods/binding`."""

        def change(pod: Object) -> Object:
            current = pod["spec"].get("nodeName")
            if current:
                raise conflict(resource.named(key.name), f'pod {key.name} is already assigned to node "{current}"')
            pod["spec"]["nodeName"] = node
            _set_condition(pod, {"type": "PodScheduled", "status": "True"})
            return pod

        if not node:
            raise bad_request("a binding needs target.name, the node's name")
        await self._change(resource, key, change, options)

    async def evict(self, resource: Resource, key: Key, delete: DeleteOptions, options: WriteOptions) -> None:
        """Delete a pod and say why, unless its disruption budget forbids it: `pods/eviction`."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }

        stored = self._store.current(key)
        if stored is None:
            raise not_found(resource.named(key.name))
        guarding = self._budgets(key.namespace, stored)
        taken = budgets.take(stored.load(), guarding, datetime.now(UTC))
        if not delete.dry_run:
            if taken is not None:
                # Staged before anything else is looked at: of two evictions at once the second sees the first.
                await self._store.put(Key(BUDGETS, key.namespace, taken["metadata"]["name"]), taken)
            await self.tell(resource, key, condition, options)
        await self._deletion.delete(resource, key.namespace, key.name, delete)

    async def tell(self, resource: Resource, key: Key, condition: Object, options: WriteOptions) -> None:
        """Set a condition of a pod."""

        def change(pod: Object) -> Object:
            _set_condition(pod, condition)
            return pod

        await self._change(resource, key, change, options)

    def _budgets(self, namespace: str, pod: Stored) -> list[Object]:
        """The budgets that select a pod, as the next write finds them."""
        known = (self._store.current(each.key) for each in self._store.objects(BUDGETS, namespace))
        found = (each.load() for each in known if each is not None)
        return [each for each in found if budgets.selects((each.get("spec") or {}).get("selector"), pod.labels)]

    async def _change(
        self, resource: Resource, key: Key, change: Callable[[Object], Object], options: WriteOptions
    ) -> None:
        """Change spec and status of a pod together, as only its own subresources may."""
        stored = self._store.current(key)
        if stored is None:
            raise not_found(resource.named(key.name))
        value = change(stored.load())
        ownership.record(stored.load(), value, ownership.shape_of(resource.shape), author(resource, options))
        if not options.dry_run:
            await self._store.put(key, value)


def _set_condition(pod: Object, condition: Object) -> None:
    status = pod.setdefault("status", {})
    others = [each for each in status.get("conditions") or () if each.get("type") != condition["type"]]
    status["conditions"] = [*others, {**condition, "lastTransitionTime": meta.now()}]
