"""Units over HTTP: states from status, the rest from the bucket, and only of those that are shown."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import making
from carryon_core.done import Outcome
from carryon_core.messages import StoreConfig
from carryon_store import Store, open_store
from event_streams import EventSource
from status_site import EDITOR, JOBS, STRANGER, VIEWER, Rule, Site, job

PODS = "/api/v1/namespaces/default/pods"
IMAGE = {"name": "image", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
CLIP = {
    "name": "clip",
    "after": ["image"],
    "approval": "Required",
    "generate": {"command": {"args": ["move", "{{ inputs.image }}"]}},
}
REEL = {
    "name": "reel",
    "each": "job",
    "after": ["clip"],
    "generate": {"command": {"args": ["join", "{{ inputs.clip }}"]}},
}
FILM = {"items": {"count": 5}, "stages": [IMAGE, CLIP, REEL]}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, bucket: Path) -> Iterator[Site]:
    with Site.on_folder(tmp_path_factory.mktemp("site"), bucket) as made:
        yield made


@pytest.fixture
def store(bucket: Path) -> Store:
    return open_store(StoreConfig(uri=bucket.as_uri()))


@pytest.fixture
def name() -> str:
    return f"film-{uuid.uuid4().hex[:8]}"


def create(site: Site, name: str, **spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = site.kube("POST", JOBS, job(name, **{**FILM, **spec}))
    report(site, name)
    return made


def report(site: Site, name: str, **stages: dict[str, Any]) -> None:
    """Write a status with these stages, as the operator would, and wait until it is known."""
    told = [{"name": stage, **fields} for stage, fields in stages.items()]
    output = site.config.default_store
    assert output is not None
    site.status(name, {"observedGeneration": 1, "stages": told, "resolved": {"output": output.uri}})
    version = site.kube("GET", f"{JOBS}/{name}")["metadata"]["resourceVersion"]

    def known() -> bool:
        record = site.apps[0].state.cluster.job("default", name)
        return record is not None and record.version == version

    site.until(known, "the status is known")


def get(site: Site, name: str, path: str, token: str = VIEWER, status: int = 200, **query: Any) -> Any:
    with site.http(token) as http:
        answer = http.get(f"/api/v1/namespaces/default/jobs/{name}/{path}", params=query)
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers["Content-Type"] else answer.text


def test_every_unit_is_in_the_state_that_status_and_bucket_give_it(
    site: Site, store: Store, name: str, tmp_path: Path
) -> None:
    units = making.resolved(create(site, name))
    making.make(store, units, tmp_path, 0, {"image.png": (b"picture", "image/png")})
    making.make(store, units, tmp_path, 1, {}, outcome=Outcome.FILTERED, reason="the safety checker said so")
    making.fail(store, units, 2, "uid-2", "OutOfMemory", "no memory left", "line 1\n")
    pod = {"pod": "p", "uid": "u", "units": "3", "attempt": 1, "since": "2026-11-21T18:00:00Z"}
    report(site, name, image={"succeeded": "0-1", "skipped": "1", "failed": "2", "active": [pod]})
    listed = get(site, name, "units")
    assert listed["total"] == 11
    found = {(each["stage"], each["index"]): (each["state"], each["reason"]) for each in listed["items"]}
    assert [found["image", index] for index in range(5)] == [
        ("done", ""),
        ("filtered", "the safety checker said so"),
        ("failed", "OutOfMemory: no memory left"),
        ("active", ""),
        ("waiting", "waits for a pod"),
    ]
    assert found["clip", 0] == ("waitingForApproval", "waits for approval")
    assert found["clip", 4] == ("waiting", "waits for image")
    assert found["reel", 0] == ("waiting", "waits for clip")
    (artifact,) = listed["items"][0]["artifacts"]
    assert (artifact["name"], artifact["size"], artifact["contentType"]) == ("image.png", 7, "image/png")


def test_units_come_by_stage_and_state_page_by_page(site: Site, name: str) -> None:
    create(site, name, items={"count": 100})
    report(site, name, image={"succeeded": "0-9,20-29,50", "failed": "90-94"})

    def indexes(**query: Any) -> tuple[int, list[int]]:
        listed = get(site, name, "units", stage="image", **query)
        return listed["total"], [each["index"] for each in listed["items"]]

    assert indexes(state="done", offset=8, limit=4) == (21, [8, 9, 20, 21])
    assert indexes(state="failed", offset=3) == (5, [93, 94])
    assert indexes(state="waiting", offset=73) == (74, [99])
    assert indexes(state="done", offset=50) == (21, [])
    everything = get(site, name, "units", offset=98, limit=4)
    assert [(each["stage"], each["item"]) for each in everything["items"]] == [
        ("image", "98"),
        ("image", "99"),
        ("clip", "0"),
        ("clip", "1"),
    ]


def test_items_come_page_by_page(site: Site, name: str) -> None:
    items = {"list": [{"id": "dunes"}, {"id": "a/b"}, {"id": ".."}]}
    create(site, name, items=items)
    listed = get(site, name, "items", offset=1, limit=1)
    assert listed == {"total": 3, "items": [{"index": 1, "id": "a/b"}]}


@pytest.mark.parametrize("item", ["dunes", "a/b", "..", ".", "~0", "50% off?#", "with space", "日本語", "a\\b"])
def test_a_unit_is_found_by_its_address_whatever_its_item_is_called(site: Site, name: str, item: str) -> None:
    create(site, name, items={"list": [{"id": "first"}, {"id": item, "params": {"prompt": "a fox"}}]})
    (_, listed) = get(site, name, "units", stage="image")["items"]
    with site.http(VIEWER) as http:
        detail = http.get(listed["url"]).json()
    assert (detail["item"], detail["index"], detail["params"]) == (item, 1, {"prompt": "a fox"})


def test_a_unit_tells_of_its_attempts_and_how_it_was_made(site: Site, store: Store, name: str, tmp_path: Path) -> None:
    made = create(site, name, overrides=[{"item": "0", "stage": "image", "params": {"seed": 7}}])
    units = making.resolved(made)
    making.fail(store, units, 0, "uid-first", "Stalled", "nothing moved", "stuck here\n")
    making.make(store, units, tmp_path, 0, {"image.png": (b"picture", "image/png")})
    site.kube("POST", PODS, making.pod(made, "image", ["0"], name))
    site.kube("PATCH", f"{PODS}/{name}/status", {"status": making.running("127.9.9.9")})
    cluster = site.apps[0].state.cluster
    site.until(lambda: any(pod.ip for pod in cluster.pods_of(cluster.job("default", name))), "the pod is known")
    report(site, name, image={"succeeded": "0"})
    detail = get(site, name, "units/image/0")
    assert (detail["state"], detail["seed"], detail["params"]) == ("done", 7, {"seed": 7})
    assert detail["done"]["pod"] == "maker"
    assert len(detail["fingerprint"]) == 64
    tried = [(each["state"], each["reason"], each["pod"]) for each in detail["attempts"]]
    assert tried == [("running", "", name), ("ended", "", "maker"), ("ended", "Stalled", "pod-uid-first")]
    assert get(site, name, "units/image/0/log", attempt="uid-first") == "stuck here\n"


def test_a_live_log_is_read_with_the_callers_own_rights(site: Site, store: Store, name: str) -> None:
    made = create(site, name)
    making.fail(store, making.resolved(made), 0, "uid-kept", "Crashed", "it ended", "".join(f"{n}\n" for n in range(9)))
    assert get(site, name, "units/image/0/log", tailLines=2) == "7\n8\n"
    assert "no log of image/1" in get(site, name, "units/image/1/log", status=404)["detail"]
    assert "attempt nobody" in get(site, name, "units/image/0/log", attempt="nobody", status=404)["detail"]
    reader = Rule("reader", frozenset({"get"}), ("generationjobs",), ("default",))
    site.rbac.tokens["reader"] = type(site.rbac.tokens[VIEWER])("reader")
    site.rbac.rules = (*site.rbac.rules, reader)
    assert get(site, name, "units", token="reader")["total"]
    assert "may not get pods/log" in get(site, name, "units/image/0/log", token="reader", status=403)["detail"]


def test_what_is_not_there_is_said_so(site: Site, name: str) -> None:
    create(site, name)
    assert (
        'no stage "nope": name one of image, clip, reel' in get(site, name, "units", stage="nope", status=404)["detail"]
    )
    assert 'no item "99"' in get(site, name, "units/image/99", status=404)["detail"]
    assert 'no item "~99"' in get(site, name, "units/image/~99", status=404)["detail"]
    assert get(site, name, "units/reel/job")["item"] == "job"
    get(site, name, "units", state="nonsense", status=422)
    get(site, name, "units", limit=501, status=422)
    get(site, name, "units", token=STRANGER, status=403)
    get(site, f"{name}-not", "units", status=404)


def test_a_job_that_can_not_be_carried_out_still_shows_what_was_made(site: Site, name: str) -> None:
    broken = {"name": "image", "generate": {"command": {"args": ["{{ item.nothing }}"]}}}
    create(site, name, stages=[broken])
    report(site, name, image={"succeeded": "0-1"})
    listed = get(site, name, "units")
    assert [each["state"] for each in listed["items"]] == ["done", "done", "waiting", "waiting", "waiting"]


def test_a_bucket_that_may_not_be_opened_is_not(site: Site, name: str) -> None:
    create(site, name, output={"uri": "file:///etc"})
    report(site, name, image={"succeeded": "0"})
    assert "file:///etc" in get(site, name, "units", status=409)["detail"]


def test_a_unit_that_was_made_again_shows_its_new_artifact(site: Site, store: Store, name: str, tmp_path: Path) -> None:
    units = making.resolved(create(site, name))
    prefix = units.prefix(units.unit(0, 0))
    making.make(store, units, tmp_path, 0, {"image.png": (b"old", "image/png")})
    report(site, name, image={"succeeded": "0"})
    old = get(site, name, "units/image/0")["artifacts"][0]
    for info in list(store.list(prefix)):
        store.delete(info.key)
    making.make(store, units, tmp_path, 0, {"image.png": (b"newer", "image/png")})
    with site.http(VIEWER) as http:
        assert http.get(old["url"]).content == b"newer"
    assert get(site, name, "units/image/0")["artifacts"][0]["sha256"] != old["sha256"]


def test_a_preview_of_a_unit_at_work_is_shown(site: Site, store: Store, name: str) -> None:
    units = making.resolved(create(site, name))
    shown = making.preview(store, units, 0, b"section")
    pod = {"pod": "p", "uid": "u", "units": "0", "attempt": 1, "since": "2026-11-21T18:00:00Z"}
    report(site, name, image={"active": [pod]})
    (preview,) = get(site, name, "units/image/0")["previews"]
    assert preview["name"] == shown
    with site.http(VIEWER) as http:
        answer = http.get(preview["url"], headers={"Range": "bytes=0-2"})
        assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (206, b"sec", "video/mp4")
        for bad in ("done.json", "..%2Fdone.json", "%2e%2e", "000.mp4"):
            assert http.get(f"{preview['url'].rpartition('/')[0]}/{bad}").status_code == 404


class Worker(BaseHTTPRequestHandler):
    """Answers /progress as a worker does."""

    told: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(str(self.server.server_address[0]))
        content = json.dumps(self.told).encode()
        self.send_response(200 if self.path == "/progress" else 404)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Questions every second are no news."""


