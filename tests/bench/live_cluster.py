"""A cluster for measuring the API: jobs that change at a rate of our choice, workers that count steps, no RBAC."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web

from carryon_core import names

STEP_SECONDS: Final = 0.5
_VERSION: Final = 987654321
_STAMP: Final = "2026-11-21T18:00:00Z"
_CONDITIONS: Final = [
    {"type": kind, "status": "True", "reason": "Told", "message": "", "lastTransitionTime": _STAMP}
    for kind in ("Accepted", "Progressing")
]


def job(number: int, version: int, message: str) -> dict[str, Any]:
    """A reel of 15 clips at work, as an operator leaves it; `message` says when it changed."""
    command = {"command": {"args": ["make", "{{ item.prompt }}", "--seed", "{{ item.seed }}"]}}
    items = [
        {"id": f"scene-{each}", "params": {"prompt": "a fox in the dunes " * 4, "seed": each}} for each in range(15)
    ]
    pod = {"pod": f"reel-{number}-1", "uid": f"pod-{number}", "units": "9", "attempt": 1, "since": _STAMP}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": f"reel-{number}",
            "namespace": f"team-{number % 10}",
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": _STAMP,
        },
        "spec": {"items": {"list": items}, "parallelism": 3, "stages": [{"name": "clip", "generate": command}]},
        "status": {
            "observedGeneration": 1,
            "phase": "Running",
            "progress": "9/15",
            "message": message,
            "units": {"total": 15, "succeeded": 9, "failed": 0, "active": 1, "remaining": 6},
            "items": {"count": 15, "digest": "0" * 64},
            "stages": [{"name": "clip", "total": 15, "succeeded": "0-8", "active": [pod], "started": _STAMP}],
            "time": {"started": _STAMP, "lastActivity": _STAMP},
            "conditions": _CONDITIONS,
        },
    }


def pod(number: int, address: str) -> dict[str, Any]:
    """The worker pod of a job."""
    owner = {"apiVersion": names.API_VERSION, "kind": names.KIND, "uid": f"uid-{number}", "controller": True}
    annotations = {names.ANNOTATION_UNITS: '["scene-9"]', names.ANNOTATION_ATTEMPT: "1"}
    return {
        "metadata": {
            "name": f"reel-{number}-1",
            "namespace": f"team-{number % 10}",
            "uid": f"pod-{number}",
            "resourceVersion": "1",
            "labels": {names.LABEL_STAGE: "clip"},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": {},
        "status": {"phase": "Running", "podIP": address},
    }


class LiveCluster:
    """The part of an API server that the API uses; everybody may everything."""

    def __init__(self, jobs: int, workers: int) -> None:
        """Begin with so many jobs, so many of which have a worker."""
        self.version = jobs
        self.url = ""
        self.began = time.monotonic()
        self._jobs = [job(number, number + 1, "") for number in range(jobs)]
        # Ready but for the two places that change: this process must not be what is measured.
        self._lines = [
            json.dumps({"type": "MODIFIED", "object": job(number, _VERSION, "MESSAGE")}).encode() + b"\n"
            for number in range(jobs)
        ]
        self._addresses = [f"127.77.{number // 250}.{number % 250 + 1}" for number in range(workers)]
        self._watching: set[web.StreamResponse] = set()

    def step_at(self, moment: float) -> int:
        """The step that all workers are at."""
        return int((moment - self.began) / STEP_SECONDS)

    def moment_of(self, step: int) -> float:
        """When the workers came to a step."""
        return self.began + step * STEP_SECONDS

    async def change(self, number: int) -> None:
        """Have a job change now; its message says when."""
        self.version += 1
        line = self._lines[number].replace(b'"%d"' % _VERSION, b'"%d"' % self.version)
        line = line.replace(b"MESSAGE", b"t=%.6f" % time.monotonic())
        for response in self._watching:
            await response.write(line)

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[Path]:
        """Answer while the context lasts; the kubeconfig."""
        app = web.Application()
        app.router.add_post("/apis/{group}/v1/{kind:tokenreviews|subjectaccessreviews}", self._review)
        app.router.add_get("/apis/carryon.dev/v1alpha1/generationjobs", self._list_jobs)
        app.router.add_get("/api/v1/pods", self._list_pods)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        workers = [await asyncio.start_server(self._progress, address, 8080) for address in self._addresses]
        path = folder / "kubeconfig"
        entries = {
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "api"}}],
        }
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **entries}))
        try:
            yield path
        finally:
            for server in workers:
                server.close()
            await runner.cleanup()

    async def _review(self, request: web.Request) -> web.Response:
        asked = await request.json()
        status = {"allowed": True, "authenticated": True, "user": {"username": "somebody", "groups": []}}
        return web.json_response({**asked, "status": status}, status=201)

    async def _list_jobs(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        start = int(request.query.get("continue") or 0)
        end = start + int(request.query["limit"])
        more = str(end) if end < len(self._jobs) else ""
        metadata = {"resourceVersion": str(self.version), "continue": more}
        return web.json_response({"kind": "GenerationJobList", "metadata": metadata, "items": self._jobs[start:end]})

    async def _list_pods(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request, quiet=True)
        items = [pod(number, address) for number, address in enumerate(self._addresses)]
        return web.json_response({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items})

    async def _watch(self, request: web.Request, *, quiet: bool = False) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if not quiet:
            self._watching.add(response)
        try:
            while True:
                await asyncio.sleep(60)
        finally:
            self._watching.discard(response)

    async def _progress(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        step = self.step_at(time.monotonic())
        at = {"index": 9, "item": "scene-9", "step": step, "steps": 10**6, "phase": "generating", "seconds": step / 2}
        told = {"stage": "clip", "attempt": 1, "units": 1, "finished": 0, "idleSeconds": 0, "current": at}
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()
