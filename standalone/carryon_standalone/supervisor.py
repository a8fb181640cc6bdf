"""The control plane of one machine as a tree of processes under one supervisor: API server, node, operator and page.

Started in that order, each when the one before is ready, but for the page, which takes no part in the work and comes up
beside node and operator. Stopped in the reverse order, so that the node can still report what became of its pods and
the operator starts nothing meanwhile. All of them die with the supervisor, whatever kills
it: what they know is on disk, and the next start carries on.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from carryon_core import crd, names
from carryon_standalone import credentials
from carryon_standalone.component import Component, Kept
from carryon_standalone.home import Home, Running, Settings, StartFailed, hold

WORKER_IMAGE: Final = "carryon-worker"
"""Name that stands for the worker installed beside this program."""
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_JOBS: Final = f"/apis/{names.API_VERSION}/{names.PLURAL}"
_PAGE_NEEDS: Final = ("carryon_api", "fastapi", "uvicorn")
_GPU: Final = "nvidia.com/gpu"
_ONE_GPU: Final = {"limits": {_GPU: "1"}}
_POLL: Final = 0.05
_POLLS: Final = 200
_NODE_STOP_SECONDS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose; None keeps what the data folder remembers.

    Attributes:
        output: Folder of the artifacts.
        gpus: GPUs to offer.
    """

    output: Path | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A control plane that answers.

    Attributes:
        home: Its data folder.
        server: Address of its API server.
        output: Folder of its artifacts.
        page: Address of its page, None where it serves none.
    """

    home: Home
    server: str
    output: str
    page: str | None


class Api:
    """The few requests a supervisor makes."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """HTTP status and parsed body; status 0 when there was no answer."""
        try:
            async with self._session.request(method, self._server + path, json=body) as answer:
                return answer.status, await answer.json(content_type=None) if answer.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    async def answers(self, path: str) -> bool:
        """Whether a path is served."""
        return (await self.request("GET", path))[0] == 200

    async def healthy(self) -> bool:
        """Whether the server is there; its health has no JSON, so only the connection counts."""
        return await self.answers("/version")

    async def node_reported(self, since: float) -> bool:
        """Whether a node said, after this time, that it is ready."""
        _, nodes = await self.request("GET", "/api/v1/nodes")
        return any(
            condition["type"] == "Ready"
            and condition["status"] == "True"
            and _seconds(condition.get("lastHeartbeatTime")) >= int(since)
            for node in (nodes or {}).get("items", ())
            for condition in node.get("status", {}).get("conditions", ())
        )

    async def has_gpus(self) -> bool:
        """Whether a node offers GPUs."""
        _, nodes = await self.request("GET", "/api/v1/nodes")
        return any(int(node["status"].get("allocatable", {}).get(_GPU, 0)) for node in (nodes or {}).get("items", ()))

    async def apply_definition(self) -> None:
        """Create the CRD, or replace one that says something else; returns when it is served.

        Raises:
            StartFailed: It was refused.
        """
        wanted = crd.build()
        status, answer = await self.request("POST", _CRDS, wanted)
        if status == 409:
            path = f"{_CRDS}/{names.CRD_NAME}"
            _, current = await self.request("GET", path)
            if {**current["spec"], "conversion": None} == {**wanted["spec"], "conversion": None}:
                return
            wanted["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
            status, answer = await self.request("PUT", path, wanted)
        if status not in (200, 201):
            raise StartFailed(f"the API server refused the CRD: {(answer or {}).get('message', 'no answer')}")
        for _ in range(_POLLS):
            if await self.answers(_JOBS):
                return
            await asyncio.sleep(_POLL)
        raise StartFailed(f"the API server has taken the CRD, but does not serve {names.PLURAL}")


async def run(home: Home, options: Options, tell: Callable[[str], None], on_ready: Callable[[Ready], None]) -> None:
    """Run the control plane until SIGINT, SIGTERM or SIGHUP; a second one ends everything at once.

    Args:
        home: Data folder.
        options: Choices of this start; the folder remembers them.
        tell: Takes sentences about what happens.
        on_ready: Called once, when everything answers.

    Raises:
        StartFailed: The folder can't be used, or a component did not come up.
    """
    home.create()
    with hold(home) as lock:
        stop, at_once = asyncio.Event(), asyncio.Event()

        def asked_to_stop() -> None:
            (at_once if stop.is_set() else stop).set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, asked_to_stop)
        Running.this_process(ready=False).save(home)
        credentials.ensure(home)
        settings = _settled(home, options, tell)
        settings.save(home)
        kept: list[Kept] = []
        lives = asyncio.create_task(_live(home, settings, lock, kept, tell, on_ready))
        try:
            await _first(lives, stop)
            if lives.done():
                lives.result()
        finally:
            Running.this_process(ready=False).save(home)
            lives.cancel()
            await asyncio.wait([lives])
            if kept and stop.is_set():
                tell("stopping: unfinished work carries on at the next start; press Ctrl-C again to end at once")
            stopping = asyncio.create_task(_stop(kept))
            await _first(stopping, at_once)
            if not stopping.done():
                for each in kept:
                    each.kill()
            await stopping
            home.running.unlink(missing_ok=True)


def _settled(home: Home, options: Options, tell: Callable[[str], None]) -> Settings:
    """What holds for this start: what was chosen now, else before; and ports that are free."""
    kept = Settings.load(home)
    port = _free_port(kept.port)
    if kept.port is not None and port != kept.port:
        tell(
            f"port {kept.port} is taken by another program: the API server listens on {port} now, and"
            f" {home.kubeconfig} says so"
        )
    page = _free_port(kept.page, besides=port)
    if kept.page is not None and page != kept.page:
        tell(f"port {kept.page} is taken by another program: the page is at {page_at(page)} now")
    return replace(kept.chosen(output=options.output, gpus=options.gpus), port=port, page=page)


def page_at(port: int) -> str:
    """Address of the page."""
    return f"http://{credentials.ADDRESS}:{port}/"


def page_missing() -> str | None:
    """What of the page's server is not installed; None where nothing is."""
    return next((name for name in _PAGE_NEEDS if importlib.util.find_spec(name) is None), None)


