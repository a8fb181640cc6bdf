"""Finished files and previews, whole or in part."""

from __future__ import annotations

import codecs
import logging
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from carryon_api.access import ClusterOf, ReadableJob
from carryon_api.access.dependencies import ConfigOf
from carryon_api.artifacts import headers, streaming
from carryon_api.artifacts.byteranges import Part, part_of
from carryon_api.live.service import Live
from carryon_api.problems import Problem, responses
from carryon_api.routes.jobs import ONE
from carryon_api.routes.units import ItemPath, StagePath
from carryon_core import layout
from carryon_core.done import Artifact
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import Job
from carryon_jobs.made import Made, Place
from carryon_store import Changed, NotFound, ObjectInfo, Store, StoreError
from carryon_store.protocol import check_key

router = APIRouter(prefix=f"/api/v1{ONE}/units/{{stage}}/{{item}}", tags=["artifacts"])
PRESIGNED_SECONDS: Final = 3600
"""How long a presigned address is good: a film may be watched for a while."""

TEXT_BYTES: Final = 128 * 1024
"""Of a text that a page shows: it comes from the API itself, for scripts may not read what other origins have."""

log = logging.getLogger(__name__)
Download = Annotated[bool, Query(description="Keep it as a file with a readable name instead of showing it.")]
_BODY: Final[dict[str, Any]] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_DECODER: Final = codecs.getincrementaldecoder("utf-8")
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The file.", "content": _BODY},
    206: {"description": "The part of it that was asked for.", "content": _BODY},
    304: {"description": "It is what the client has."},
    **responses(404, 409, 416, 422, 502),
}
_REDIRECT: Final[dict[int | str, dict[str, Any]]] = {307: {"description": "It is at this address of the bucket."}}


@router.head("/artifacts/{artifact:path}", include_in_schema=False)
@router.get("/artifacts/{artifact:path}", response_class=Response, responses={**_FILES, **_REDIRECT})
async def get_artifact(
    request: Request,
    job: ReadableJob,
    cluster: ClusterOf,
    config: ConfigOf,
    stage: StagePath,
    item: ItemPath,
    artifact: Annotated[str, Path(description="Name of the file.", max_length=255, examples=["clip.mp4"])],
    download: Download = False,
    text: Annotated[
        bool,
        Query(description=f"Only its beginning, at most {TEXT_BYTES // 1024} KiB, as plain text, without a redirect."),
    ] = False,
    v: Annotated[
        str, Query(description="First digits of its SHA-256: makes the answer cacheable.", max_length=64)
    ] = "",
) -> Response:
    """A finished file of a unit, with ranges; from the bucket itself where the API hands out presigned addresses."""
    live: Live = request.app.state.live
    outside = await live.outside(job)
    made = live.made
    store, place, found, info = await cluster.in_thread(
        job.namespace, partial(_artifact, made, outside, stage, item, artifact)
    )
    name = headers.readable_name(job.name, stage, place.item, found.name)
    kind, disposition = headers.content_type(found.content_type), headers.disposition(name, download=download)
    cacheable = len(v) >= 12 and found.sha256.startswith(v)
    if text:
        content = await cluster.in_thread(job.namespace, partial(_beginning, store, info))
        told = headers.guarded("text/plain; charset=utf-8", immutable=cacheable)
        return Response(
            content, headers={**told, "Content-Disposition": headers.disposition(f"{name}.txt", download=download)}
        )
    if config.presign:
        address = await cluster.in_thread(
            job.namespace,
            partial(store.presign, info.key, seconds=PRESIGNED_SECONDS, content_type=kind, disposition=disposition),
        )
        if address is not None:
            return RedirectResponse(address, HTTPStatus.TEMPORARY_REDIRECT, {"Cache-Control": "no-store"})
    told = headers.guarded(kind, immutable=cacheable)
    told["Content-Disposition"] = disposition
    return await _answer(request, job.namespace, store, info, f'"{found.sha256}"', told)


@router.head("/previews/{preview}", include_in_schema=False)
@router.get("/previews/{preview}", response_class=Response, responses=_FILES)
async def get_preview(
    request: Request,
    job: ReadableJob,
    cluster: ClusterOf,
    stage: StagePath,
    item: ItemPath,
    preview: Annotated[str, Path(description="Name of the preview.", max_length=255)],
) -> Response:
    """A finished section of a clip that is not done; gone once the clip is."""
    live: Live = request.app.state.live
    outside = await live.outside(job)
    made = live.made
    store, info = await cluster.in_thread(job.namespace, partial(_preview, made, outside, stage, item, preview))
    told = headers.guarded(headers.content_type(headers.kind_of(preview)), immutable=True)
    return await _answer(request, job.namespace, store, info, f'"{info.etag}"', told)


