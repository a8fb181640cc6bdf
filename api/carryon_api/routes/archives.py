"""Jobs as archives, finished files as one zip, and files that people put beside a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, NoReturn

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from carryon_api.access import CallerOf, ClusterOf, ReadableJob
from carryon_api.access.dependencies import NamespacePath, require
from carryon_api.importing import Importing, place_for
from carryon_api.problems import Problem, responses
from carryon_api.records import JobRecord
from carryon_api.reviews import Access
from carryon_api.routes.jobs import ONE, JobDetail, detail
from carryon_api.shapes import Shape
from carryon_api.spooling import Spool, beginning
from carryon_api.streaming import attachment
from carryon_api.threads import finished
from carryon_jobs.archive import checking, downloading, exporting, importing, members, previewing, uploading
from carryon_jobs.archive.errors import BadArchive, NameTaken, NeedsSecrets
from carryon_jobs.archive.previewing import Preview
from carryon_jobs.errors import NotPossible
from carryon_store import Slice

router = APIRouter(prefix="/api/v1", tags=["archives"])
_ZIP: Final = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_ARCHIVE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The archive, as it was exported.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "PK..."}},
    }
}
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The file.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "PNG..."}
        },
    }
}


class StageCount(Shape):
    """One stage, in numbers."""

    name: str = Field(examples=["clip"])
    total: int
    done: int = Field(description="Units that are not made again.")


class HalfDoneUnit(Shape):
    """A unit that goes on inside."""

    stage: str = Field(examples=["clip"])
    item: str = Field(examples=["dunes"])
    step: int | None = Field(description="Steps that are kept; null where nobody knows.", examples=[12])
    steps: int | None = Field(description="Steps in all, where the parameters say so.", examples=[30])
    device: str = Field(description="On which its journal was computed.", examples=["NVIDIA A100-SXM4-80GB, 8.0"])
    usable: bool | None = Field(description="Whether its journal is of use here; null where that is not known.")


class UnitCount(Shape):
    """Units of all stages."""

    total: int
    done: int
    half_done: int


class PreviewBody(Shape):
    """What an archive holds, and what would become of it."""

    name: str = Field(examples=["reel-42"])
    namespace: str = Field(examples=["default"])
    origin: str = Field(description="Namespace and name it was exported from.", examples=["default/reel-42"])
    created: str
    items: int
    units: UnitCount
    stages: list[StageCount]
    half_done: list[HalfDoneUnit] = Field(description="The first 200.")
    notes: list[str] = Field(description="What does not travel along, and what to look out for.")
    secrets: dict[str, str] = Field(description="Secrets that the job uses, and the field that names each.")
    message: str = Field(examples=["9 of 15 done, clip 9 at step 12/30"])
    job: dict[str, Any] | None = Field(default=None, description="The job as its archive has it.")


class Imported(Shape):
    """A job that was made of an archive."""

    job: JobDetail
    message: str = Field(examples=["9 of 15 done, clip 9 at step 12/30; suspended"])
    notes: list[str]


class UploadedFile(Shape):
    """A file beside a job."""

    uri: str = Field(
        description="As a parameter names it: {file: uri}.", examples=["s3://bucket/ns/reel/_inputs/a.png"]
    )
    sha256: str
    size: int


def _spool(request: Request) -> Spool:
    spool: Spool = request.app.state.spool
    return spool


SpoolOf = Annotated[Spool, Depends(_spool)]


@router.get(
    f"{ONE}/archive",
    response_class=Response,
    responses={**responses(404, 409, 422, 502), 200: {"description": "The archive.", "content": _ZIP}},
)
async def export_archive(
    job: ReadableJob,
    cluster: ClusterOf,
    artifacts: Annotated[bool, Query(description="Take finished units along.")] = True,
    checkpoints: Annotated[bool, Query(description="Take along what is kept of half-done units.")] = True,
) -> Response:
    """A job and all it has made as one file. Pause it first, and nothing of what its pods are at is left out."""
    outside = await cluster.outside(job)
    export = await cluster.in_thread(
        job.namespace, partial(exporting.prepare, outside, artifacts=artifacts, checkpoints=checkpoints)
    )
    return attachment(export.stream(), export.file_name, members.CONTENT_TYPE, cluster.threads, job.namespace)


@router.post("/archives/inspect", responses=responses(400, 422), openapi_extra=_ARCHIVE)
async def inspect_archive(request: Request, caller: CallerOf, cluster: ClusterOf) -> PreviewBody:
    """What an archive says of itself, by its first 6 MiB at most; nothing else of it is read or checked."""
    head = await beginning(request, members.HEAD_LARGEST)
    try:
        found = await cluster.compute(partial(checking.look, head))
    except BadArchive as error:
        _refuse(error)
    return _body(previewing.of_head(found), found.job)


@router.post(
    "/namespaces/{namespace}/archives",
    status_code=201,
    responses=responses(400, 404, 409, 422, 502),
    dependencies=[Depends(require("create"))],
    openapi_extra=_ARCHIVE,
)
async def import_archive(
    request: Request,
    namespace: NamespacePath,
    caller: CallerOf,
    cluster: ClusterOf,
    spool: SpoolOf,
    name: Annotated[
        str | None,
        Query(
            description="Name of the job; as it was, without.",
            pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
            max_length=40,
        ),
    ] = None,
    start: Annotated[bool, Query(description="Begin at once, instead of suspended.")] = False,
    output: Annotated[
        str | None, Query(description="Where artifacts go, instead of the default store.", max_length=1024)
    ] = None,
    endpoint: Annotated[str | None, Query(description="S3 service of the output, if not AWS.", max_length=512)] = None,
    region: Annotated[str | None, Query(description="Region of the output.", max_length=64)] = None,
    credentials: Annotated[
        str | None, Query(description="Secret in the namespace with the keys of the output.", max_length=253)
    ] = None,
    secret: Annotated[
        list[str] | None, Query(description="OLD=NEW: Secret in the place of one that the job uses.", max_length=64)
    ] = None,
) -> Imported:
    """Make a job of an archive: everything is checked before anything is written, and then nothing is made again."""
    if output is None and (endpoint or region or credentials):
        raise Problem("invalid", "endpoint, region and credentials belong to an output: name it too")
    given = None if output is None else {"uri": output, "endpoint": endpoint, "region": region}
    secrets = _pairs(secret or ())
    async with spool.received(request) as file:
        try:
            archive = await finished(cluster.threads, namespace, partial(checking.check, file.fileno()))
            called = name or str(archive.job["metadata"]["name"])
            place, store = await place_for(cluster, namespace, called, given, credentials)
            asking = Importing(cluster, caller)
            plan = await finished(
                cluster.threads,
                namespace,
                partial(importing.plan, archive, place, store, asking, start=start, secrets=secrets),
            )
            made = await finished(cluster.threads, namespace, partial(importing.carry_out, plan, asking))
        except (BadArchive, NameTaken, NeedsSecrets) as error:
            _refuse(error)
    record = JobRecord.of(made)
    how = "" if start else "; suspended"
    return Imported(job=detail(record), message=plan.preview.message + how, notes=list(plan.preview.notes))


@router.get(
    f"{ONE}/download",
    response_class=Response,
    responses={**responses(404, 409, 422, 502), 200: {"description": "One zip.", "content": _ZIP}},
)
async def download_files(
    job: ReadableJob,
    cluster: ClusterOf,
    stage: Annotated[list[str] | None, Query(description="Only of these stages.", max_length=16)] = None,
) -> Response:
    """Finished files as one zip, named by their items."""
    outside = await cluster.outside(job)
    wanted = await cluster.in_thread(job.namespace, partial(downloading.prepare, outside, stage or ()))
    if not wanted.files:
        raise NotPossible(f"{job.name} has no finished files there yet")
    return attachment(wanted.stream(), wanted.file_name, "application/zip", cluster.threads, job.namespace)


@router.put(f"{ONE}/inputs/{{path:path}}", responses=responses(400, 404, 409, 422, 502), openapi_extra=_FILE)
async def upload_input(
    request: Request,
    job: ReadableJob,
    caller: CallerOf,
    cluster: ClusterOf,
    spool: SpoolOf,
    path: Annotated[str, Path(description="Where to, such as photos/dunes.png.", max_length=512, examples=["a.png"])],
) -> UploadedFile:
    """Put a file beside a job, for its parameters to name; one that is there under this path is replaced."""
    await cluster.reviews.demand(caller, Access("patch", job.namespace, name=job.name))
    wanted = uploading.checked(path)
    outside = await cluster.outside(job)
    store, config = await cluster.in_thread(job.namespace, lambda: (outside.store, outside.config))
    if store is None or config is None:
        raise NotPossible(f"{job.name} has no bucket yet: the operator has not looked at it")
    async with spool.received(request) as file:
        size = file.seek(0, 2)
        part = Slice(file.fileno(), 0, size)
        put = await finished(
            cluster.threads,
            job.namespace,
            partial(uploading.put, store, config, job.namespace, job.name, wanted, part),
        )
    return UploadedFile(uri=put.uri, sha256=put.sha256, size=put.size)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for text in texts:
        old, _, new = text.partition("=")
        if not old or text.endswith("="):
            raise Problem("invalid", f'secret: "{text[:100]}" names no Secrets: write OLD=NEW')
        made[old] = new or old
    return made


def _body(preview: Preview, job: Mapping[str, Any] | None = None) -> PreviewBody:
    return PreviewBody.model_validate({**preview.as_json(), "job": job})


def _refuse(error: BadArchive | NameTaken | NeedsSecrets) -> NoReturn:
    """Tell why an archive is not taken, with what would help where that is known."""
    if isinstance(error, NameTaken):
        raise Problem("exists", str(error), action=f"name it {error.free}" if error.free else None) from None
    if isinstance(error, NeedsSecrets):
        fields = [{"field": where, "message": f'uses Secret "{name}"'} for name, where in error.secrets.items()]
        raise Problem("invalid", str(error), errors=fields) from None
    raise Problem("invalid", f"the archive is refused: {error}") from None