def _free_port(preferred: int | None, besides: int | None = None) -> int:
    """A port that nobody listens on: the preferred one if it is free, and never the other one."""
    with contextlib.ExitStack() as probes:
        for port in (preferred, 0, 0) if preferred is not None else (0, 0):
            probe = probes.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((credentials.ADDRESS, port))
                found = int(probe.getsockname()[1])
                if found != besides:
                    return found
    raise StartFailed(f"no port is free on {credentials.ADDRESS}")


async def _live(
    home: Home,
    settings: Settings,
    lock: int,
    kept: list[Kept],
    tell: Callable[[str], None],
    on_ready: Callable[[Ready], None],
) -> None:
    """Start one component after the other and keep them; ends only by an error or when cancelled."""
    assert settings.port is not None
    assert settings.page is not None
    output = Path(settings.output or home.output)
    server = credentials.write_kubeconfig(home, settings.port)
    async with _api(home, server) as api:

        def keep(component: Component, at: int) -> Kept:
            kept.insert(at, Kept(component, tell, lock))
            return kept[at]

        await keep(_apiserver(home, settings.port, api), 0).start()
        await api.apply_definition()
        missing = page_missing()
        starting: list[asyncio.Task[None]] = []
        if missing is None:
            # Last in the list although the others follow, for it is stopped first.
            starting.append(asyncio.create_task(keep(_page(home, settings.page, output), 1).start()))
        else:
            tell(f"there is no page, because {missing} is not installed: install Carryon with its extra `api`")
        try:
            await keep(_node(home, server, settings.gpus, api), 1).start()
            await keep(_operator(home, output, settings.page, missing is None, await api.has_gpus()), 2).start()
            for each in starting:
                await each
        finally:
            for each in starting:
                each.cancel()
    Running.this_process(ready=True, page=missing is None).save(home)
    on_ready(Ready(home, server, str(output), page_at(settings.page) if missing is None else None))
    await asyncio.Event().wait()


@asynccontextmanager
async def _api(home: Home, server: str) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {home.token.read_text().strip()}"},
                connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=home.authority)),
                timeout=aiohttp.ClientTimeout(total=5),
            )
        )
        yield Api(session, server)


def _apiserver(home: Home, port: int, api: Api) -> Component:
    return Component(
        name="API server",
        command=_python(
            "carryon_standalone.apiserver",
            *("--data", str(home.apiserver), "--logs-dir", str(home.node / "logs")),
            *("--listen", f"{credentials.ADDRESS}:{port}"),
            *("--token-file", str(home.token), "--tls-file", str(home.certificate)),
        ),
        log=home.logs / "apiserver.log",
        ready=api.healthy,
    )


def _node(home: Home, server: str, gpus: int | None, api: Api) -> Component:
    started = time.time()
    return Component(
        name="node",
        command=_python(
            "carryon_standalone.node",
            *("--data", str(home.node), "--server", server),
            *("--token-file", str(home.token), "--ca-file", str(home.authority)),
            *("--image", f"{WORKER_IMAGE}={sys.executable} -m carryon_worker"),
            *(("--gpus", str(gpus)) if gpus is not None else ()),
        ),
        log=home.logs / "node.log",
        ready=lambda: api.node_reported(started),
        stop_seconds=_NODE_STOP_SECONDS,
    )


def _operator(home: Home, output: Path, page: int, has_page: bool, has_gpus: bool) -> Component:
    health = f"{credentials.ADDRESS}:{_free_port(None, besides=page)}"
    return Component(
        name="operator",
        command=_python(
            "carryon_operator",
            # On one's own machine a job may write where its owner may: there is nobody to keep apart.
            *("--default-store", output.as_uri(), "--file-root", "/"),
            *("--worker-image", WORKER_IMAGE, "--health", health),
            *(("--page-url", page_at(page)) if has_page else ()),
            *(("--default-resources", json.dumps(_ONE_GPU)) if has_gpus else ()),
        ),
        environment={
            "KUBECONFIG": str(home.kubeconfig),
            # A webhook on this machine is its owner's own; what else is private, its owner may name.
            "CARRYON_NOTIFY_ALLOW": os.environ.get("CARRYON_NOTIFY_ALLOW", "127.0.0.0/8,::1"),
        },
        log=home.logs / "operator.log",
        ready=lambda: _answers(f"http://{health}/readyz"),
    )


def _page(home: Home, port: int, output: Path) -> Component:
    return Component(
        name="page",
        command=_python(
            "carryon_api",
            *("--listen", credentials.ADDRESS, "--port", str(port), "--standalone", "true"),
            *("--default-store", output.as_uri(), "--file-root", "/"),
            # Where there is room for jobs there is room for their archives.
            *("--spool", str(home.root)),
        ),
        environment={"KUBECONFIG": str(home.kubeconfig)},
        log=home.logs / "api.log",
        ready=lambda: _answers(f"{page_at(port)}readyz"),
    )


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


async def _stop(kept: Sequence[Kept]) -> None:
    for each in reversed(kept):
        await each.stop()


async def _first(work: asyncio.Task[None], event: asyncio.Event) -> None:
    """Return when the work is done or the event is set, whichever comes first."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _seconds(time_text: str | None) -> float:
    return datetime.fromisoformat(time_text).timestamp() if time_text else 0.0
