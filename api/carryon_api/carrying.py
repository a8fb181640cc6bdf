"""Carries out orders: with the caller's own token, on the job as it is now, and never the same twice."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from pydantic import Field

from carryon_api.cluster import Cluster
from carryon_api.problems import Problem
from carryon_api.records import JobRecord
from carryon_api.reviews import Access, Caller
from carryon_api.shapes import Shape
from carryon_api.summaries import verdicts_of
from carryon_core.actions import Action
from carryon_jobs import orders
from carryon_jobs.acting import Already, verdict_on
from carryon_jobs.errors import NotPossible
from carryon_jobs.orders import Order
from carryon_jobs.view import JobView
from carryon_kube.errors import Conflict, NotFound
from carryon_kube.resources import GENERATION_JOBS

_TRIES: Final = 20


class Done(Shape):
    """What came of an order."""

    action: str = Field(examples=["resume"])
    already: bool = Field(description="It was so already, or was asked for: nothing was sent.")
    echo: str | None = Field(
        description="Value that status.handled will have once the operator has acted on it, for actions that have one.",
        examples=["2026-11-21T18:00:00.000000Z"],
    )
    message: str = Field(description="What to tell people.", examples=["Resumed: 9 kept, 6 to make"])
    resource_version: str = Field(description="Of the job after it.", examples=["4712"])


async def carry_out(cluster: Cluster, caller: Caller, namespace: str, name: str, order: Order) -> Done:
    """Carry out an order.

    Raises:
        Problem: The job does not allow it, with what would help; or is not there, or changes all the time.
        ApiError: Kubernetes refuses.
        JobError: What was asked for can't be had.
    """
    client = cluster.as_caller(caller)
    for _ in range(_TRIES):
        record = await _now(cluster, caller, namespace, name)
        job = await cluster.outside(record)
        found = verdict_on(job, order.action)
        try:
            make = partial(order.make, job, found)
            # A bucket that does not answer keeps nobody from pausing the jobs that wait for it.
            made = await (cluster.in_thread(namespace, make) if order.reads_bucket else cluster.compute(make))
        except NotPossible as error:
            # What would help is known where the verdict itself says no, not where the details of a wish do.
            helps = found.action if not found.possible and found.reason in str(error) else ""
            raise Problem("not-possible", str(error), action=helps or None) from None
        if isinstance(made, Already):
            return _done(order.action, record, made.reason, already=True)
        metadata = {**made.get("metadata", {}), "resourceVersion": record.version}
        try:
            after = await client.patch(GENERATION_JOBS, name, {**made, "metadata": metadata}, namespace=namespace)
        except Conflict:
            continue
        return _done(order.action, JobRecord.of(after), order.told(job, made), echo=orders.echo(made))
    raise Problem("conflict", f"{name} changes all the time: try again")


async def delete(cluster: Cluster, caller: Caller, namespace: str, name: str) -> Done:
    """Delete a job.

    Raises:
        Problem: It is not there.
        ApiError: Kubernetes refuses.
    """
    record = await _now(cluster, caller, namespace, name)
    # Of a newer version's job, or of one whose Secret is gone, all else may be beyond us.
    found = verdicts_of(record, time.time())[Action.DELETE]
    if found.already:
        return _done(Action.DELETE, record, found.reason, already=True)
    try:
        await cluster.as_caller(caller).delete(GENERATION_JOBS, name, namespace=namespace, uid=record.uid)
    except NotFound:
        return _done(Action.DELETE, record, "it is gone already", already=True)
    return _done(Action.DELETE, record, orders.deleted(JobView.of(record.raw)))


async def _now(cluster: Cluster, caller: Caller, namespace: str, name: str) -> JobRecord:
    """The job as it is now: what this replica has heard may be a moment old, and the verdict is about this moment."""
    await cluster.reviews.demand(caller, Access("get", namespace, name=name))
    found = await cluster.fresh(namespace, name)
    if found is None:
        raise Problem("not-found", f'there is no job "{name}" in namespace "{namespace}"')
    return found


def _done(action: Action, record: JobRecord, message: str, *, already: bool = False, echo: Any = None) -> Done:
    return Done(action=action.value, already=already, echo=echo, message=message, resource_version=record.version)
