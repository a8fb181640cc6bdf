"""The same action for many jobs, with an answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body
from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from carryon_api import carrying
from carryon_api.access import Caller, CallerOf, ClusterOf
from carryon_api.access.dependencies import NAME
from carryon_api.carrying import Done
from carryon_api.cluster import Cluster
from carryon_api.listing import parse_selector, selects
from carryon_api.problems import Problem, of_job, of_kubernetes, responses
from carryon_api.reviews import Access
from carryon_api.routes.actions import ApproveBody, PauseBody, ResumeBody, RetryBody
from carryon_api.routes.jobs import known, wrong
from carryon_api.shapes import Absent, Asked, Shape
from carryon_jobs import orders
from carryon_jobs.errors import JobError
from carryon_jobs.orders import Order
from carryon_kube.errors import ApiError

router = APIRouter(prefix="/api/v1", tags=["actions"])
AT_ONCE: Final = 8
Outcome = Literal["accepted", "already", "refused", "forbidden", "notFound", "failed"]
_OUTCOMES: Final[Mapping[str, Outcome]] = {
    "forbidden": "forbidden",
    "not-found": "notFound",
    "not-possible": "refused",
    "bad-request": "refused",
    "invalid": "refused",
}
Name = Annotated[str, Field(pattern=NAME, max_length=253)]


class BatchBody(Asked):
    """Which action, for which jobs."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["labelSelector"]}, {"required": ["names"]}]})

    action: Literal["pause", "resume", "restart", "cancel", "retry", "approve", "delete"] = Field(examples=["pause"])
    namespace: str = Field(pattern=NAME, max_length=63, examples=["default"])
    label_selector: str | Absent = Field(default=None, min_length=1, max_length=2048, examples=["team=art"])
    names: list[Name] | Absent = Field(default=None, min_length=1, max_length=1000, examples=[["reel-42"]])
    params: dict[str, JsonValue] | Absent = Field(
        default=None, max_length=8, description="What the action's own route takes as its body.", examples=[{}]
    )

    @model_validator(mode="after")
    def _either(self) -> BatchBody:
        if (self.label_selector is None) == (self.names is None):
            raise ValueError("say which jobs: either labelSelector or names")
        return self


class BatchResult(Shape):
    """What came of the action for one job."""

    namespace: str = Field(examples=["default"])
    name: str = Field(examples=["reel-42"])
    outcome: Outcome = Field(examples=["accepted"])
    detail: str = Field(examples=["Pausing: 3 units at work are saved first"])


class BatchAnswer(Shape):
    """What came of it, for each job."""

    results: list[BatchResult]


@router.post("/batch", responses=responses(400, 404, 409, 415, 422))
async def batch(caller: CallerOf, cluster: ClusterOf, body: Annotated[BatchBody, Body()]) -> BatchAnswer:
    """One action for all jobs that labels select, or that are named."""
    # Before anything is looked up, so that nobody hears of names who may not list them.
    await cluster.reviews.demand(caller, Access("list", body.namespace))
    order = order_of(body)
    if body.names is not None:
        names = list(dict.fromkeys(body.names))
    else:
        known(cluster)
        wanted = parse_selector(body.label_selector or "")
        names = sorted(
            job.name
            for job in cluster.jobs()
            if job.namespace == body.namespace and selects(wanted, job.raw["metadata"].get("labels") or {})
        )
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> BatchResult:
        async with room:
            return await _one(cluster, caller, body.namespace, name, order)

    return BatchAnswer(results=list(await asyncio.gather(*map(one, names))))


def order_of(body: BatchBody) -> Order | None:
    """The order that a batch gives to each job; None to delete it.

    Raises:
        Problem: Its params are not those of the action.
    """
    given = body.params or {}
    try:
        if body.action == "pause":
            return orders.pause(PauseBody.model_validate(given).until)
        if body.action == "resume":
            return orders.resume(check_artifacts=ResumeBody.model_validate(given).check_artifacts)
        if body.action == "retry":
            return orders.retry(RetryBody.model_validate(given).units or ())
        if body.action == "approve":
            read = ApproveBody.model_validate(given)
            return orders.approve(read.stage, read.items or (), everything=read.all)
    except ValidationError as error:
        found = [
            {"field": ".".join(map(str, ("params", *each["loc"]))), "message": each["msg"]} for each in error.errors()
        ]
        raise Problem(
            "invalid", "; ".join(f"{each['field']}: {each['message']}" for each in found), errors=found
        ) from None
    if given:
        raise wrong("params", f"must be empty: {body.action} takes none")
    return {"restart": orders.restart, "cancel": orders.cancel}[body.action]() if body.action != "delete" else None


async def _one(cluster: Cluster, caller: Caller, namespace: str, name: str, order: Order | None) -> BatchResult:
    try:
        done = await _carried_out(cluster, caller, namespace, name, order)
    except (Problem, ApiError, JobError) as error:
        problem = of_kubernetes(error) if isinstance(error, ApiError) else error
        problem = of_job(problem) if isinstance(problem, JobError) else problem
        return BatchResult(
            namespace=namespace, name=name, outcome=_OUTCOMES.get(problem.kind, "failed"), detail=problem.detail
        )
    return BatchResult(
        namespace=namespace, name=name, outcome="already" if done.already else "accepted", detail=done.message
    )


async def _carried_out(cluster: Cluster, caller: Caller, namespace: str, name: str, order: Order | None) -> Done:
    verb = "delete" if order is None else "patch"
    await cluster.reviews.demand(caller, Access(verb, namespace, name=name))
    if order is None:
        return await carrying.delete(cluster, caller, namespace, name)
    return await carrying.carry_out(cluster, caller, namespace, name, order)
