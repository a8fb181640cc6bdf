"""Archives over HTTP: out of one job and into another, and whoever may not is told so before anything is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archives import exported, half_made
from carryon_core.messages import StoreConfig
from carryon_store import Store, Stores
from hostile_archives import taken_apart
from status_site import EDITOR, JOBS, STRANGER, VIEWER, Site

ARCHIVES = "/api/v1/namespaces/default/archives"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    root = folder / "bucket"
    root.mkdir()
    (folder / "spool").mkdir()
    with Site(folder, default_store=StoreConfig(uri=root.as_uri()), file_root=folder, spool=folder / "spool") as made:
        yield made


@pytest.fixture
def store(folder: Path) -> Store:
    return Stores().open(StoreConfig(uri=(folder / "bucket").as_uri()))


def keys(store: Store) -> list[str]:
    return [info.key for info in store.list()]


@pytest.fixture
def archive(tmp_path: Path, stores: Stores) -> bytes:
    """Of a film in another bucket: 6 of 9 units done, two begun."""
    config = StoreConfig(uri=(tmp_path / "origin").as_uri())
    return exported(half_made(stores.open(config), config, tmp_path), tmp_path / "reel.carryon").read_bytes()


def imported(site: Site, archive: bytes, token: str = EDITOR, **query: Any) -> Any:
    with site.http(token) as http:
        return http.post(ARCHIVES, params=query, content=archive)


def test_an_archive_becomes_a_job_that_waits_and_is_exported_again(site: Site, archive: bytes, store: Store) -> None:
    made = imported(site, archive, name="first")
    assert made.status_code == 201, made.text
    assert made.json()["message"].startswith("6 of 9 done, clip a/b at step 7/30")
    assert made.json()["message"].endswith("; suspended")
    assert site.kube("GET", f"{JOBS}/first")["spec"]["suspend"] is True
    assert sum(key.endswith("/done.json") for key in keys(store) if key.startswith("default/first/")) == 6

    site.kube("PATCH", f"{JOBS}/first/status", {"status": {"resolved": {"output": store.uri}}})

    def resolved() -> bool:
        with site.http(VIEWER) as http:
            return http.get("/api/v1/namespaces/default/jobs/first/archive").status_code == 200

    site.until(resolved, "the API knows where its bucket is")
    with site.http(VIEWER) as http:
        answer = http.get("/api/v1/namespaces/default/jobs/first/archive")
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''first.carryon"
        said = http.post("/api/v1/archives/inspect", content=answer.content[: 1 << 20])
    assert said.status_code == 200, said.text
    body = said.json()
    assert (body["units"], body["origin"]) == ({"total": 9, "done": 6, "halfDone": 2}, "default/first")
    assert body["job"]["metadata"]["name"] == "first"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        assert zipped.testzip() is None
        assert len(zipped.namelist()) > 20


def test_a_name_that_is_taken_is_a_conflict_with_another_one_to_take(site: Site, archive: bytes) -> None:
    assert imported(site, archive, name="taken").status_code == 201
    again = imported(site, archive, name="taken")
    assert (again.status_code, again.json()["action"]) == (409, "name it taken-2")


def test_an_archive_that_is_damaged_is_refused_with_its_reason_and_leaves_nothing(
    site: Site, archive: bytes, store: Store, folder: Path
) -> None:
    before = keys(store)
    damaged = bytearray(archive)
    damaged[len(damaged) // 2] ^= 0xFF
    answer = imported(site, bytes(damaged), name="damaged")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the archive is refused: ")
    cut = imported(site, archive[:-100], name="damaged")
    assert "cut off" in cut.json()["detail"]
    assert site.ask("GET", f"{JOBS}/damaged").status_code == 404
    assert keys(store) == before
    assert list((folder / "spool").iterdir()) == []


def test_a_job_that_the_crd_refuses_is_refused_before_anything_is_written(
    site: Site, archive: bytes, store: Store, tmp_path: Path
) -> None:
    """Its digests fit: somebody has put together another archive."""
    before = keys(store)
    path = tmp_path / "good.carryon"
    path.write_bytes(archive)
    with path.open("rb") as file:
        forged = taken_apart(file.fileno())
    forged.edited("job.yaml", lambda content: content.replace(b"seed: 7", b"seed: 7\n  queueName: Not_A_Queue"))
    answer = imported(site, forged.encode(), name="forged")
    assert answer.status_code == 422
    assert "LocalQueue" in answer.json()["detail"]
    assert site.ask("GET", f"{JOBS}/forged").status_code == 404
    assert keys(store) == before


@pytest.mark.parametrize(("token", "status"), [(VIEWER, 403), (STRANGER, 403), (None, 401)])
def test_who_may_not_create_jobs_imports_nothing(
    site: Site, archive: bytes, store: Store, token: str | None, status: int
) -> None:
    before = keys(store)
    with site.http(token) as http:
        assert http.post(ARCHIVES, params={"name": "foreign"}, content=archive).status_code == status
    assert keys(store) == before


def test_an_output_that_is_not_allowed_here_is_refused_before_it_is_asked(site: Site, archive: bytes) -> None:
    answer = imported(site, archive, name="away", output="file:///etc/carryon")
    assert answer.status_code == 422
    assert "only below" in answer.json()["detail"]


def test_a_viewer_downloads_finished_files_with_readable_names_and_may_not_upload(
    site: Site, archive: bytes, store: Store
) -> None:
    assert imported(site, archive, name="films").status_code == 201
    stages = [{"name": "image", "total": 4, "succeeded": "0-3"}, {"name": "clip", "total": 4, "succeeded": "0,2"}]
    job = site.kube("GET", f"{JOBS}/films")
    status = {"resolved": {"output": store.uri}, "observedGeneration": job["metadata"]["generation"], "stages": stages}
    site.status("films", status)
    at = "/api/v1/namespaces/default/jobs/films"

    def files() -> Any:
        with site.http(VIEWER) as http:
            answer = http.get(f"{at}/download", params={"stage": "clip"})
            return answer if answer.status_code == 200 else None

    answer = site.until(files, "status is known")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        names = zipped.namelist()
        assert names[0] == "clip/dunes.txt"
        assert zipped.read(names[0]).startswith(b"clip of dunes")
        assert len(names) == 2
        assert all(".." not in name for name in names)
    with site.http(VIEWER) as http:
        assert http.put(f"{at}/inputs/photos/a b.png", content=b"photo").status_code == 403
    with site.http(EDITOR) as http:
        put = http.put(f"{at}/inputs/photos/a b.png", content=b"photo")
        assert put.status_code == 200, put.text
        assert put.json()["uri"] == f"{store.uri}/default/films/_inputs/photos/a%20b.png"
        assert store.get("default/films/_inputs/photos/a b.png") == b"photo"
        for path in ("..%2f..%2fother", "a//b", "%2e%2e/x", "a%00b"):
            answer = http.put(f"{at}/inputs/{path}", content=b"x")
            assert answer.status_code in (400, 404), (path, answer.text)
    assert not [key for key in keys(store) if key.startswith("default/other")]
