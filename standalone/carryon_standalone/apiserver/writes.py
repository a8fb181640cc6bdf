"""Creating and changing objects: the rules every kind shares.

Each write reads the newest state, decides and stages without awaiting in between, so no two writes interleave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import orjson

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver import ownership
from carryon_standalone.apiserver.catalog import NAMESPACES
from carryon_standalone.apiserver.decoding import MISFIT, drop_nulls, settle
from carryon_standalone.apiserver.errors import (
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    modified,
    not_found,
)
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.schema import same
from carryon_standalone.apiserver.storage import Key, Object, Store, Stored

Source = Literal["create", "update", "patch", "apply"]
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Query parameters of a write, and fields that its body has more than once."""

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    subresource: str = ""
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answers: the object's JSON, whether it is new, and warnings for the client."""

    raw: bytes
    created: bool = False
    warnings: tuple[str, ...] = field(default=())


class Writes:
    """All writes on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self, resource: Resource, namespace: str, value: Object, options: WriteOptions, applied: bool = False
    ) -> Written:
        """Store a new object; one that was `applied` already says who owns what."""
        metadata = self._prepare_metadata(resource, namespace, value)
        self._check_namespace(resource, namespace, metadata.get("name", ""))
        if resource.custom and resource.has_status:
            value.pop("status", None)
        unknown = meta.prune(metadata)
        meta.fill(metadata, resource.counts_generation)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._free_name(resource, namespace, metadata["generateName"])
        warnings = self._conform(resource, value, None, unknown, options, "apply" if applied else "create")
        key = resource.key(namespace, metadata["name"])
        if self._store.current(key) is not None:
            raise already_exists(resource.named(metadata["name"]))
        if not applied:
            ownership.record(
                _unowned(resource, value), value, ownership.shape_of(resource.shape), author(resource, options)
            )
        if options.dry_run:
            return Written(orjson.dumps(value), True, warnings)
        stored = await self._store.put(key, value)
        return Written(stored.raw, True, warnings)

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        options: WriteOptions,
        source: Source = "update",
    ) -> Written:
        """Change an object. `change` gets a copy of the newest one and returns what it should be."""
        key = resource.key(namespace, name)
        stored = self._store.current(key)
        if stored is None:
            raise not_found(resource.named(name))
        old, new = stored.load(), change(stored.load())
        self._check_identity(resource, stored, new, source)
        meta.check_types(new["metadata"])
        unknown = meta.prune(new["metadata"])
        new = _written_part(resource, old, new, options.subresource)
        meta.keep(new["metadata"], old["metadata"])
        warnings = self._conform(resource, new, old, unknown, options, source)
        counted = resource.counts_generation and options.subresource != "status"
        if counted and not same(_spec_of(resource, new), _spec_of(resource, old)):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if source != "apply":
            ownership.record(old, new, ownership.shape_of(resource.shape), author(resource, options))
        if same(new, old):
            await self._store.settled(key)
            return Written(stored.raw, False, warnings)
        if options.dry_run:
            return Written(orjson.dumps(new), False, warnings)
        if _is_finished(new):
            raw = orjson.dumps(new)
            await self._store.remove(key, new)
            return Written(raw, False, warnings)
        return Written((await self._store.put(key, new)).raw, False, warnings)

    async def apply(
        self, resource: Resource, namespace: str, name: str, wanted: Object, options: WriteOptions, force: bool
    ) -> Written:
        """Server-side apply."""
        drop_nulls(wanted)
        meta.check_types(wanted.setdefault("metadata", {}))
        if wanted["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        given = wanted["metadata"].setdefault("name", name)
        if given != name:
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        self._check_declared(resource, namespace, wanted)
        wanted = _applied_part(resource, wanted, options.subresource)
        applier = author(resource, options)
        shape = ownership.shape_of(resource.shape)
        if self._store.current(resource.key(namespace, name)) is None:
            if options.subresource:
                raise not_found(resource.named(name))
            if wanted["metadata"].get("resourceVersion") or wanted["metadata"].get("uid"):
                raise modified(resource.named(name))
            return await self.create(
                resource, namespace, ownership.apply(None, wanted, shape, applier, force), options, True
            )

        def change(live: Object) -> Object:
            merged = ownership.apply(live, wanted, shape, applier, force)
            for each in ("resourceVersion", "uid"):
                if each in wanted["metadata"]:
                    merged["metadata"][each] = wanted["metadata"][each]
            return merged

        return await self.update(resource, namespace, name, change, options, "apply")

    def _prepare_metadata(self, resource: Resource, namespace: str, value: Object) -> Object:
        metadata: Object = value.setdefault("metadata", {})
        meta.check_types(metadata)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            if metadata.setdefault("namespace", namespace) not in (namespace, None, ""):
                message = "the namespace of the provided object does not match the namespace sent on the request"
                raise bad_request(message)
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        return metadata

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        found = self._store.current(Key(NAMESPACES, "", namespace))
        if found is None:
            raise not_found(replace(resource.named(namespace), group="", kind="namespaces"))
        if found.deleting:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = forbidden(resource.named(name), why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    def _free_name(self, resource: Resource, namespace: str, base: str) -> str:
        for _ in range(_ATTEMPTS):
            name = meta.generate_name(base)
            if self._store.current(resource.key(namespace, name)) is None:
                return name
        raise already_exists(resource.named(name))

    def _conform(
        self,
        resource: Resource,
        value: Object,
        old: Object | None,
        unknown: list[str],
        options: WriteOptions,
        source: Source,
    ) -> tuple[str, ...]:
        """Prune, fill in defaults and validate; warnings about unknown and repeated fields."""
        unknown = sorted([*unknown, *resource.structural.prune(value)])
        if not resource.custom:
            settle(resource, value, old)
        words = [f'duplicate field "{path}"' for path in options.repeated]
        words += [f'unknown field "{path}"' for path in unknown]
        if words and options.field_validation == "Strict":
            raise _strict(resource, words, source)
        resource.structural.default(value)
        if old is None:
            resource.strategy.prepare(value)
        resource.strategy.default(value)
        errors = self._errors(resource, value, old)
        warnings = tuple(words) if options.field_validation == "Warn" else ()
        if errors:
            error = invalid(resource.kind_named(value["metadata"].get("name", "")), errors)
            error.headers = _warning_headers(warnings)
            raise error
        return warnings

    def _errors(self, resource: Resource, value: Object, old: Object | None) -> list[FieldError]:
        errors = []
        if old is None:
            errors += meta.check_name(value["metadata"].get("name", ""), as_label=resource.storage_kind == NAMESPACES)
        errors += meta.check(value["metadata"], old["metadata"] if old is not None else None)
        if resource.custom:
            return [*errors, *resource.structural.validate(value, old)]
        return [*errors, *resource.strategy.validate(value, old)]

    def _check_identity(self, resource: Resource, stored: Stored, new: Object, source: Source) -> None:
        name = stored.key.name
        metadata = new.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise bad_request("metadata must be an object")
        if (new.get("apiVersion"), new.get("kind")) != (resource.api_version, resource.kind):
            raise bad_request(
                f"the API version in the data ({new.get('apiVersion')}) does not match the expected API version"
                f" ({resource.api_version})"
                if new.get("apiVersion") != resource.api_version
                else f"the kind in the data ({new.get('kind')}) does not match the expected kind ({resource.kind})"
            )
        if metadata.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if resource.namespaced and metadata.get("namespace") not in (None, "", stored.key.namespace):
            raise bad_request("the namespace of the object does not match the namespace on the request")
        version = metadata.get("resourceVersion")
        if not version and resource.custom and source == "update":
            error = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.named(name), [error])
        if version and version != str(stored.revision):
            raise modified(resource.named(name))
        uid = metadata.get("uid")
        if uid and uid != stored.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored.uid}"
            raise conflict(resource.named(name), why)

    def _check_declared(self, resource: Resource, namespace: str, wanted: Object) -> None:
        """Apply refuses unknown and misshapen fields always: nobody could own them."""
        value = orjson.loads(orjson.dumps(wanted))
        problems = [f".{path}: field not declared in schema" for path in resource.structural.prune(value)]
        problems += [
            str(error)
            for error in resource.structural.validate(value)
            if error.reason in (MISFIT, "FieldValueDuplicate")
        ]
        if problems:
            where = f"{namespace}/{wanted['metadata']['name']}" if namespace else wanted["metadata"]["name"]
            raise bad_request(
                f"failed to create typed patch object ({where}; {resource.group}/{resource.version},"
                f" Kind={resource.kind}):"
                f" {', '.join(problems)}"
            )


def author(resource: Resource, options: WriteOptions) -> ownership.Author:
    """Who a write is recorded under."""
    return ownership.Author(options.manager, options.subresource, resource.api_version, meta.now())


def _strict(resource: Resource, words: list[str], source: Source) -> ApiError:
    sentence = f"strict decoding error: {', '.join(words)}"
    if source == "patch":
        return invalid(replace(resource.named(""), group="", kind=""), [invalid_value("patch", "", sentence)])
    return bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {sentence}'
    )


def _warning_headers(warnings: tuple[str, ...]) -> dict[str, str]:
    return {"Warning": warning_header(warnings)} if warnings else {}


def warning_header(warnings: tuple[str, ...]) -> str:
    """RFC 7234 warnings; quotes inside are escaped."""
    return ", ".join('299 - "{}"'.format(each.replace("\\", "\\\\").replace('"', '\\"')) for each in warnings)


def _written_part(resource: Resource, old: Object, new: Object, subresource: str) -> Object:
    """Main writes leave the status alone, status writes everything else."""
    if subresource == "status":
        part = {**old, "metadata": dict(old["metadata"])}
        part["metadata"]["managedFields"] = new["metadata"].get("managedFields") or []
        if "status" in new:
            part["status"] = new["status"]
        else:
            part.pop("status", None)
        return part
    if resource.has_status:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    return new


def _applied_part(resource: Resource, wanted: Object, subresource: str) -> Object:
    identity: Object = {key: wanted[key] for key in ("apiVersion", "kind")}
    if subresource == "status":
        metadata = {key: inner for key, inner in wanted["metadata"].items() if key in ("name", "namespace")}
        return {**identity, "metadata": metadata, **({"status": wanted["status"]} if "status" in wanted else {})}
    return {key: inner for key, inner in wanted.items() if key != "status" or not resource.has_status}


def _unowned(resource: Resource, value: Object) -> Object:
    """What is in a new object without anybody having put it there; a status is written apart."""
    status = {"status": value["status"]} if resource.has_status and "status" in value else {}
    return {**resource.strategy.empty, **status}


def _spec_of(resource: Resource, value: Mapping[str, Any]) -> Object:
    """What counts for the generation: all but metadata, and status where that is written apart."""
    return {
        key: inner
        for key, inner in value.items()
        if key != "metadata" and not (key == "status" and resource.has_status)
    }


def _is_finished(value: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = value["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds") and not (value.get("spec") or {}).get("finalizers")
