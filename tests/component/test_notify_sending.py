"""One attempt at a webhook, against a real receiver on loopback: what is sent, where it may go, what answers mean."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.notifications import Counts, Notification, Notify
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_operator.notify.addresses import Allowed, parse
from carryon_operator.notify.sending import LookUp, Sender, judge
from carryon_operator.plan.model import DeliveryAttempt, DeliveryEnd
from carryon_operator.plan.notifying import Delivery
from fake_apiserver import FakeApiServer, Fault
from receiver import Receiver

KEY = b"k" * 32
LOOPBACK = parse(["127.0.0.0/8", "::1"])
NOW = 1_700_000_000.0
JOB = {"metadata": {"namespace": "default", "name": "reel", "uid": "uid"}, "status": {}}


def delivery(url: str, **hook: Any) -> Delivery:
    made = Notify.model_validate({"url": url, **hook})
    told = Notification(
        hook=0, url=made.digest, id="uid-failed-1", condition="Failed", time="2023-11-14T22:13:20Z", units=Counts()
    )
    return Delivery(made, told, 0.0)


@asynccontextmanager
async def sending(
    allowed: Allowed = LOOPBACK, proxy: str | None = None, look_up: LookUp | None = None, longest: float = 5.0
) -> AsyncIterator[tuple[Sender, FakeApiServer]]:
    async with FakeApiServer().serving() as server, Client(Connection(server.url)) as client:
        options: dict[str, Any] = {"page_url": None, "clock": lambda: NOW, "threads": 4, "longest": longest}
        sender = Sender(client, allowed=allowed, proxy=proxy, look_up=look_up, **options)
        try:
            yield sender, server
        finally:
            sender.close()


async def post(url: str, **options: Any) -> DeliveryAttempt:
    async with sending(**options) as (sender, _):
        return await sender.post(JOB, delivery(url))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


async def test_an_event_is_posted_signed_and_as_a_cloudevent(receiver: Receiver) -> None:
    async with sending() as (sender, server):
        server.put("secrets", "hook", data={"key": base64.b64encode(b"whsec_" + base64.b64encode(KEY)).decode()})
        wanted = delivery(receiver.url("/a%2Fb?sig=x%2B1"), signingSecret={"name": "hook", "key": "key"})
        attempt = await sender.post(JOB, wanted)
    assert attempt == DeliveryAttempt(wanted.hook.digest, "uid-failed-1", 1, NOW, DeliveryEnd.DELIVERED, "HTTP 204")
    (got,) = receiver.received
    assert (got.method, got.path) == ("POST", "/a%2Fb?sig=x%2B1")
    assert got.headers["Content-Type"] == "application/cloudevents+json"
    assert got.event["type"] == "dev.carryon.generationjob.failed"
    assert got.headers["webhook-id"] == got.event["id"] == "uid-failed-1"
    signed = b".".join((b"uid-failed-1", got.headers["webhook-timestamp"].encode(), got.body))
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert {name.lower() for name in got.headers}.isdisjoint({"authorization", "cookie"})


@pytest.mark.parametrize(
    ("status", "after", "end", "result", "wait"),
    [
        (200, None, DeliveryEnd.DELIVERED, "HTTP 200", None),
        (202, "9", DeliveryEnd.DELIVERED, "HTTP 202", None),
        (301, None, DeliveryEnd.GIVEN_UP, "redirects are not followed; name the address it leads to", None),
        (308, None, DeliveryEnd.GIVEN_UP, "redirects are not followed", None),
        (302, None, DeliveryEnd.FAILED, "HTTP 302", None),
        (307, None, DeliveryEnd.FAILED, "HTTP 307", None),
        (400, None, DeliveryEnd.GIVEN_UP, "HTTP 400", None),
        (401, None, DeliveryEnd.GIVEN_UP, "HTTP 401", None),
        (404, "9", DeliveryEnd.GIVEN_UP, "HTTP 404", None),
        (410, None, DeliveryEnd.GIVEN_UP, "HTTP 410", None),
        (408, None, DeliveryEnd.FAILED, "HTTP 408", None),
        (425, None, DeliveryEnd.FAILED, "HTTP 425", None),
        (429, "120", DeliveryEnd.FAILED, "HTTP 429", 120.0),
        (500, None, DeliveryEnd.FAILED, "HTTP 500", None),
        (503, "Tue, 14 Nov 2023 22:14:20 GMT", DeliveryEnd.FAILED, "HTTP 503", 60.0),
        (503, "Tue, 14 Nov 2023 22:12:20 GMT", DeliveryEnd.FAILED, "HTTP 503", 0.0),
        (503, "soon", DeliveryEnd.FAILED, "HTTP 503", None),
        (503, "-5", DeliveryEnd.FAILED, "HTTP 503", None),
        (503, "9" * 400, DeliveryEnd.FAILED, "HTTP 503", 999_999_999.0),
    ],
)
def test_what_an_answer_means(
    status: int, after: str | None, end: DeliveryEnd, result: str, wait: float | None
) -> None:
    judged = judge(status, after, NOW)
    assert (judged[0], judged[2]) == (end, wait)
    assert result in judged[1]


@given(
    st.integers(100, 999), st.one_of(st.none(), st.text(), st.from_regex(r"[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2} [0-9]+"))
)
def test_no_answer_is_without_a_meaning(status: int, after: str | None) -> None:
    end, result, wait = judge(status, after, NOW)
    assert result.startswith(f"HTTP {status}")
    assert wait is None or (end is DeliveryEnd.FAILED and wait >= 0)


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers.append((302, {"Location": receiver.url("/elsewhere")}))
    attempt = await post(receiver.url())
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, "HTTP 302")
    assert [each.path for each in receiver.received] == ["/hook"]


async def test_retry_after_is_heard(receiver: Receiver) -> None:
    receiver.answers.append((429, {"Retry-After": "77"}))
    assert (await post(receiver.url())).wait == 77.0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "rebound.example", "127.1", "2130706433", "[::ffff:127.0.0.1]"]
)
async def test_this_machine_is_not_told_by_whatever_name(receiver: Receiver, host: str) -> None:
    """The name is looked up for the connection itself: there is no second look-up that could answer otherwise."""

    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.1")]

    attempt = await post(receiver.url(host=host), allowed=parse(["10.0.0.0/8"]), look_up=look_up)
    assert attempt.end is DeliveryEnd.GIVEN_UP, attempt.result
    assert "--notify-allow" in attempt.result or "write names and addresses out" in attempt.result
    assert receiver.received == []


async def test_a_name_that_is_rebound_between_two_looks_reaches_nobody(receiver: Receiver) -> None:
    answers = [[(socket.AF_INET, "127.0.0.2")], [(socket.AF_INET, "127.0.0.1")]]

    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        return answers.pop(0)

    # The first address is allowed, but nobody listens there; the second is where the receiver is.
    async with sending(allowed=parse(["127.0.0.2"]), look_up=look_up) as (sender, _):
        first = await sender.post(JOB, delivery(receiver.url(host="rebound.example")))
        second = await sender.post(JOB, delivery(receiver.url(host="rebound.example")))
    assert (first.end, second.end) == (DeliveryEnd.FAILED, DeliveryEnd.GIVEN_UP)
    assert receiver.received == []


async def test_of_several_addresses_only_those_that_are_allowed_are_tried(receiver: Receiver) -> None:
    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.3"), (socket.AF_INET, "127.0.0.1")]

    assert (await post(receiver.url(host="two.example"), allowed=parse(["127.0.0.1"]), look_up=look_up)).end is (
        DeliveryEnd.DELIVERED
    )
    assert [each.host for each in receiver.received] == [f"two.example:{receiver.port}"]


@pytest.mark.parametrize(
    ("secret", "result"),
    [
        (None, 'there is no Secret "hook" in namespace "default": create it, or name another'),
        ({"other": "eA=="}, 'Secret "hook" has no key: add it, or name its key'),
        ({"key": "eA=="}, 'key in Secret "hook" is no signing secret'),
    ],
)
async def test_without_its_secret_nothing_is_sent_unsigned_and_it_is_tried_again(
    receiver: Receiver, secret: dict[str, str] | None, result: str
) -> None:
    async with sending() as (sender, server):
        if secret is not None:
            server.put("secrets", "hook", data=secret)
        attempt = await sender.post(JOB, delivery(receiver.url(), signingSecret={"name": "hook", "key": "key"}))
    assert attempt.end is DeliveryEnd.FAILED
    assert result in attempt.result
    assert receiver.received == []


async def test_a_secret_that_may_not_be_read_is_tried_again(receiver: Receiver) -> None:
    async with sending() as (sender, server):
        server.faults.append(Fault(403, path="/secrets/"))
        attempt = await sender.post(JOB, delivery(receiver.url(), signingSecret={"name": "hook", "key": "key"}))
    assert attempt.end is DeliveryEnd.FAILED
    assert attempt.result.startswith("its Secret cannot be read: ")


async def test_what_a_name_leads_to_inside_is_not_told(receiver: Receiver) -> None:
    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "10.1.2.3")]

    attempt = await post(receiver.url(host="database.internal.example"), look_up=look_up)
    assert attempt.result == (
        "database.internal.example leads to a private address that this operator's --notify-allow does not hold"
    )


async def test_a_name_that_cannot_be_is_given_up() -> None:
    attempt = await post(f"https://{'a' * 70}.example/")
    assert attempt.end is DeliveryEnd.GIVEN_UP, attempt.result


async def test_a_port_that_cannot_be_is_given_up() -> None:
    attempt = await post("https://hooks.example:99999/")
    assert (attempt.end, attempt.result) == (DeliveryEnd.GIVEN_UP, "the url has no host or port that there can be")


async def test_an_id_that_somebody_wrote_into_status_is_never_a_header(receiver: Receiver) -> None:
    made = delivery(receiver.url())
    foreign = made.notification.model_copy(update={"id": "x\r\nX-Evil: 1"})
    async with sending() as (sender, _):
        attempt = await sender.post(JOB, Delivery(made.hook, foreign, 0.0))
    assert (attempt.end, attempt.result) == (DeliveryEnd.GIVEN_UP, "the id in status is not one of ours")
    assert receiver.received == []


async def test_a_receiver_that_is_away_is_tried_again() -> None:
    attempt = await post(Receiver().url())
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, "no connection: Connection refused")


async def test_a_host_that_nobody_knows_is_tried_again() -> None:
    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    attempt = await post("https://nowhere.example/", look_up=look_up)
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, "the host is not found")


async def test_a_receiver_that_never_answers_costs_no_more_than_its_time(receiver: Receiver) -> None:
    receiver.hold = True
    started = time.monotonic()
    attempt = await post(receiver.url(), longest=0.3)
    receiver.hold = False
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, "no answer within 0 s")
    assert time.monotonic() - started < 3


async def test_a_name_server_that_hangs_costs_no_more_than_its_time_and_leaves_the_loop_alone() -> None:
    freed = threading.Event()

    def look_up(name: str, port: int) -> list[tuple[int, str]]:
        freed.wait(20)
        return []

    async with sending(look_up=look_up, longest=0.3) as (sender, _):
        attempt = await sender.post(JOB, delivery("https://slow.example/"))
        assert attempt.end is DeliveryEnd.FAILED
        assert sender.busy
        freed.set()
        deadline = time.monotonic() + 10
        while sender.busy:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def raw_server(answer: Callable[[socket.socket], None]) -> tuple[str, socket.socket]:
    """A server that answers one connection with what is no good HTTP."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/", listener


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"", "the receiver hung up"),
        (b"SSH-2.0-OpenSSH_9.2 sesame\r\n", "what the receiver answers is no HTTP"),
        (b"HTTP/1.1 204 No Content\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "what the receiver answers is no HTTP"),
    ],
)
async def test_what_is_no_answer_is_tried_again_and_not_quoted(sent: bytes, result: str) -> None:
    url, listener = raw_server(lambda connection: connection.sendall(sent))
    with listener:
        attempt = await post(url)
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, result)


