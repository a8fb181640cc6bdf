"""What people do to a job. Doing the same again is no mistake: it is answered, and nothing is sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from carryon_api import carrying
from carryon_api.access import CallerOf, ClusterOf, require
from carryon_api.access.dependencies import NamePath, NamespacePath
from carryon_api.carrying import Done
from carryon_api.problems import responses
from carryon_api.routes.jobs import ONE
from carryon_api.shapes import Absent, Asked, whole
from carryon_jobs import orders

router = APIRouter(
    prefix=f"/api/v1{ONE}",
    tags=["actions"],
    dependencies=[Depends(require("patch"))],
    responses=responses(400, 404, 409, 415, 422, 502),
)
_UNIT = r"^[^/]{1,20}/.{1,384}$"
_UNTIL = (
    r"^(([0-9]{1,6}(ms|s|m|h|d)){1,5}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)$"
)


class PauseBody(Asked):
    """How to pause."""

    until: str | Absent = Field(
        default=None,
        max_length=64,
        pattern=_UNTIL,
        description="Go on by itself at this time (RFC 3339), or after this duration.",
        examples=["8h"],
    )


class ResumeBody(Asked):
    """How to resume."""

    check_artifacts: bool = Field(default=False, description="Of an ended job: make again what is gone.")


class RetryBody(Asked):
    """What to retry."""

    units: list[Annotated[str, Field(min_length=1, max_length=512)]] | Absent = Field(
        default=None,
        max_length=1000,
        description="Failed units as stage/item, stage/9-11 or stage; all that failed without it.",
        examples=[["clip/7", "clip/9-11"]],
    )


class RedoBody(Asked):
    """What to make anew, and how."""

    unit: str = Field(max_length=512, pattern=_UNIT, description="As stage/item.", examples=["clip/7"])
    params: Annotated[dict[str, JsonValue], Field(max_length=64)] | Absent = Field(
        default=None, description="Other values of the item's params.", examples=[{"prompt": "rain"}]
    )
    seed: Annotated[int, Field(ge=0, lt=2**53), BeforeValidator(whole)] | Absent = Field(
        default=None, description="A random one where neither it nor params are given."
    )


class ApproveBody(Asked):
    """Whom to let enter a stage."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["items"], "properties": {"all": {"const": False}}},
                {"required": ["all"], "properties": {"all": {"const": True}, "items": False}},
            ]
        }
    )

    stage: str = Field(min_length=1, max_length=20, examples=["clip"])
    items: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(min_length=1, max_length=1000)]
        | Absent
    ) = Field(
        default=None,
        description="Ids of items, or ranges of indexes.",
        examples=[["dunes"]],
    )
    all: bool = Field(default=False, description="Every item, those that are added later too.")

    @model_validator(mode="after")
    def _either(self) -> ApproveBody:
        if self.all == bool(self.items):
            raise ValueError("name items, or say all: true")
        return self


@router.post("/pause", status_code=202)
async def pause(
    caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath, body: PauseBody | None = None
) -> Done:
    """Stop the pods and free the machine; finished work is kept, and what is half done is saved."""
    return await carrying.carry_out(cluster, caller, namespace, name, orders.pause(body.until if body else None))


@router.post("/resume", status_code=202)
async def resume(
    caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath, body: ResumeBody | None = None
) -> Done:
    """Carry on: what is missing is made, failed units get a new budget."""
    order = orders.resume(check_artifacts=body.check_artifacts if body else False)
    return await carrying.carry_out(cluster, caller, namespace, name, order)


@router.post("/restart", status_code=202)
async def restart(caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath) -> Done:
    """Replace the pods of a job that looks stuck; they go on from their checkpoints."""
    return await carrying.carry_out(cluster, caller, namespace, name, orders.restart())


@router.post("/cancel", status_code=202)
async def cancel(caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath) -> Done:
    """Stop at once, without waiting for checkpoints; finished work is kept."""
    return await carrying.carry_out(cluster, caller, namespace, name, orders.cancel())


@router.post("/retry", status_code=202)
async def retry(
    caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath, body: RetryBody | None = None
) -> Done:
    """Give units that failed for good new attempts, while the rest goes on."""
    return await carrying.carry_out(cluster, caller, namespace, name, orders.retry((body and body.units) or ()))


@router.post("/redo", status_code=202)
async def redo(
    caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath, body: Annotated[RedoBody, Body()]
) -> Done:
    """Make one unit anew, with another seed or other params; the one before is kept."""
    params: dict[str, Any] | None = body.params
    order = orders.redo(body.unit, params, body.seed)
    return await carrying.carry_out(cluster, caller, namespace, name, order)


@router.post("/approve", status_code=202)
async def approve(
    caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath, body: Annotated[ApproveBody, Body()]
) -> Done:
    """Let items enter a stage that waits for a person's word."""
    order = orders.approve(body.stage, body.items or (), everything=body.all)
    return await carrying.carry_out(cluster, caller, namespace, name, order)
