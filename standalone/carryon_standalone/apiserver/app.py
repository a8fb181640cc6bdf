"""HTTP: who may ask, what a path means, and how the answer looks."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from carryon_standalone.apiserver import access, discovery, logs, reviews, selectors, tables, watch
from carryon_standalone.apiserver import requests as ask
from carryon_standalone.apiserver.access import Authority, User
from carryon_standalone.apiserver.deletion import DeleteOptions, Deletion
from carryon_standalone.apiserver.errors import (
    ApiError,
    PageNotFound,
    bad_request,
    expired,
    internal,
    method_not_allowed,
    not_found,
    too_large_version,
)
from carryon_standalone.apiserver.negotiation import APPLY_PATCH, JSON, PLAIN, Form, decode, form_of, load_yaml
from carryon_standalone.apiserver.openapi import Documents
from carryon_standalone.apiserver.pages import Page, Pages
from carryon_standalone.apiserver.patching import change_of
from carryon_standalone.apiserver.pods import PodActions
from carryon_standalone.apiserver.requests import Query, Target
from carryon_standalone.apiserver.resources import Registry, Resource
from carryon_standalone.apiserver.responses import (
    HEADERS,
    cached,
    json,
    load,
    raw,
    status_response,
    written_response,
)
from carryon_standalone.apiserver.selectors import EVERYTHING, Selector
from carryon_standalone.apiserver.storage import Object, StorageError, Store, Stored
from carryon_standalone.apiserver.writes import WriteOptions, Writes, Written

_LOG: Final = logging.getLogger(__name__)
_VERBS_OF_OBJECTS: Final = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_VERBS_OF_COLLECTIONS: Final = {"POST": "create", "DELETE": "deletecollection"}
_HEALTH: Final = ("healthz", "livez", "readyz")
_WATCH_SECONDS: Final = 1800.0
_LOOPBACK: Final = ("localhost", "::1")


@dataclass(frozen=True, slots=True)
class Api:
    """The request handler of one server."""

    store: Store
    registry: Registry
    writes: Writes
    deletion: Deletion
    pods: PodActions
    authority: Authority
    logs_folder: Path
    streams: set[asyncio.Task[Any]]
    documents: Documents
    pages: Pages = field(default_factory=Pages)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._route(request)
        except ApiError as error:
            return status_response(error)
        except PageNotFound:
            headers = {**HEADERS, "X-Content-Type-Options": "nosniff"}
            return web.Response(status=404, text="404 page not found\n", headers=headers)
        except web.HTTPRequestEntityTooLarge:
            message = "Request entity too large: limit is 3145728"
            return status_response(ApiError(413, "RequestEntityTooLarge", message))
        except StorageError as error:
            return status_response(internal(str(error)))
        except Exception as error:  # noqa: BLE001 - the rim: whatever went wrong, the client gets a Status
            _LOG.error("%s %s", request.method, request.path, exc_info=error)
            return status_response(internal(f"{type(error).__name__} at {request.method} {request.path}"))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        _check_host(request)
        path = request.path
        if path.rstrip("/") == "/version":
            return json(discovery.VERSION)
        if path.split("/")[1] in _HEALTH:
            return web.Response(text="ok", headers=HEADERS)
        user = access.authenticate(self.authority, request.headers, request.headers.getall("Impersonate-Group", []))
        parts = [part for part in path.split("/") if part]
        if parts and parts[0] == "openapi":
            return self._openapi(request, parts)
        if not parts or parts[0] not in ("api", "apis"):
            if not parts:
                return json({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
            raise PageNotFound
        if len(parts) <= (2 if parts[0] == "api" else 3):
            return self._discovery(request, parts)
        return await self._object(request, ask.target_of(self.registry, parts), user)

    def _discovery(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        if request.method != "GET":
            raise method_not_allowed()
        core = parts[0] == "api"
        if len(parts) == 1:
            accept = request.headers.get("Accept", "")
            if version := discovery.aggregated_version(accept):
                media_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return cached(request, discovery.aggregated(self.registry, core, version), media_type)
            return json(discovery.legacy_versions(request.host) if core else discovery.group_list(self.registry))
        if core:
            found = discovery.resource_list(self.registry, "", parts[1])
        elif len(parts) == 2:
            found = discovery.group(self.registry, parts[1])
        else:
            found = discovery.resource_list(self.registry, parts[1], parts[2])
        if found is None:
            raise PageNotFound
        return json(found)

    def _openapi(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        if parts[1:2] != ["v3"]:
            raise PageNotFound
        if len(parts) == 2:
            # Of all documents this alone is served as plain text by a real server.
            return cached(request, self.documents.index(), "text/plain; charset=utf-8", "no-cache, private")
        found = self.documents.document("/".join(parts[2:]))
        if found is None:
            raise PageNotFound
        document, tag = found
        lasting = request.query.get("hash") == tag
        return cached(request, document, JSON, "public, immutable" if lasting else "no-cache, private", tag)

    async def _object(self, request: web.BaseRequest, target: Target, user: User) -> web.StreamResponse:
        method, query = request.method, request.query
        wanted = access.attributes_of(method, target, ask.is_true(query, "watch"))
        access.authorize(self.authority, user, wanted)
        if target.resource.virtual:
            return await self._review(request, target, user)
        if target.subresource in ("log", "binding", "eviction"):
            return await self._pod_subresource(request, target)
        if method in ("GET", "HEAD"):
            form = form_of(request.headers.get("Accept", ""))
            if target.name:
                return self._get(target, form, query)
            if ask.is_true(query, "watch"):
                return await self._watch(request, target, form)
            return self._list(target, form, query)
        verb = (_VERBS_OF_OBJECTS if target.name else _VERBS_OF_COLLECTIONS).get(method, "")
        if verb not in target.resource.subresources.get(target.subresource, target.resource.verbs):
            raise method_not_allowed()
        form = form_of(request.headers.get("Accept", ""))
        body = await request.read()
        if verb in ("delete", "deletecollection"):
            options = ask.delete_options(query, body, request.headers.get("Content-Type", ""))
            return await self._delete(target, query, options, form)
        writing = ask.write_options(request, target.subresource, body)
        written = await self._write(verb, target, query, body, request.headers.get("Content-Type", ""), writing)
        return written_response(target.resource, written, form)

    async def _write(
        self, verb: str, target: Target, query: Query, body: bytes, content_type: str, options: WriteOptions
    ) -> Written:
        resource = target.resource
        if verb == "patch":
            return await self._patch(target, query, body, content_type, options)
        value = decode(body, content_type, resource.kind)
        _check_kind(resource, value)
        if verb == "create":
            return await self.writes.create(resource, _one_namespace(target), value, options)
        return await self.writes.update(resource, target.namespace or "", target.name, lambda _: value, options)

    async def _patch(
        self, target: Target, query: Query, body: bytes, content_type: str, options: WriteOptions
    ) -> Written:
        resource, namespace = target.resource, target.namespace or ""
        media_type = content_type.partition(";")[0].strip()
        if media_type == APPLY_PATCH:
            ask.apply_manager(query)
            wanted = load_yaml(body)
            if not isinstance(wanted, dict):
                raise bad_request("an apply patch must be an object")
            _check_kind(resource, wanted)
            force = ask.is_true(query, "force")
            return await self.writes.apply(resource, namespace, target.name, wanted, options, force)
        change = change_of(resource, media_type, body)
        return await self.writes.update(resource, namespace, target.name, change, options, "patch")

    def _get(self, target: Target, form: Form, query: Query) -> web.Response:
        stored = self.store.get(target.resource.key(target.namespace or "", target.name))
        if stored is None:
            raise not_found(target.resource.named(target.name))
        if form is PLAIN and stored.api_version == target.resource.api_version:
            return raw(stored.raw)
        return json(self._shown(target.resource, stored, form, query.get("includeObject", "Metadata")), form=form)

    def _shown(self, resource: Resource, stored: Stored, form: Form, rows: str) -> Object:
        value = load(resource, stored)
        if form.kind == "Table":
            version = {"resourceVersion": str(stored.revision)}
            return tables.table(resource, form.version, [value], version, rows)
        return tables.partial(value, form.version) if form.kind else value

    def _select(self, resource: Resource, query: Query) -> Selector:
        known = resource.strategy.fields({"metadata": {"name": ""}})
        return selectors.parse(query.get("labelSelector", ""), query.get("fieldSelector", ""), known.__contains__)

    def _list(self, target: Target, form: Form, query: Query) -> web.Response:
        resource = target.resource
        ask.check_list(query)
        revision = ask.revision_of(query)
        if revision is not None and revision > self.store.revision:
            raise too_large_version(revision, self.store.revision)
        if revision is not None and revision < self.store.revision and query.get("resourceVersionMatch") == "Exact":
            # Only the newest state is kept; to a client it is as if the older ones had been compacted.
            raise expired("The resourceVersion for the provided list is too old.")
        selector = self._select(resource, query)
        page = self._page(target, selector, query)
        metadata: Object = {"continue": page.token, "resourceVersion": str(page.revision)}
        if page.remaining and selector == EVERYTHING:
            metadata["remainingItemCount"] = page.remaining
        if form is PLAIN and all(each.api_version == resource.api_version for each in page.objects):
            head = {"kind": resource.listed_as, "apiVersion": resource.api_version}
            opening = orjson.dumps({**head, "metadata": metadata})[:-1]
            return raw(b'%b,"items":[%b]}' % (opening, b",".join(each.raw for each in page.objects)))
        values = [load(resource, each) for each in page.objects]
        if form.kind == "Table":
            rows = query.get("includeObject", "Metadata")
            if not page.token:
                del metadata["continue"]
            return json(tables.table(resource, form.version, values, metadata, rows), form=form)
        head = {"kind": resource.listed_as, "apiVersion": resource.api_version}
        if form.kind:
            head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}"}
            values = [tables.partial(each, form.version) for each in values]
        return json({**head, "metadata": metadata, "items": values}, form=form)

    def _page(self, target: Target, selector: Selector, query: Query) -> Page:
        kind, (limit, token) = target.resource.storage_kind, ask.page_of(query)
        question = (kind, target.namespace or "", query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if token:
            return self.pages.next(question, token, limit)
        found = [each for each in self.store.objects(kind, target.namespace) if selector.matches(each)]
        return self.pages.first(question, found, self.store.revision, limit)

    async def _watch(self, request: web.BaseRequest, target: Target, form: Form) -> web.StreamResponse:
        query = request.query
        ask.check_watch(query)
        revision = ask.revision_of(query)
        asked = query.get("sendInitialEvents")
        initial = ask.is_true(query, "sendInitialEvents") if asked is not None else not revision
        timeout = ask.timeout_of(query)
        options = watch.WatchOptions(
            namespace=target.namespace,
            selector=self._select(target.resource, query),
            form=form,
            revision=revision,
            initial=initial,
            mark_initial=asked is not None and initial and ask.is_true(query, "allowWatchBookmarks"),
            bookmarks=ask.is_true(query, "allowWatchBookmarks"),
            timeout=timeout if timeout else _WATCH_SECONDS * (1 + random.random()),
            shown=query.get("includeObject", "Metadata"),
        )
        return await self._stream(request, watch.stream(self.store, target.resource, options), JSON)

    async def _stream(self, request: web.BaseRequest, chunks: AsyncIterator[bytes], kind: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": kind})
        response.enable_chunked_encoding()
        task = asyncio.current_task()
        assert task is not None
        self.streams.add(task)
        try:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionResetError:
            _LOG.debug("a client left its stream at %s", request.path)
        finally:
            self.streams.discard(task)
        return response

    async def _delete(self, target: Target, query: Query, options: DeleteOptions, form: Form) -> web.Response:
        resource = target.resource
        if target.name:
            answer = await self.deletion.delete(resource, target.namespace or "", target.name, options)
            return raw(answer) if form.media_type == JSON else json(orjson.loads(answer), form=form)
        selector = self._select(resource, query)
        found = [each for each in self.store.objects(resource.storage_kind, target.namespace) if selector.matches(each)]
        await asyncio.gather(*(self._delete_one(resource, each, options) for each in found))
        head = {"kind": resource.listed_as, "apiVersion": resource.api_version}
        metadata = {"continue": "", "resourceVersion": str(self.store.revision)}
        return json({**head, "metadata": metadata, "items": [load(resource, each) for each in found]}, form=form)

    async def _delete_one(self, resource: Resource, stored: Stored, options: DeleteOptions) -> None:
        try:
            await self.deletion.delete(resource, stored.key.namespace, stored.key.name, options)
        except ApiError as error:
            if error.reason != "NotFound":
                raise

    async def _pod_subresource(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        key = target.resource.key(target.namespace or "", target.name)
        stored = self.store.current(key)
        if stored is None:
            raise not_found(target.resource.named(target.name))
        if target.subresource == "log":
            if request.method != "GET":
                raise method_not_allowed()
            return await self._log(request, stored)
        if request.method != "POST":
            raise method_not_allowed()
        body = decode(await request.read(), request.headers.get("Content-Type", ""), target.subresource)
        options = ask.write_options(request, "")
        if target.subresource == "binding":
            node = (body.get("target") or {}).get("name") or ""
            await self.pods.bind(target.resource, key, node, options)
        else:
            given = orjson.dumps(body.get("deleteOptions") or {})
            await self.pods.evict(target.resource, key, ask.delete_options(request.query, given), options)
        return json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    async def _log(self, request: web.BaseRequest, stored: Stored) -> web.StreamResponse:
        options, pod = ask.log_options(request.query), stored.load()
        container = logs.container_of(pod, options.container)
        if not (pod.get("spec") or {}).get("nodeName"):
            return web.Response(status=204, headers=HEADERS)
        path = logs.file_of(self.logs_folder, pod, container, options.previous)
        logs.check_started(pod, container, path, options)

        def ended() -> bool:
            newest = self.store.get(stored.key)
            same = newest is not None and newest.uid == stored.uid
            return options.previous or logs.has_ended(newest.load() if newest and same else None, container)

        return await self._stream(request, logs.read(path, options, ended), "text/plain")

    async def _review(self, request: web.BaseRequest, target: Target, user: User) -> web.Response:
        if request.method != "POST" or target.name:
            raise method_not_allowed()
        value = decode(await request.read(), request.headers.get("Content-Type", ""), target.resource.kind)
        manager = ask.write_options(request, "").manager
        return json(reviews.answered(self.authority, user, target, value, manager), 201)


def _check_host(request: web.BaseRequest) -> None:
    """Refuse names that are not this machine's own: a page elsewhere could have rebound its name to us."""
    host = urlsplit(f"//{request.headers.get('Host', 'localhost')}").hostname or ""
    if host not in _LOOPBACK and not host.startswith("127."):
        raise ApiError(403, "Forbidden", f"this server answers on loopback only, not as {host!r}")


def _check_kind(resource: Resource, value: Object) -> None:
    given = value.setdefault("apiVersion", resource.api_version), value.setdefault("kind", resource.kind)
    if given[0] != resource.api_version:
        raise bad_request(
            f"the API version in the data ({given[0]}) does not match the expected API version ({resource.api_version})"
        )
    if given[1] != resource.kind:
        raise bad_request(f"the kind in the data ({given[1]}) does not match the expected kind ({resource.kind})")


def _one_namespace(target: Target) -> str:
    if target.resource.namespaced and target.namespace is None:
        raise method_not_allowed()
    return target.namespace or ""
