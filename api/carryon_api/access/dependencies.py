"""What routes declare: who calls, which job they name, and that the one may see the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Path, Request

from carryon_api.access.sessions import address_of, check_change, presented
from carryon_api.cluster import Cluster, JobRecord
from carryon_api.config import Config
from carryon_api.problems import Problem
from carryon_api.reviews import Access, Caller

NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"

NamespacePath = Annotated[
    str, Path(description="Namespace of the job.", pattern=NAME, max_length=63, examples=["default"])
]
NamePath = Annotated[str, Path(description="Name of the job.", pattern=NAME, max_length=253, examples=["reel-42"])]


def cluster_of(request: Request) -> Cluster:
    """The cluster that this API shows."""
    cluster: Cluster = request.app.state.cluster
    return cluster


def config_of(request: Request) -> Config:
    """The settings of this API."""
    config: Config = request.app.state.config
    return config


ClusterOf = Annotated[Cluster, Depends(cluster_of)]
ConfigOf = Annotated[Config, Depends(config_of)]


async def caller_of(request: Request, cluster: ClusterOf, config: ConfigOf) -> Caller:
    """Who calls.

    Raises:
        Problem: 401; 403 for a change that another site may have caused.
    """
    shown = presented(request, config)
    if shown.by_browser:
        check_change(request, request.method, config)
    if shown.user is not None:
        return Caller(shown.user, shown.groups, None)
    assert shown.token is not None
    return await cluster.reviews.caller(shown.token, address_of(request, config))


CallerOf = Annotated[Caller, Depends(caller_of)]


def require(verb: str, resource: str | None = None, subresource: str = "") -> Callable[..., Awaitable[None]]:
    """A dependency: the caller may do this in the namespace of the path, to the job of the path where it has one.

    Args:
        verb: Of RBAC.
        resource: A core resource such as pods; None: GenerationJobs.
        subresource: Such as log.
    """

    async def demanded(request: Request, caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath) -> None:
        if not cluster.shown(namespace):
            raise Problem("not-found", f'jobs in namespace "{namespace}" are not shown here: see --namespaces')
        name = str(request.path_params.get("name", "")) if resource is None else ""
        access = Access(verb, namespace, name=name, subresource=subresource)
        if resource is not None:
            access = Access(verb, namespace, resource, subresource)
        await cluster.reviews.demand(caller, access)

    return demanded


async def readable_job(caller: CallerOf, cluster: ClusterOf, namespace: NamespacePath, name: NamePath) -> JobRecord:
    """The job of the path.

    Raises:
        Problem: 403 where the caller may not get it, whether it is there or not; else 404 where it is not.
    """
    await cluster.reviews.demand(caller, Access("get", namespace, name=name))
    found = await cluster.seek(namespace, name)
    if found is None:
        raise Problem("not-found", f'there is no job "{name}" in namespace "{namespace}"')
    return found


ReadableJob = Annotated[JobRecord, Depends(readable_job)]