async def test_a_body_without_end_is_not_read() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            return

    url, listener = raw_server(flood)
    with listener:
        started = time.monotonic()
        assert (await post(url)).end is DeliveryEnd.DELIVERED
        assert time.monotonic() - started < 3


async def test_a_certificate_that_nobody_trusts_is_tried_again(receiver: Receiver) -> None:
    attempt = await post(receiver.url().replace("http:", "https:"))
    assert attempt.end is DeliveryEnd.FAILED
    assert attempt.result.startswith("no trusted connection: ")


async def test_through_a_proxy_everything_goes_there_and_its_own_address_is_not_judged(receiver: Receiver) -> None:
    attempt = await post("http://hooks.example/path", allowed=Allowed(), proxy=receiver.url(""))
    assert attempt.end is DeliveryEnd.DELIVERED, attempt.result
    (got,) = receiver.received
    assert (got.path, got.host) == ("http://hooks.example/path", "hooks.example")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "10.0.0.1", "169.254.169.254", "localhost", "a.localhost", "[::1]"]
)
async def test_a_proxy_is_not_asked_for_private_addresses(receiver: Receiver, host: str) -> None:
    attempt = await post(f"http://{host}/", allowed=Allowed(), proxy=receiver.url(""))
    assert attempt.end is DeliveryEnd.GIVEN_UP
    assert receiver.received == []


async def test_a_proxy_of_the_environment_is_nothing_to_us(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    assert (await post(receiver.url())).end is DeliveryEnd.DELIVERED


async def test_a_proxy_that_says_no_is_named() -> None:
    with Receiver() as proxy:
        attempt = await post("https://hooks.example/", allowed=Allowed(), proxy=proxy.url(""))
    assert (attempt.end, attempt.result) == (DeliveryEnd.FAILED, "the proxy answers HTTP 404")
