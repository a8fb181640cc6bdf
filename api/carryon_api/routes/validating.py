"""What would come of a manifest, before it is sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from carryon_api import manifests
from carryon_api.access import Caller, CallerOf, ClusterOf
from carryon_api.access.dependencies import NAME
from carryon_api.cluster import Cluster
from carryon_api.problems import Problem, responses
from carryon_api.routes.jobs import EXAMPLE, MANAGER, wrong
from carryon_api.shapes import Shape
from carryon_core.errors import SpecError
from carryon_core.resolve import file_uris
from carryon_core.spec import JobSpec
from carryon_jobs import checking
from carryon_jobs.checking import Finding, Rows, Severity
from carryon_jobs.destinations import destination
from carryon_kube.errors import ApiError, Forbidden, Invalid, NotFound
from carryon_kube.resources import CONFIG_MAPS, GENERATION_JOBS

router = APIRouter(prefix="/api/v1", tags=["jobs"])


ANYTHING: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"description": "A manifest."}, "example": EXAMPLE}
            for kind in (manifests.JSON, manifests.YAML)
        },
    }
}
"""Whatever is wrong with it is a finding, not a failure."""


class FindingBody(Shape):
    """Something to say about a manifest."""

    severity: Literal["error", "warning", "note"] = Field(
        description="error: it would be refused, or its units would fail; warning: it may not be meant; note: it could"
        " not be looked at from here."
    )
    field: str = Field(description="Empty where it is about no single one.", examples=["spec.stages[0].name"])
    message: str = Field(examples=['stage "clip": template names item.promt; item "dunes" has: prompt, seed'])


class Validation(Shape):
    """What would come of a manifest."""

    valid: bool = Field(description="No finding is an error.")
    findings: list[FindingBody]


@router.post("/validate", responses=responses(400, 415, 422), openapi_extra=ANYTHING)
async def validate(
    request: Request,
    caller: CallerOf,
    cluster: ClusterOf,
    namespace: Annotated[
        str | None, Query(description="Where it would go, if it does not say so itself.", pattern=NAME, max_length=63)
    ] = None,
) -> Validation:
    """What Kubernetes would say about a manifest, and what may not be meant in its units. Nothing is stored."""
    found = await _all(await manifests.document(request), namespace, caller, cluster)
    return Validation(
        valid=all(each.severity is not Severity.ERROR for each in found),
        findings=[
            FindingBody(severity=each.severity.name.lower(), field=each.field, message=each.message) for each in found
        ],
    )


async def _all(value: Any, namespace: str | None, caller: Caller, cluster: Cluster) -> list[Finding]:
    try:
        manifest = manifests.fresh(manifests.checked(value))
        where = manifest["metadata"].get("namespace") or namespace or "default"
        if not isinstance(where, str) or not re.fullmatch(NAME, where):
            raise wrong("metadata.namespace", "is no name of a namespace")
        name = manifests.named(manifest)
    except Problem as problem:
        field = next((each["field"] for each in problem.more.get("errors", ())), "")
        return [checking.error(problem.detail, field)]
    return [each async for each in _findings(manifests.placed(manifest, where), where, name, caller, cluster)]


async def _findings(
    manifest: manifests.Manifest, namespace: str, name: str, caller: Caller, cluster: Cluster
) -> AsyncIterator[Finding]:
    refused = [each async for each in _dry_run(manifest, namespace, name, caller, cluster)]
    for each in refused:
        yield each
    if any(each.severity is Severity.ERROR for each in refused):
        return
    spec = await cluster.compute(lambda: checking.parsed(manifest["spec"]))
    if not isinstance(spec, JobSpec):
        for each in spec:
            yield each
        return
    try:
        destination(namespace, spec, None, cluster.config)
        rows, was_read = await _rows(spec, namespace, caller, cluster)
        if not was_read:
            yield checking.note("units, because only the operator reads their items: it says so in the job's condition")
            return
        files = await cluster.compute(lambda: file_uris(namespace, name, spec, rows))
    except SpecError as error:
        yield checking.error(error.message)
        return
    # That they are there is for the operator to see; here each gets a digest that no file has.
    digests = dict.fromkeys(files, "0" * 64)
    for each in await cluster.compute(lambda: list(_of_units(namespace, name, spec, rows, digests))):
        yield each
    if files:
        yield checking.note(f"whether {len(files)} input files are there, which the operator reads with the job's keys")


def _of_units(namespace: str, name: str, spec: JobSpec, rows: Rows | None, digests: Mapping[str, str]) -> list[Finding]:
    made = checking.resolved(namespace, name, spec, rows, digests)
    return [made] if isinstance(made, Finding) else list(checking.of_units(made))


async def _dry_run(
    manifest: manifests.Manifest, namespace: str, name: str, caller: Caller, cluster: Cluster
) -> AsyncIterator[Finding]:
    """What the API server says: its schema and rules, and whatever policies the cluster has."""
    try:
        await cluster.as_caller(caller).apply(
            GENERATION_JOBS, name, manifest, namespace=namespace, manager=MANAGER, strict=True, dry_run=True
        )
    except Forbidden as error:
        yield checking.note(f"by the API server, because you may not apply jobs there: {error.message}")
    except Invalid as error:
        causes = error.details.get("causes") or ()
        for cause in causes:
            yield checking.error(str(cause.get("message") or ""), str(cause.get("field") or ""))
        if not causes:
            yield checking.error(error.message)
    except NotFound as error:
        yield checking.error(f"the API server would refuse it: {error.message}", "metadata.namespace")
    except ApiError as error:
        if error.status not in (400, 409):
            raise
        yield checking.error(f"the API server would refuse it: {error.message}")


async def _rows(spec: JobSpec, namespace: str, caller: Caller, cluster: Cluster) -> tuple[Rows | None, bool]:
    """Items that come from data, None where they don't; and whether they could be read from here.

    Raises:
        SpecError: They are not what they should be.
    """
    source = spec.items.from_
    if source is None:
        return None, True
    wanted = source.config_map_key_ref
    if wanted is None:
        return None, False
    try:
        found: Mapping[str, Any] = await cluster.as_caller(caller).get(CONFIG_MAPS, wanted.name, namespace=namespace)
    except NotFound:
        raise SpecError("ItemsNotFound", f'items.from: there is no ConfigMap "{wanted.name}": create it') from None
    except Forbidden:
        return None, False
    content = found.get("data") or {}
    return await cluster.compute(lambda: checking.rows_of(source, wanted.name, content)), True
