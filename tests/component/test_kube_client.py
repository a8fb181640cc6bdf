"""The client against a server that misbehaves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from carryon_kube import connection
from carryon_kube.client import Client, WatchEvent
from carryon_kube.connection import ConfigError, Connection
from carryon_kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from carryon_kube.resources import GENERATION_JOBS, PODS
from fake_apiserver import FakeApiServer, Fault, eventually


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().serving() as served:
        yield served


@pytest.fixture
async def client(server: FakeApiServer) -> AsyncIterator[Client]:
    async with Client(Connection(server.url), silence=0.3) as made:
        yield made


async def names(client: Client) -> list[list[str]]:
    return [[each["metadata"]["name"] for each in page.items] async for page in client.list_pages(PODS)]


async def test_objects_are_created_read_changed_and_deleted(client: Client) -> None:
    made = await client.create(PODS, {"metadata": {"name": "a"}, "spec": {"x": 1}}, namespace="default")
    assert made["metadata"]["uid"]
    changed = await client.patch(PODS, "a", {"spec": {"x": 2}}, namespace="default")
    assert (await client.get(PODS, "a", namespace="default")) == changed
    await client.delete(PODS, "a", namespace="default", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.get(PODS, "a", namespace="default")


async def test_whole_numbers_beyond_64_bits_are_the_servers_to_judge(client: Client) -> None:
    made = await client.create(PODS, {"metadata": {"name": "a"}, "spec": {"x": 2**70}}, namespace="default")
    assert made["spec"]["x"] == 2**70


async def test_patches_are_merge_patches_and_status_is_a_path_of_its_own(server: FakeApiServer, client: Client) -> None:
    server.put("generationjobs", "reel")
    await client.patch(GENERATION_JOBS, "reel", {"status": {}}, namespace="default", subresource="status")
    (sent,) = server.requests("PATCH")
    assert sent.path == "/apis/carryon.dev/v1alpha1/namespaces/default/generationjobs/reel/status"
    assert sent.content_type == "application/merge-patch+json"


async def test_a_stale_write_is_refused(server: FakeApiServer, client: Client) -> None:
    old = server.put("generationjobs", "reel")["metadata"]["resourceVersion"]
    server.put("generationjobs", "reel")
    with pytest.raises(Conflict):
        await client.patch(GENERATION_JOBS, "reel", {"metadata": {"resourceVersion": old}}, namespace="default")


async def test_an_object_that_took_the_name_is_not_deleted(server: FakeApiServer, client: Client) -> None:
    server.put("pods", "a")
    with pytest.raises(Conflict):
        await client.delete(PODS, "a", namespace="default", uid="another")
    assert "pods/default/a" in server.objects


async def test_creating_what_exists_is_told_from_a_conflict(server: FakeApiServer, client: Client) -> None:
    server.put("pods", "a")
    with pytest.raises(AlreadyExists):
        await client.create(PODS, {"metadata": {"name": "a"}}, namespace="default")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Forbidden), (404, NotFound), (409, Conflict), (410, Gone), (422, Invalid), (500, Unavailable)],
)
async def test_every_refusal_has_its_error(
    server: FakeApiServer, client: Client, status: int, kind: type[ApiError]
) -> None:
    server.faults.append(Fault(status, "POST"))
    with pytest.raises(kind) as refused:
        await client.create(PODS, {"metadata": {"generateName": "a-"}}, namespace="default")
    assert refused.value.status == status
    assert f"told to answer {status}" in str(refused.value)


async def test_a_list_comes_in_pages(server: FakeApiServer, client: Client) -> None:
    for number in range(1001):
        server.put("pods", f"pod-{number:04}")
    pages = await names(client)
    assert [len(page) for page in pages] == [500, 500, 1]
    assert sorted(name for page in pages for name in page) == [f"pod-{number:04}" for number in range(1001)]


async def test_a_list_that_took_too_long_says_so(server: FakeApiServer, client: Client) -> None:
    for number in range(501):
        server.put("pods", f"pod-{number}")

    def compact(page: int) -> None:
        server.put("pods", "late")
        server.forget_history()

    server.during_list = compact
    with pytest.raises(Gone):
        await names(client)


async def test_reads_are_repeated_through_broken_connections_and_server_errors(
    server: FakeApiServer, client: Client
) -> None:
    server.put("pods", "a")
    server.faults += [Fault(0), Fault(503)]
    assert await names(client) == [["a"]]
    assert len(server.requests("GET")) == 3


async def test_a_create_by_name_is_repeated_for_twice_makes_one(server: FakeApiServer, client: Client) -> None:
    server.faults.append(Fault(0, "POST", done=True))
    with pytest.raises(AlreadyExists):
        await client.create(PODS, {"metadata": {"name": "one"}}, namespace="default")
    assert len(server.requests("POST")) == 2


async def test_a_create_without_a_name_is_not_repeated(server: FakeApiServer, client: Client) -> None:
    server.faults.append(Fault(0, "POST"))
    with pytest.raises(Unavailable):
        await client.create(PODS, {"metadata": {"generateName": "one-"}}, namespace="default")
    assert len(server.requests("POST")) == 1


async def test_a_busy_server_is_asked_again_when_it_says(server: FakeApiServer, client: Client) -> None:
    server.faults.append(Fault(429, "POST", headers={"Retry-After": "1"}))
    started = asyncio.get_running_loop().time()
    await client.create(PODS, {"metadata": {"name": "a"}}, namespace="default")
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert len(server.requests("POST")) == 2


async def test_a_server_that_stays_busy_is_left_alone(server: FakeApiServer, client: Client) -> None:
    server.faults += [Fault(429, "POST")] * 10
    with pytest.raises(TooManyRequests):
        await client.create(PODS, {"metadata": {"name": "a"}}, namespace="default")
    assert len(server.requests("POST")) == 4


async def test_writes_keep_to_their_rate_and_reads_are_free(server: FakeApiServer) -> None:
    async with Client(Connection(server.url), qps=20.0, burst=5) as client:
        started = asyncio.get_running_loop().time()
        writes = [client.create(PODS, {"metadata": {"name": f"p{n}"}}, namespace="default") for n in range(11)]
        await asyncio.gather(*writes)
        assert asyncio.get_running_loop().time() - started >= 6 / 20.0
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.get(PODS, "p0", namespace="default") for _ in range(11)))
        assert asyncio.get_running_loop().time() - started < 6 / 20.0


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with Client(Connection("http://127.0.0.1:1")) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await client.create(PODS, {}, namespace="default")


async def test_a_proxy_that_answers_html_is_reported_in_its_words() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad Gateway</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Client(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
            with pytest.raises(Unavailable, match="Bad Gateway"):
                await client.create(PODS, {}, namespace="default")
    finally:
        await runner.cleanup()


async def test_a_watch_brings_what_changed_after_the_version(server: FakeApiServer, client: Client) -> None:
    server.put("pods", "old")
    since = str(server.version)
    server.put("pods", "new", status={"text": "line\nbreak"})
    seen: list[WatchEvent] = []
    async with client.watch(PODS, version=since) as events:
        server.remove("pods", "old")
        async for event in events:
            seen.append(event)
            if event.type == "DELETED":
                server.end_watches()
    assert [(each.type, each.object["metadata"].get("name")) for each in seen] == [
        ("ADDED", "new"),
        ("DELETED", "old"),
        ("BOOKMARK", None),
    ]


async def test_a_watch_asks_for_whole_seconds_and_bookmarks(server: FakeApiServer, client: Client) -> None:
    async with client.watch(PODS, version="0", label_selector="a=b"):
        pass
    (asked,) = server.requests("GET", watch=True)
    assert asked.query["timeoutSeconds"].isdecimal()
    assert asked.query["allowWatchBookmarks"] == "true"
    assert asked.query["labelSelector"] == "a=b"


async def test_a_watch_that_falls_silent_is_given_up(server: FakeApiServer, client: Client) -> None:
    async with client.watch(PODS, version="0") as events:
        with pytest.raises(Unavailable, match="no answer in time"):
            await anext(aiter(events))


async def test_a_watch_from_before_a_compaction_is_gone(server: FakeApiServer, client: Client) -> None:
    server.put("pods", "a")
    server.forget_history()
    async with client.watch(PODS, version="0") as events:
        with pytest.raises(Gone):
            await anext(aiter(events))


async def test_a_watch_that_breaks_off_is_unavailable(server: FakeApiServer, client: Client) -> None:
    async with client.watch(PODS, version="0") as events:
        await eventually(lambda: server.watchers == 1)
        server.drop_watches()
        with pytest.raises(Unavailable):
            await anext(aiter(events))


def kubeconfig(folder: Path, server: str, cluster: object = None, user: object = None) -> str:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],  # type: ignore[dict-item]
                "users": [{"name": "u", "user": user or {}}],
            }
        )
    )
    return str(path)


async def test_a_token_that_was_rotated_is_read_again(server: FakeApiServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    path = kubeconfig(tmp_path, server.url, user={"tokenFile": str(token)})
    server.tokens = {"first"}
    async with Client(connection.load(path), reload=lambda: connection.load(path)) as client:
        await names(client)
        token.write_text("second\n")
        server.tokens = {"second"}
        await asyncio.gather(*(names(client) for _ in range(5)))
        assert server.requests("GET")[-1].authorization == "Bearer second"
        refused = [each for each in server.requests("GET") if each.authorization == "Bearer first"]
        assert len(refused) <= 1 + 5


async def test_a_kubeconfig_that_vanishes_for_a_moment_leaves_the_credentials_as_they_were(
    server: FakeApiServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    server.tokens = {"good"}
    connected = Connection(server.url, authorization="Bearer good")
    async with Client(connected, reload=lambda: connection.load(str(tmp_path / "nowhere"))) as client:
        server.tokens = set()
        with pytest.raises(ApiError, match="Unauthorized"):
            await names(client)
        server.tokens = {"good"}
        await names(client)
    assert "cannot be read again" in caplog.text


async def test_credentials_that_stay_refused_are_an_error_and_not_a_storm(server: FakeApiServer) -> None:
    server.tokens = {"good"}
    async with Client(Connection(server.url, authorization="Bearer bad")) as client:
        with pytest.raises(ApiError) as refused:
            await names(client)
    assert refused.value.status == 401
    assert len(server.seen) == 1


async def test_a_session_for_others_shares_credentials_and_may_be_closed(server: FakeApiServer) -> None:
    server.tokens = {"good"}
    async with Client(Connection(server.url, authorization="Bearer good")) as client:
        async with client.session() as session, session.get(f"{server.url}/api/v1/pods") as response:
            assert response.status == 200
        assert await names(client) == [[]]


def test_the_pods_own_account_is_used_inside_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigError, match="token file"):
        connection.load()


def test_a_kubeconfig_that_is_not_there_is_named_as_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Set KUBECONFIG"):
        connection.load(str(tmp_path / "nowhere"))


def test_a_kubeconfig_that_is_no_yaml_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: [\n}")
    with pytest.raises(ConfigError, match="cannot connect") as refused:
        connection.load(str(tmp_path / "kubeconfig"))
    assert "\n" not in str(refused.value)


def test_a_token_is_not_shown_in_logs() -> None:
    assert "secret" not in repr(Connection("https://here", authorization="Bearer secret"))


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """URL and certificate of a TLS server that knows only itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "a"}})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
    yield f"https://localhost:{runner.addresses[0][1]}", authority
    await runner.cleanup()


async def test_tls_trusts_the_clusters_authority_and_no_other(secure: tuple[str, Path], tmp_path: Path) -> None:
    url, authority = secure
    trusting = connection.load(kubeconfig(tmp_path, url, cluster={"certificate-authority": str(authority)}))
    async with Client(trusting) as client:
        assert (await client.get(PODS, "a", namespace="default"))["metadata"]["name"] == "a"
    async with Client(connection.load(kubeconfig(tmp_path, url))) as client:
        with pytest.raises(Unavailable, match="certificate"):
            await client.get(PODS, "a", namespace="default")


async def test_tls_is_not_verified_where_the_kubeconfig_says_so(secure: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = secure
    trusting = connection.load(kubeconfig(tmp_path, url, cluster={"insecure-skip-tls-verify": True}))
    async with Client(trusting) as client:
        assert (await client.get(PODS, "a", namespace="default"))["metadata"]["name"] == "a"
