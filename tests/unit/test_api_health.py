"""The API's health tells the truth: an outage is not ready, and only what a restart may cure is not alive."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from starlette.testclient import TestClient

from carryon_api.cluster import Cluster
from carryon_api.config import Config
from carryon_api.routes import health
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from patient_clock import PatientLoop

NOWHERE = Connection("http://127.0.0.1:1")


class Pages:
    """Streams of live events that work, or don't."""

    def __init__(self, broken: bool) -> None:
        self._broken = broken

    def broken(self) -> bool:
        return self._broken


def test_an_outage_is_not_ready_and_alive_and_followers_that_hang_or_have_ended_are_not() -> None:
    async def scenario() -> None:
        async with Client(NOWHERE) as own, Cluster(Config(), own, NOWHERE) as cluster:
            assert set(cluster.wrong()) == {"jobs", "pods"}
            for _ in range(40):
                await asyncio.sleep(60)
                assert cluster.broken() == {}
            assert set(cluster.wrong()) == {"jobs", "pods"}

        # Its followers have ended by now.
        assert cluster.broken() == {"watches": "nothing is followed any more"}

        async with Client(NOWHERE) as own:
            hung = Cluster(Config(), own, NOWHERE)  # Nobody follows anything.
            await asyncio.sleep(310)
            assert set(hung.broken()) == {"jobs", "pods"}
            await hung._connector.close()

    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        runner.run(scenario())


def test_each_check_that_fails_is_a_line() -> None:
    class Broken:
        def broken(self) -> dict[str, str]:
            return {"watches": "nothing is followed any more"}

        def wrong(self) -> dict[str, str]:
            return {"jobs": "jobs are not listed yet"}

    app = FastAPI()
    app.include_router(health.router)
    app.state.cluster, app.state.live = Broken(), Pages(broken=True)
    http = TestClient(app)
    found = http.get("/livez")
    assert found.status_code == 503
    assert found.text.splitlines() == [
        "watches: nothing is followed any more",
        "pages: nothing is told to them any more",
    ]
    assert http.get("/readyz").text == "jobs: jobs are not listed yet\n"
