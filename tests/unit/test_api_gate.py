"""Limits and headers that hold for every request, and settings."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from carryon_api import config, problems
from carryon_api.access import sessions
from carryon_api.app import create
from carryon_api.config import Config
from carryon_api.gate import Gate
from carryon_api.metrics import Metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client(clock: Clock | None = None, **settings: Any) -> TestClient:
    app = FastAPI()
    problems.install(app)

    @app.post("/api/v1/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.post("/api/v1/namespaces/default/archives")
    async def upload(request: Request) -> int:
        return len(await request.body())

    @app.post("/api/v1/parsed")
    async def parsed(body: dict[str, str]) -> int:
        return len(body)

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    app.add_middleware(Gate, config=Config(**settings), metrics=Metrics(), clock=clock or Clock())
    return TestClient(app, base_url="http://localhost")


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    http = client(request_bytes=1000)
    assert http.post("/api/v1/echo", content=b"x" * 1000).json() == 1000
    refused = http.post("/api/v1/echo", content=b"x" * 1001)
    assert refused.status_code == 413
    assert refused.json()["type"].endswith("/too-large")


def test_a_body_that_does_not_say_its_length_is_counted() -> None:
    chunks = (b"x" * 100 for _ in range(11))
    assert client(request_bytes=1000).post("/api/v1/echo", content=chunks).status_code == 413
    chunks = (b"x" * 100 for _ in range(11))
    refused = client(request_bytes=1000).post(
        "/api/v1/parsed", content=chunks, headers={"Content-Type": "application/json"}
    )
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (413, "too-large")


def test_uploads_have_a_limit_of_their_own() -> None:
    http = client(request_bytes=1000, upload_bytes=5000)
    path = "/api/v1/namespaces/default/archives"
    assert http.post(path, content=b"x" * 5000).status_code == 200
    assert http.post(path, content=b"x" * 5001).status_code == 413


@pytest.mark.parametrize("path", ["/api/v1/namespaces/a/jobs/inputs/pause", "/api/v1/namespaces/inputs/jobs"])
def test_whatever_a_job_or_namespace_is_called_its_orders_are_no_uploads(path: str) -> None:
    """Their bodies are read into memory, before anybody has asked who sends them."""
    http = client(request_bytes=1000, upload_bytes=5000)
    assert http.post(path, content=b"x" * 1001).status_code == 413
    assert http.put("/api/v1/namespaces/a/jobs/inputs/inputs/b/c", content=b"x" * 5000).status_code == 404


def test_one_caller_who_asks_too_often_waits_and_others_do_not() -> None:
    clock = Clock()
    http = client(clock, requests_per_second=2.0, burst=3)

    def ask(token: str) -> Any:
        return http.post("/api/v1/echo", headers={"Authorization": f"Bearer {token}"})

    assert [ask("a").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask("a")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert ask("b").status_code == 200
    clock.now += 0.5
    assert [ask("a").status_code for _ in range(2)] == [200, 429]


def test_the_kubelet_is_never_too_often() -> None:
    http = client(requests_per_second=1.0, burst=1)
    assert all(http.get("/livez").status_code == 200 for _ in range(20))


def test_one_machines_own_api_answers_only_to_names_of_that_machine() -> None:
    """A page elsewhere could have rebound its name to us (DNS rebinding)."""
    http = client(standalone=True, public_url="https://carryon.example.com")
    for host in ("localhost", "127.0.0.1:8090", "[::1]:8090", "carryon.example.com"):
        assert http.post("/api/v1/echo", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example.com", "localhost.evil.com", "127.evil.com", "127.0.0.1.evil.com", "10.0.0.1", "[", ""):
        assert http.post("/api/v1/echo", headers={"Host": host}).status_code == 403, host
    for host in ("evil.example.com", "[", "a:b:c", "x:99999999", "", "é".encode()):
        assert client().post("/api/v1/echo", headers={"Host": host}).status_code == 200, host


def test_every_answer_keeps_the_browser_from_what_the_page_does_not_need() -> None:
    http = client(artifact_origins=("https://s3.example.com",), public_url="https://carryon.example.com")
    for answer in (http.post("/api/v1/echo"), http.get("/nothing"), http.get("/livez")):
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == policy["media-src"] == "'self' https://s3.example.com"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert http.post("/api/v1/echo").headers["cache-control"] == "no-store"


def test_a_browser_asks_whether_its_copy_of_the_page_is_still_the_one() -> None:
    """Modules of two versions do not fit each other."""
    http = TestClient(create(Config()))
    answer = http.get("/app.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert answer.headers["etag"]
    assert http.get("/app.js", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "x"], '--port (CARRYON_API_PORT) is "x": it must be a port, 0 to 65535'),
        (["--standalone", "maybe"], "it must be true or false"),
        (["--public-url", "carryon.example.com"], "it must be an origin"),
        (["--public-url", "https://a/b"], "without a path"),
        (["--default-store", "bucket"], "it must begin with s3://"),
        (["--trusted-proxies", "10.0.0.1/8"], "write addresses or networks"),
        (["--user-header", "X-User"], "name the addresses of the proxies, or anybody could sign in as anybody"),
        (["--groups-header", "X-Groups"], "name the header with the user too"),
        (["--user-header", "X User", "--trusted-proxies", "10.0.0.1"], "the name of a header"),
        (["--burst", "0"], "1 or more"),
        (["--requests-per-second", "nan"], "above 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_in_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        config.parse(arguments, {})
    errors = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in errors
    assert errors.count("\n") == 1


def test_a_flag_goes_before_its_variable() -> None:
    environ = {"CARRYON_API_PORT": "1", "CARRYON_NAMESPACES": "a, b", "CARRYON_STANDALONE": "true"}
    read = config.parse(["--port", "2", "--cors-origins", "https://A.example.com/,http://b:81"], environ)
    assert (read.port, read.namespaces, read.standalone) == (2, ("a", "b"), True)
    assert read.cors_origins == ("https://a.example.com", "http://b:81")
    assert config.parse(["--standalone"], {}).mode == "standalone"
    assert config.parse([], {}).mode == "cluster"


def request(peer: str, *headers: tuple[str, str]) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return HTTPConnection({"type": "http", "path": "/", "client": (peer, 1), "headers": raw})


@pytest.mark.parametrize("secure", [True, False])
def test_under_https_only_the_cookie_that_no_other_host_can_set_signs_in(secure: bool) -> None:
    https = Config(public_url="https://carryon.example.com")
    name = "__Host-carryon-session" if secure else "carryon-session-443"
    asked = request("203.0.113.9", ("Host", "carryon.example.com:443"), ("Cookie", f"{name}=abc"))
    assert sessions.presented(asked, Config()).token == "abc"
    if secure:
        assert sessions.presented(asked, https).token == "abc"
        return
    with pytest.raises(problems.Problem, match="nobody has signed in"):
        sessions.presented(asked, https)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        # Who is no proxy of ours may claim what they like.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        # Only what our own proxies have added counts, however much the client sent before them.
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["", " "], "10.0.0.1"),
    ],
)
def test_limits_count_whom_our_own_proxies_saw(peer: str, forwarded: list[str], address: str) -> None:
    settings = config.parse(["--trusted-proxies", "10.0.0.0/8"], {})
    headers = [("X-Forwarded-For", each) for each in forwarded]
    assert sessions.address_of(request(peer, *headers), settings) == address


def test_a_second_name_beside_the_proxys_own_signs_nobody_in() -> None:
    settings = config.parse(["--trusted-proxies", "10.0.0.1", "--user-header", "X-User"], {})
    assert sessions.presented(request("10.0.0.1", ("X-User", "alice")), settings).user == "alice"
    with pytest.raises(problems.Problem, match="must remove what clients send"):
        sessions.presented(request("10.0.0.1", ("X-User", "admin"), ("X-User", "alice")), settings)
    with pytest.raises(problems.Problem, match="nobody has signed in"):
        sessions.presented(request("10.0.0.2", ("X-User", "alice")), settings)
