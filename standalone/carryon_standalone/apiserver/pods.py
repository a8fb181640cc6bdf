"""What only pods have: `binding` gives them their node, `eviction` deletes them and says why."""

from __future__ import annotations

from collections.abc import Callable

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver import ownership
from carryon_standalone.apiserver.deletion import DeleteOptions, Deletion
from carryon_standalone.apiserver.errors import bad_request, conflict, not_found
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.storage import Key, Object, Store
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
        """Delete a pod and say why: `pods/eviction`."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }

        def change(pod: Object) -> Object:
            _set_condition(pod, condition)
            return pod

        if not delete.dry_run:
            await self._change(resource, key, change, options)
        await self._deletion.delete(resource, key.namespace, key.name, delete)

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
