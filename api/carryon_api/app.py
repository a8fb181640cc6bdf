"""The application: settings in, routes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from carryon_api import problems
from carryon_api.cluster import Cluster, JobRecord
from carryon_api.config import Config
from carryon_api.gate import Gate
from carryon_api.live.service import Live
from carryon_api.manifest_schema import manifest_schema
from carryon_api.measuring import Measurements
from carryon_api.metrics import Metrics
from carryon_api.routes import (
    actions,
    analytics,
    archives,
    artifacts,
    batch,
    events,
    health,
    jobs,
    progress,
    session,
    support,
    units,
    validating,
)
from carryon_api.spooling import Spool
from carryon_jobs.made import Made
from carryon_kube import connection
from carryon_kube.client import Client

PAGE: Final = Path(__file__).parent / "page"
_ROUTERS: Final = (
    session.router,
    jobs.router,
    progress.router,
    units.router,
    artifacts.router,
    events.router,
    actions.router,
    archives.router,
    batch.router,
    validating.router,
    analytics.router,
    support.router,
    health.router,
)
_DESCRIPTION: Final = """\
GenerationJobs over HTTP: what `kubectl` and `carryon` do, for pages and programs.

Every request carries a Kubernetes token (`Authorization: Bearer TOKEN`), or the session cookie that `POST
/api/v1/session` gives for one. Changes that are signed by cookie also need the header `X-Carryon: 1`. Who may do what
is up to Kubernetes: reading a job takes `get` on `generationjobs.carryon.dev`, changing it whatever the same change
takes with kubectl. Errors are `application/problem+json` (RFC 9457).
"""


class Page(Mount):
    """The page's files, wherever no route of the API is: a method that one of these lacks is answered by it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As a mount does."""
        return (Match.NONE, {}) if scope["path"].startswith("/api/") else super().matches(scope)


def create(config: Config) -> FastAPI:
    """The application for these settings; it connects to Kubernetes when it is started.

    Raises:
        ConfigError: On start, where there is no way to reach Kubernetes.
    """
    app = FastAPI(
        title="Carryon",
        version=config.version,
        description=_DESCRIPTION,
        lifespan=_lifespan(config),
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.config = config
    app.state.metrics = Metrics()
    app.state.spool = Spool(config.spool)
    problems.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    if PAGE.is_dir():
        app.routes.append(Page("/", StaticFiles(directory=PAGE, html=True), name="page"))
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    app.add_middleware(Gate, config=config, metrics=app.state.metrics)
    if config.cors_origins:
        # Without credentials: pages of others show a token of their own, never our cookie.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "Range", "X-Carryon"],
            expose_headers=["Content-Disposition", "Content-Range", "ETag", "Retry-After"],
        )
    return app


def _lifespan(config: Config) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        load = partial(connection.load, config.kubeconfig)
        public = connection.load(config.kubeconfig, credentials=False)
        async with (
            Client(load(), reload=load, qps=200.0, burst=400, agent="carryon-api") as own,
            Cluster(config, own, public) as cluster,
        ):
            app.state.cluster = cluster
            made = Made()
            app.state.measurements = Measurements(cluster, made)
            app.state.metrics.watch_jobs(lambda: float(sum(1 for _ in cluster.jobs())))
            describe = partial(_status_json, cluster, app.state.measurements)
            async with Live(cluster, describe, made) as app.state.live:
                app.state.metrics.watch_pages(partial(_pages, app))
                yield

    return lifespan


def _pages(app: FastAPI) -> float:
    return float(app.state.live.hub.pages)


async def _status_json(cluster: Cluster, measurements: Measurements, record: JobRecord) -> bytes:
    told = await progress.status_of(record, cluster, measurements)
    return told.model_dump_json(by_alias=True).encode()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        body = problems.ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= body.pop("$defs", {})
        schemas["ProblemBody"] = body
        schemas["GenerationJob"] = manifest_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        made["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A Kubernetes token."},
            "session": {"type": "apiKey", "in": "cookie", "name": "__Host-carryon-session"},
        }
        made["security"] = [{"bearer": []}, {"session": []}]
        app.openapi_schema = made
    return app.openapi_schema
