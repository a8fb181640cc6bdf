"""Deleting objects: preconditions, grace periods of pods, finalizers and what propagates to dependents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver.catalog import NAMESPACES, PODS
from carryon_standalone.apiserver.errors import conflict, forbidden, not_found
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.storage import Key, Object, Store, Stored
from carryon_standalone.apiserver.strategies import TERMINAL

_KEPT: Final = frozenset(Key(NAMESPACES, "", name) for name in ("default", "kube-system", "kube-public"))


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`DeleteOptions` of a request. `propagation` is empty where the client left it out."""

    grace: int | None = None
    propagation: str = ""
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False


class Deletion:
    """All deletions on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> bytes:
        """Delete an object, at once or as its grace period and finalizers allow; what to answer."""
        key = resource.key(namespace, name)
        stored = self._store.current(key)
        if stored is None:
            raise not_found(resource.named(name))
        if key in _KEPT:
            raise forbidden(resource.named(name), "this namespace may not be deleted")
        _check_preconditions(resource, stored, options)
        value = stored.load()
        metadata = value["metadata"]
        finalizers = _finalizers(metadata, options.propagation)
        grace = _grace(resource, value, options.grace)
        if not finalizers and grace == 0 and resource.storage_kind != NAMESPACES:
            return await self._remove(resource, key, value, options)
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = meta.now(grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if resource.counts_generation:
                metadata["generation"] = metadata.get("generation", 0) + 1
        elif grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = meta.now(grace)
            metadata["deletionGracePeriodSeconds"] = grace
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if resource.storage_kind == NAMESPACES:
            value["status"] = {**(value.get("status") or {}), "phase": "Terminating"}
            metadata.pop("deletionGracePeriodSeconds", None)
        if options.dry_run or value == stored.load():
            await self._store.settled(key)
            return orjson.dumps(value)
        return (await self._store.put(key, value)).raw

    async def remove_namespace(self, name: str) -> None:
        """Remove a namespace that is empty."""
        stored = self._store.current(Key(NAMESPACES, "", name))
        if stored is not None:
            value = stored.load()
            value["spec"] = {}
            await self._store.remove(stored.key, value)

    async def _remove(self, resource: Resource, key: Key, value: Object, options: DeleteOptions) -> bytes:
        metadata = value["metadata"]
        if resource.storage_kind == PODS:
            metadata.setdefault("deletionTimestamp", meta.now())
            metadata["deletionGracePeriodSeconds"] = 0
        if resource.deletion_returns_object:
            answer = orjson.dumps(value)
        else:
            details = {**resource.named(key.name).details(), "uid": metadata["uid"]}
            answer = orjson.dumps(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            )
        if not options.dry_run:
            await self._store.remove(key, value)
        return answer


def _check_preconditions(resource: Resource, stored: Stored, options: DeleteOptions) -> None:
    name = stored.key.name
    named = resource.kind_named(name) if resource.custom else resource.named(name)
    tail = "The object might have been deleted and then recreated"
    if options.uid is not None and options.uid != stored.uid:
        raise conflict(
            named,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({stored.uid}). {tail}",
        )
    if options.version is not None and options.version != str(stored.revision):
        raise conflict(
            named,
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in"
            f" record ({stored.revision}). The object might have been modified",
        )


def _finalizers(metadata: Object, propagation: str) -> list[str]:
    finalizers = [
        each
        for each in metadata.get("finalizers") or ()
        if not propagation or each not in (meta.FOREGROUND, meta.ORPHAN)
    ]
    if propagation == "Orphan":
        finalizers.append(meta.ORPHAN)
    elif propagation == "Foreground":
        finalizers.append(meta.FOREGROUND)
    return finalizers


def _grace(resource: Resource, value: Object, asked: int | None) -> int:
    """Seconds until a pod has to be gone; other kinds have none."""
    if resource.storage_kind != PODS:
        return 0
    spec = value.get("spec") or {}
    if not spec.get("nodeName") or (value.get("status") or {}).get("phase") in TERMINAL:
        return 0
    grace = spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked
    # A negative period means "as soon as it can be done properly", which is one second.
    grace = 1 if grace < 0 else int(grace)
    running: int | None = value["metadata"].get("deletionGracePeriodSeconds")
    if "deletionTimestamp" in value["metadata"] and running is not None:
        return min(grace, running) if asked is not None else running
    return grace
