"""The fence: who may not write (any more) writes nothing, however far a request has come already."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from carryon_core.messages import StoreConfig
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.errors import Fenced, Unavailable
from carryon_kube.resources import GENERATION_JOBS, PODS
from carryon_store import Fenced as StoreFenced
from carryon_store import Stores
from carryon_store.deleting import delete_prefix
from fake_apiserver import FakeApiServer, Fault
from faulty_s3 import serving, xml_error


class Gate:
    """A fence for tests: open for so many questions."""

    def __init__(self, opens: int = 10**9, seconds: float = 12.0) -> None:
        self.opens = opens
        self.asked = 0
        self.seconds = seconds

    def __call__(self) -> float:
        self.asked += 1
        if self.asked > self.opens:
            raise Fenced("not the leader")
        return self.seconds

    def guard(self) -> None:
        try:
            self()
        except Fenced as error:
            raise StoreFenced(error.message) from None


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().serving() as made:
        yield made


WRITES: list[Callable[[Client], Any]] = [
    lambda client: client.create(PODS, {"metadata": {"name": "a"}}, namespace="default"),
    lambda client: client.patch(GENERATION_JOBS, "x", {"status": {}}, namespace="default", subresource="status"),
    lambda client: client.update(GENERATION_JOBS, "x", {"metadata": {}}, namespace="default"),
    lambda client: client.delete(PODS, "b", namespace="default"),
]


@pytest.mark.parametrize("write", WRITES, ids=["create", "patch", "update", "delete"])
@pytest.mark.parametrize("opens", range(3))
async def test_a_write_is_held_back_at_each_point_on_its_way(
    server: FakeApiServer, write: Callable[[Client], Any], opens: int
) -> None:
    server.put("pods", "b")
    gate = Gate(opens)
    async with Client(Connection(server.url), fence=gate) as client:
        await client.get(PODS, "b", namespace="default")
        with pytest.raises(Fenced, match="not the leader"):
            await write(client)
        assert gate.asked == opens + 1, "it is asked before, when there is a connection, and when the bytes leave"
        assert await client.get(PODS, "b", namespace="default")
    assert {each.method for each in server.seen} == {"GET"}


async def test_a_write_that_is_repeated_asks_again(server: FakeApiServer) -> None:
    server.faults += [Fault(429, "POST")] * 2
    async with Client(Connection(server.url), fence=Gate(3)) as client:
        with pytest.raises(Fenced):
            await WRITES[0](client)
    assert len(server.requests("POST")) == 1


async def test_a_write_that_is_under_way_ends_before_anybody_else_may_lead() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tarpit:
        address = f"http://127.0.0.1:{tarpit.getsockname()[1]}"
        async with Client(Connection(address), fence=Gate(seconds=0.2)) as client:
            with pytest.raises(Unavailable, match="no answer in time"):
                await client.patch(GENERATION_JOBS, "x", {}, namespace="default")


async def test_what_the_network_holds_back_is_not_repeated_for_minutes(server: FakeApiServer) -> None:
    async with Client(Connection(server.url), fence=Gate()) as client:
        await WRITES[0](client)
        (found,) = [each for held in client._connector._conns.values() for each in held]
        connected = found[0].transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000


async def test_what_kopf_would_write_is_fenced_too(server: FakeApiServer) -> None:
    async with Client(Connection(server.url), fence=Gate(0)) as client, client.session() as session:
        with pytest.raises(Fenced):
            await session.patch(server.url + PODS.path("default", "b"), json={})
        async with session.get(server.url + PODS.path("default")) as answer:
            assert answer.status == 200


def test_a_bucket_is_read_by_anybody_and_written_by_whoever_leads(store_config: StoreConfig) -> None:
    gate = Gate()
    store = Stores(gate.guard).open(store_config)
    store.put("a", b"1", content_type="")
    gate.opens = 0
    acts: list[Callable[[], object]] = [
        lambda: store.put("a", b"2", content_type=""),
        lambda: store.put("b", b"2", content_type="", only_if_absent=True),
        lambda: store.delete("a"),
    ]
    for act in acts:
        with pytest.raises(StoreFenced, match="not the leader"):
            act()
    assert (store.get("a"), [each.key for each in store.list()]) == (b"1", ["a"])


def test_a_long_deletion_ends_where_the_leader_does(store_config: StoreConfig) -> None:
    gate = Gate()
    store = Stores(gate.guard).open(store_config)
    for number in range(20):
        store.put(f"job/{number}", b"", content_type="")
    gate.opens = gate.asked + 5
    with pytest.raises(StoreFenced):
        delete_prefix(store, "job/")
    assert len(list(store.list())) == 15


def test_a_request_that_botocore_repeats_is_held_back(moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    gate, tries = Gate(1), list[str]()

    def busy(request: Any) -> tuple[int, bytes] | None:
        if request.command != "PUT":
            return None
        tries.append(request.path)
        return 503, xml_error("SlowDown")

    with serving(moto_config.endpoint, rule=busy) as endpoint:
        config = StoreConfig(uri=moto_config.uri, endpoint=endpoint)
        with pytest.raises(StoreFenced):
            Stores(gate.guard).open(config).put("a", b"1", content_type="")
    assert (gate.asked, len(tries)) == (2, 1), "it would have been sent again"