@contextmanager
def serving() -> Iterator[str]:
    """A worker on an address of its own; the address."""
    mark = uuid.uuid4().bytes
    address = f"127.{mark[0] % 100 + 100}.{mark[1]}.{mark[2] % 200 + 2}"
    server = ThreadingHTTPServer((address, 8080), Worker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def worker() -> Iterator[str]:
    with serving() as address:
        yield address


def work(site: Site, made: dict[str, Any], address: str) -> None:
    """Have a worker of a job run at an address."""
    name = made["metadata"]["name"]
    site.kube("POST", PODS, making.pod(made, "image", ["0"], name))
    site.kube("PATCH", f"{PODS}/{name}/status", {"status": making.running(address)})


def steps(step: int) -> dict[str, Any]:
    at = {"index": 0, "item": "0", "step": step, "steps": 30, "phase": "generating", "seconds": 10 + step * 0.5}
    return {"stage": "image", "attempt": 1, "units": 1, "finished": 0, "idleSeconds": 0.1, "current": at}


def test_steps_of_a_job_that_somebody_looks_at_come_within_two_seconds(site: Site, name: str, worker: str) -> None:
    Worker.told = steps(11)
    work(site, create(site, name), worker)
    with EventSource(site.http(VIEWER), job=f"default/{name}") as page:
        (unit,) = page.kind("progress").data["units"]
        assert {key: unit[key] for key in ("stage", "item", "index", "step", "steps", "phase")} == {
            "stage": "image",
            "item": "0",
            "index": 0,
            "step": 11,
            "steps": 30,
            "phase": "generating",
        }
        Worker.told = steps(12)
        told = page.wait(
            lambda event: event.kind == "progress" and event.data["units"][0]["step"] == 12, "step 12", seconds=2
        )
        assert told.data["units"][0]["secondsPerStep"] == 0.5
        listed = get(site, name, "units", stage="image", state="active")
        assert listed["items"][0]["progress"] == {
            "phase": "generating",
            "step": 12,
            "steps": 30,
            "secondsPerStep": 0.5,
        }
        site.kube("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        page.wait(lambda event: event.kind == "progress" and not event.data["units"], "no unit at work")


def test_nobody_asks_the_workers_of_a_job_that_nobody_looks_at(site: Site, name: str, worker: str) -> None:
    Worker.told = steps(1)
    other = f"{name}-2"
    work(site, create(site, name), worker)
    with serving() as watched:
        work(site, create(site, other), watched)
        with EventSource(site.http(VIEWER), job=f"default/{other}") as page, EventSource(site.http(EDITOR)) as list_:
            list_.kind("snapshot")
            page.kind("progress")
            site.until(lambda: Worker.asked.count(watched) > 1, "the one that is looked at is asked again")
            assert worker not in Worker.asked
    assert get(site, name, "units/image/0")["progress"]["step"] == 1
    assert Worker.asked.count(worker) == 1


def test_a_worker_that_does_not_answer_is_shown_as_running_without_step(site: Site, name: str) -> None:
    made = create(site, name)
    work(site, made, "127.9.8.7")
    pod = {"pod": name, "uid": "u", "units": "0", "attempt": 1, "since": "2026-11-21T18:00:00Z"}
    report(site, name, image={"active": [pod]})
    with EventSource(site.http(VIEWER), job=f"default/{name}") as page:
        (unit,) = page.kind("progress").data["units"]
        assert unit == {
            "stage": "image",
            "item": "0",
            "index": 0,
            "phase": "running",
            "step": None,
            "steps": None,
            "secondsPerStep": None,
        }
