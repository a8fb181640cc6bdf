"""Finished files over HTTP, from a folder and from S3: whole, in part, under a readable name, and harmless."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx
import pytest

import making
from carryon_api.routes import artifacts
from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_core.resolve import ResolvedJob
from carryon_store import Store, open_store
from carryon_store.files import FileStore
from conftest import S3_BUCKET
from status_site import JOBS, STRANGER, VIEWER, Site, job

BODY = bytes(range(256)) * 16
HOSTILE = b"<svg xmlns='http://www.w3.org/2000/svg'><script>fetch('/api/v1/session')</script></svg>"
FILES = {
    "clip.mp4": (BODY, "video/mp4"),
    "page.html": (HOSTILE, "text/html"),
    "odd.svg": (HOSTILE, "image/svg+xml"),
    "frames/first frame.png": (b"png", "image/png"),
    "empty.txt": (b"", "text/plain"),
}
UNIT = "/api/v1/namespaces/default/jobs/film/units/clip/dunes"


@pytest.fixture(scope="module", params=["file", "s3"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StoreConfig:
    if request.param == "file":
        return StoreConfig(uri=tmp_path_factory.mktemp("bucket").as_uri())
    return StoreConfig(uri=f"s3://{S3_BUCKET}/artifacts", endpoint=request.getfixturevalue("moto_endpoint"))


@pytest.fixture(scope="module")
def store(config: StoreConfig) -> Store:
    return open_store(config)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, config: StoreConfig) -> Iterator[Site]:
    root = PurePosixPath(urlsplit(config.uri).path) if config.uri.startswith("file") else None
    with Site(tmp_path_factory.mktemp("site"), default_store=config, file_root=root) as made:
        yield made


@pytest.fixture(scope="module")
def units(site: Site, store: Store, config: StoreConfig, tmp_path_factory: pytest.TempPathFactory) -> ResolvedJob:
    """A job with one unit that made all sorts of files."""
    stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
    made = site.kube("POST", JOBS, job("film", items={"list": [{"id": "dunes"}, {"id": "rain"}]}, stages=[stage]))
    site.status("film", {"observedGeneration": 1, "resolved": {"output": config.uri}})
    site.until(lambda: _observed(site), "the job is known")
    resolved = making.resolved(made)
    making.make(store, resolved, tmp_path_factory.mktemp("made"), 0, FILES)
    return resolved


def _observed(site: Site) -> bool:
    record = site.apps[0].state.cluster.job("default", "film")
    return record is not None and bool(record.status)


@pytest.fixture
def http(site: Site, units: ResolvedJob) -> Iterator[httpx.Client]:
    with site.http(VIEWER) as client:
        yield client


def test_every_artifact_is_given_as_it_was_made(http: httpx.Client) -> None:
    found = {each["name"]: each for each in http.get(UNIT).json()["artifacts"]}
    assert found.keys() == FILES.keys()
    for name, (content, _) in FILES.items():
        answer = http.get(found[name]["url"])
        assert (answer.status_code, answer.content) == (200, content), name
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["ETag"] == f'"{found[name]["sha256"]}"'
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def test_a_part_is_given_and_the_rest_by_the_files_own_tag(http: httpx.Client) -> None:
    url = f"{UNIT}/artifacts/clip.mp4"
    whole = http.get(url)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Cache-Control"] == "private, no-cache"
    part = http.get(url, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, BODY[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(BODY)}"
    rest = http.get(url, headers={"Range": "bytes=2000-", "If-Range": part.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, BODY[2000:])
    assert http.get(url, headers={"Range": "bytes=2000-", "If-Range": '"other"'}).content == BODY
    assert http.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    beyond = http.get(url, headers={"Range": f"bytes={len(BODY)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(BODY)}")
    assert beyond.headers["Content-Type"] == "application/problem+json"


def test_a_look_without_reading_says_the_same(http: httpx.Client) -> None:
    looked, got = http.head(f"{UNIT}/artifacts/clip.mp4"), http.get(f"{UNIT}/artifacts/clip.mp4")
    assert (looked.status_code, looked.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges"):
        assert looked.headers[name] == got.headers[name]


@pytest.mark.parametrize("name", ["page.html", "odd.svg"])
def test_a_hostile_file_runs_no_script_on_our_origin(http: httpx.Client, name: str) -> None:
    answer = http.get(f"{UNIT}/artifacts/{name}")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers


def test_a_download_has_a_readable_name(http: httpx.Client) -> None:
    url = f"{UNIT}/artifacts/clip.mp4"
    assert http.get(url).headers["Content-Disposition"] == 'inline; filename="film_clip_dunes.mp4"'
    kept = http.get(url, params={"download": "true"}).headers["Content-Disposition"]
    assert kept == 'attachment; filename="film_clip_dunes.mp4"'


@pytest.mark.parametrize(
    "name",
    ["done.json", "../../../_items/x", "..%2f..%2fdone.json", "%2e%2e%2fdone.json", "/etc/passwd", "nope", "clip.mp4/"],
)
def test_nothing_is_given_but_what_the_units_record_names(http: httpx.Client, name: str) -> None:
    assert http.get(f"{UNIT}/artifacts/{name}").status_code in (404, 422)


def test_a_record_that_points_out_of_its_folder_is_not_followed(
    http: httpx.Client, store: Store, units: ResolvedJob, tmp_path: Path
) -> None:
    store.put("default/secret.txt", b"of another job", content_type="text/plain")
    making.make(store, units, tmp_path, 1, {"a.txt": (b"of another job", "text/plain")})
    prefix = units.prefix(units.unit(0, 1))
    record = store.get(prefix + layout.DONE).decode()
    (key,) = [info.key.removeprefix(prefix) for info in store.list(prefix) if info.key.endswith(".txt")]
    try:
        for bad in ("../../../../secret.txt", "/default/secret.txt", "x/../../../../../secret.txt"):
            store.put(prefix + layout.DONE, record.replace(key, bad).encode(), content_type="application/json")
            site_url = UNIT.replace("dunes", "rain")
            answer = http.get(f"{site_url}/artifacts/a.txt")
            assert (answer.status_code, b"of another job" in answer.content) == (404, False)
    finally:
        for info in list(store.list(prefix)):
            store.delete(info.key)


def test_who_may_not_read_the_job_gets_no_file_of_it(site: Site, units: ResolvedJob) -> None:
    for token, status in ((None, 401), ("expired", 401), (STRANGER, 403)):
        with site.http(token) as http:
            assert http.get(f"{UNIT}/artifacts/clip.mp4").status_code == status


def test_a_file_that_has_gone_is_said_to_be(site: Site, http: httpx.Client, store: Store, units: ResolvedJob) -> None:
    prefix = units.prefix(units.unit(0, 0))
    (key,) = [info.key for info in store.list(prefix) if info.key.endswith(".png")]
    content = store.get(key)
    store.delete(key)
    try:
        answer = http.get(f"{UNIT}/artifacts/frames%2Ffirst%20frame.png")
        assert (answer.status_code, "resume the job" in answer.json()["detail"]) == (404, True)
    finally:
        store.put(key, content, content_type="image/png")
    assert http.get(f"{UNIT}/artifacts/frames%2Ffirst%20frame.png").content == b"png"


def test_a_client_that_goes_away_stops_the_read(
    site: Site, store: Store, units: ResolvedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = os.urandom(48 << 20)
    making.make(store, units, tmp_path, 1, {"large.bin": (large, "application/octet-stream")})
    kind = FileStore if isinstance(store, FileStore) else type(store)
    read, given, closed = kind.read, [0], []

    def watched(self: Store, *arguments: object) -> Iterator[bytes]:
        pieces = read(self, *arguments)  # type: ignore[arg-type]
        try:
            for piece in pieces:
                given[0] += len(piece)
                yield piece
        finally:
            pieces.close()  # type: ignore[attr-defined]
            closed.append(True)

    monkeypatch.setattr(kind, "read", watched)
    with socket.create_connection(("127.0.0.1", int(site.url.rpartition(":")[2]))) as connection:
        path = UNIT.replace("dunes", "rain")
        connection.sendall(
            f"GET {path}/artifacts/large.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\n\r\n".encode()
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    site.until(lambda: closed, "the read is closed")
    assert given[0] < len(large)


def test_files_in_s3_are_handed_out_by_signed_addresses_where_that_is_wanted(
    config: StoreConfig, store: Store, tmp_path: Path
) -> None:
    root = PurePosixPath(urlsplit(config.uri).path) if config.uri.startswith("file") else None
    with Site(tmp_path / "site", default_store=config, file_root=root, presign=True) as site:
        stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
        made = site.kube("POST", JOBS, job("film", items={"list": [{"id": "dunes"}]}, stages=[stage]))
        site.status("film", {"observedGeneration": 1, "resolved": {"output": config.uri}})
        site.until(lambda: _observed(site), "the job is known")
        making.make(store, making.resolved(made), tmp_path, 0, FILES)
        with site.http(VIEWER) as http:
            answer = http.get(f"{UNIT}/artifacts/clip.mp4", params={"download": "true"})
        if config.uri.startswith("file"):
            assert (answer.status_code, answer.content) == (200, BODY)
            return
        assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
        signed = httpx.get(answer.headers["Location"], headers={"Range": "bytes=0-9"})
        assert (signed.status_code, signed.content) == (206, BODY[:10])
        assert signed.headers["Content-Disposition"] == 'attachment; filename="film_clip_dunes.mp4"'


def test_the_beginning_of_a_text_comes_from_the_api_itself_wherever_files_are_handed_out(
    tmp_path: Path, site: Site, store: Store, units: ResolvedJob, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A scene's subtitles, a text cut inside of a letter, and a page that would like to be one.
    long = "ä" * artifacts.TEXT_BYTES
    files = {
        "scene.srt": (b"1\n00:00:00,000 --> 00:00:02,000\nDunes\n", "application/x-subrip"),
        "long.txt": (f"-{long}".encode(), "text/plain"),
        "page.html": (HOSTILE, "text/html"),
        "odd.txt": (b"\xff\xfe?", "text/plain"),
        "empty.txt": (b"", "text/plain"),
    }
    store.delete(units.prefix(units.unit(0, 1)) + layout.DONE)
    making.make(store, units, tmp_path, 1, files)
    site.apps[0].state.live.made.forget(store, units.prefix(units.unit(0, 1)))
    presigning = replace(site.apps[0].state.config, presign=True)
    monkeypatch.setattr(site.apps[0].state, "config", presigning)
    url = UNIT.replace("dunes", "rain")
    with site.http(VIEWER) as http:
        said = {name: http.get(f"{url}/artifacts/{name}", params={"text": "true"}) for name in files}
        elsewhere = http.get(f"{url}/artifacts/scene.srt")
    assert elsewhere.status_code == (200 if config.uri.startswith("file") else 307)
    assert {answer.status_code for answer in said.values()} == {200}
    for answer in said.values():
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert said["scene.srt"].content == files["scene.srt"][0]
    assert said["long.txt"].text == "-" + "ä" * (artifacts.TEXT_BYTES // 2 - 1), "half a letter is none"
    assert said["page.html"].content == HOSTILE
    assert said["odd.txt"].text == "\ufffd\ufffd?"
    assert said["empty.txt"].content == b""