async def _answer(
    request: Request, namespace: str, store: Store, info: ObjectInfo, etag: str, told: dict[str, str]
) -> Response:
    """A file, or the part of it that a request wants."""
    asked = request.headers
    part = part_of(
        info.size,
        etag,
        # RFC 9110, 14.2: only GET has ranges.
        wanted=asked.get("range") if request.method == "GET" else None,
        if_range=asked.get("if-range"),
        if_none_match=asked.get("if-none-match"),
    )
    told = {**told, "ETag": etag, "Accept-Ranges": "bytes"}
    if part.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise Problem(
            "range-not-satisfiable",
            f"the file has {info.size} bytes, and none where they were asked for",
            headers={"Content-Range": part.content_range},
        )
    if part.status == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=part.status, headers=told)
    told["Content-Length"] = str(part.length)
    if part.content_range:
        told["Content-Range"] = part.content_range
    if request.method == "HEAD" or not part.length:
        return Response(status_code=part.status, headers=told)
    return await _stream(request, namespace, store, info, part, told)


async def _stream(
    request: Request, namespace: str, store: Store, info: ObjectInfo, part: Part, told: dict[str, str]
) -> Response:
    reading = streaming.read(store, info, part.offset, part.length, request.app.state.live.readers, namespace)
    try:
        await reading.start()
    except Changed:
        await reading.close()
        raise _replaced() from None
    except BaseException:
        await reading.close()
        raise
    return streaming.PartResponse(reading, part.status, told)


def _artifact(made: Made, job: Job, stage: str, item: str, name: str) -> tuple[Store, Place, Artifact, ObjectInfo]:
    """A finished file, and where it lies: only what its unit's record names, and only below the unit's own folder."""
    place = made.named(job, stage, item)
    store = _store_of(job, place)
    unit, gone = f"{stage}/{place.item}", False
    for _ in range(2):
        done = made.done(store, place.prefix)
        found = next((each for each in done.artifacts if each.name == name), None) if done is not None else None
        info = _look(store, place.prefix, found.key) if found is not None else None
        if found is not None and info is not None and info.size == found.size:
            return store, place, found, info
        # It may have been made again since its record was read.
        made.forget(store, place.prefix)
        gone = found is not None
    if gone:
        raise Problem("not-found", f'"{name}" of {unit} is gone from the bucket: resume the job to have it made again')
    raise Problem("not-found", f'{unit} has no finished file "{name}"')


def _beginning(store: Store, info: ObjectInfo) -> bytes:
    """The beginning of a file as UTF-8, whatever it holds; a letter that is cut in two is left out.

    Raises:
        Problem: It has been replaced.
    """
    try:
        content = b"".join(store.read(info, 0, min(info.size, TEXT_BYTES))) if info.size else b""
    except Changed:
        raise _replaced() from None
    cut = _DECODER(errors="replace").decode(content, final=len(content) == info.size)
    return cut.encode()


def _replaced() -> Problem:
    return Problem("not-found", "the file has been replaced this moment: look at its unit again")


def _preview(made: Made, job: Job, stage: str, item: str, name: str) -> tuple[Store, ObjectInfo]:
    place = made.named(job, stage, item)
    store = _store_of(job, place)
    shown = "/" not in name and layout.section_of(name) is not None
    info = _look(store, layout.previews_prefix(place.prefix), name) if shown else None
    if info is None:
        raise Problem("not-found", f'{stage}/{place.item} has no preview "{name}"')
    return store, info


def _store_of(job: Job, place: Place) -> Store:
    if not place.prefix or job.store is None:
        raise Problem("not-found", f"nothing has been made of {place.stage}/{place.item} yet")
    return job.store


def _look(store: Store, prefix: str, key: str) -> ObjectInfo | None:
    """An object below a prefix; None where there is none, as there is none of a key that would lead elsewhere."""
    try:
        check_key(key)
    except StoreError as error:
        log.warning("%s/%s names a file that can't be its own: %s", store.uri, prefix, error)
        return None
    try:
        return store.head(prefix + key)
    except NotFound:
        return None
    except StoreError as error:
        raise OutOfReach(str(error)) from None
