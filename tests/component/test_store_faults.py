"""S3 over networks that break and on stores without conditional puts: what is promised nevertheless."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from carryon_core.done import Artifact, Done
from carryon_core.messages import StoreConfig
from carryon_store import (
    Conflict,
    Credentials,
    Denied,
    Full,
    NotFound,
    Store,
    StoreError,
    Stores,
    Unreachable,
    open_store,
)
from carryon_store.units import publish
from faulty_s3 import Answer, serving, xml_error
from processes import free_port

OCTETS = "application/octet-stream"


def put(store: Store, key: str, body: bytes = b"content", *, only_if_absent: bool = False) -> None:
    store.put(key, body, content_type=OCTETS, only_if_absent=only_if_absent)


def conditional(request: BaseHTTPRequestHandler) -> bool:
    return request.command == "PUT" and "If-None-Match" in request.headers


ASKS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("a"),
    "head": lambda store: store.head("a"),
    "list": lambda store: list(store.list("a/")),
    "put": lambda store: put(store, "a"),
    "create": lambda store: put(store, "a", only_if_absent=True),
    "delete": lambda store: store.delete("a"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_closed_port_is_unreachable_within_seconds(ask: Callable[[Store], object]) -> None:
    port = free_port()
    store = open_store(StoreConfig(uri="s3://bucket/x", endpoint=f"http://127.0.0.1:{port}"))
    started = time.monotonic()
    with pytest.raises(Unreachable, match=rf"s3://bucket/x.*127\.0\.0\.1:{port}.*check output\.endpoint"):
        ask(store)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ((507, xml_error("XMinioStorageFull")), Full, "has no room .*raise its quota"),
        ((507, b""), Full, "has no room"),
        ((403, xml_error("QuotaExceeded")), Full, "has no room"),
        ((400, xml_error("XMinioAdminBucketQuotaExceeded")), Full, "has no room"),
        ((503, xml_error("ServiceUnavailable")), Unreachable, "ask again later"),
        ((500, b""), Unreachable, "ask again later"),
        ((502, b"<html>bad gateway</html>"), Unreachable, "ask again later"),
        ((400, xml_error("RequestTimeout")), Unreachable, "ask again later"),
        ((403, xml_error("AccessDenied")), Denied, "credentialsSecret"),
        ((400, xml_error("ExpiredToken")), Denied, "credentialsSecret"),
        ((404, b"<html>not found</html>"), StoreError, "no such bucket"),
        ((404, xml_error("NoSuchBucket")), StoreError, "no such bucket"),
        ((400, xml_error("AuthorizationHeaderMalformed")), StoreError, r"output\.region"),
        ((405, xml_error("MethodNotAllowed")), StoreError, "refuses ListObjectsV2"),
        ((200, b""), Unreachable, "does not answer as S3 does"),
        ((200, b"<html><br>hello"), Unreachable, "ask again later"),
        ((200, b"<Other/>"), Unreachable, "does not answer as S3 does"),
    ],
    ids=lambda value: f"{value[0]}-{value[1][-40:].decode()}" if isinstance(value, tuple) else None,
)
def test_an_answer_that_is_no_listing_is_an_error_that_says_what_to_do(
    answer: Answer, error: type[StoreError], sentence: str
) -> None:
    with serving(rule=lambda _: answer) as endpoint:
        store = open_store(StoreConfig(uri="s3://bucket/x", endpoint=endpoint))
        with pytest.raises(error, match=sentence) as caught:
            list(store.list())
    assert type(caught.value) is error


@pytest.mark.parametrize("ask", [ASKS["get"], ASKS["head"]])
def test_a_web_server_that_is_no_store_never_makes_an_object_missing(ask: Callable[[Store], object]) -> None:
    with serving(rule=lambda _: (404, b"<html>not found</html>")) as endpoint:
        store = open_store(StoreConfig(uri="s3://bucket/x", endpoint=endpoint))
        with pytest.raises(StoreError, match="no such bucket") as caught:
            ask(store)
    assert not isinstance(caught.value, NotFound)


def test_without_credentials_the_sentence_says_where_to_put_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Denied, match=r"no usable credentials.*output\.credentialsSecret"):
        open_store(StoreConfig(uri="s3://bucket/x", endpoint="http://127.0.0.1:1")).get("a")


def test_an_endpoint_that_can_be_none_is_refused_when_opened() -> None:
    with pytest.raises(StoreError, match="s3://bucket/x"):
        open_store(StoreConfig(uri="s3://bucket/x", endpoint="no address"))


def test_credentials_are_never_shown() -> None:
    assert "sesame" not in repr(Credentials("id", "sesame", "sesame"))


@pytest.mark.parametrize("way", ["ignored", "501"])
def test_a_store_without_conditional_puts_looks_first_and_then_writes(moto_config: StoreConfig, way: str) -> None:
    assert moto_config.endpoint is not None
    refuse = (501, xml_error("NotImplemented"))
    asked = []

    def rule(request: BaseHTTPRequestHandler) -> Answer | None:
        if conditional(request):
            asked.append(request.path)
            return refuse if way == "501" else None
        return None

    with serving(moto_config.endpoint, rule=rule, strip=("if-none-match",)) as endpoint:
        store = open_store(moto_config.model_copy(update={"endpoint": endpoint}))
        put(store, "a", b"first", only_if_absent=True)
        with pytest.raises(Conflict, match="a exists already"):
            put(store, "a", b"second", only_if_absent=True)
        assert store.get("a") == b"first"
        assert not store.supports_conditional_puts()
        assert [info.key for info in store.list()] == ["a"]
    assert len(asked) == 1, "one probe tells it for all puts that follow"


def test_a_store_that_forgets_conditional_puts_is_not_asked_again(moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    asked = []

    def rule(request: BaseHTTPRequestHandler) -> Answer | None:
        if conditional(request):
            asked.append(request.path)
            return (501, xml_error("NotImplemented")) if len(asked) > 1 else None
        return None

    with serving(moto_config.endpoint, rule=rule) as endpoint:
        store = open_store(moto_config.model_copy(update={"endpoint": endpoint}))
        assert store.supports_conditional_puts()
        put(store, "a", b"first", only_if_absent=True)
        put(store, "b", b"first", only_if_absent=True)
        with pytest.raises(Conflict):
            put(store, "a", b"second", only_if_absent=True)
    assert len(asked) == 2


def test_a_conditional_put_that_meets_another_is_tried_again(moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    answers = iter([None, (409, xml_error("ConditionalRequestConflict")), (409, xml_error("OperationAborted"))])

    with serving(moto_config.endpoint, rule=lambda r: next(answers, None) if conditional(r) else None) as endpoint:
        store = open_store(moto_config.model_copy(update={"endpoint": endpoint}))
        put(store, "a", b"first", only_if_absent=True)
        assert store.get("a") == b"first"
    assert next(answers, "used up") == "used up"


def test_a_writer_whose_answer_was_lost_still_knows_that_it_was_first(moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    losses = []

    def lost(request: BaseHTTPRequestHandler) -> bool:
        if conditional(request) and request.path.endswith("done.json") and not losses:
            losses.append(request.path)
            return True
        return False

    def describe(artifacts: list[Artifact]) -> Done:
        now = datetime.now(UTC).isoformat()
        return Done(fingerprint="f" * 64, stage="clip", item="0", artifacts=artifacts, seed=1, finished=now)

    with serving(moto_config.endpoint, lost=lost) as endpoint:
        store = open_store(moto_config.model_copy(update={"endpoint": endpoint}))
        assert publish(store, "j/clip/0/f/", [], describe).first
    assert len(losses) == 1


def test_an_answer_that_breaks_off_is_no_object(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.recv(65536)
                    head = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 1000\r\n\r\n'
                    connection.sendall(head + b"only this much")
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        store = open_store(StoreConfig(uri="s3://bucket/x", endpoint=f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(Unreachable):
            store.get("a")
        with pytest.raises(Unreachable):
            store.download("a", tmp_path / "target")
        assert list(tmp_path.iterdir()) == []
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()


def test_clients_are_shared_by_stores_of_one_endpoint(moto_config: StoreConfig) -> None:
    stores = Stores()
    one = stores.open(moto_config)
    assert one.supports_conditional_puts()
    asked = []

    def count(request: BaseHTTPRequestHandler) -> Answer | None:
        asked.append(request.path)
        return None

    assert moto_config.endpoint is not None
    with serving(moto_config.endpoint, rule=count) as endpoint:
        proxied = moto_config.model_copy(update={"endpoint": endpoint})
        for number in range(3):
            put(stores.open(proxied.model_copy(update={"uri": f"{proxied.uri}/{number}"})), "a", only_if_absent=True)
    assert sum("_probe/" in path for path in asked) == 3, "two puts and a delete, once"
