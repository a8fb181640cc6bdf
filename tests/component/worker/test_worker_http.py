"""Units that a service makes: whatever happens to the worker, the service is paid once. The service is a real one."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from carryon_core.messages import ExitCode

CLIP = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40
SECRET = "k-3141"


@dataclass
class Service:
    """Makes clips for money.

    Attributes:
        knows_keys: It makes nothing twice for one idempotency key.
        refusals: Status and headers of the next answers, whatever is asked.
        polls: Questions until a job is done.
        before_answering: Called once a submission is taken, before it is answered.
        asked: Method, path, headers and body of every request.
        made: Job id -> what was submitted: what has to be paid.
    """

    knows_keys: bool = True
    fails: str = ""
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    polls: int = 2
    before_answering: Callable[[], None] = lambda: None
    broken_downloads: int = 0
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def submit(self, headers: dict[str, str], body: bytes) -> str:
        key = headers.get("idempotency-key", "")
        if self.knows_keys and key in self.keys:
            return self.keys[key]
        job = f"job/{len(self.made) + 1}"
        self.made[job] = body
        self.left[job] = self.polls
        self.keys[key] = job
        return job

    def state(self, job: str) -> dict[str, Any]:
        self.left[job] -= 1
        if self.left[job] >= 0:
            return {"status": "processing", "progress": 1 - self.left[job] / (self.polls + 1)}
        if self.fails:
            return {"status": "failed", "error": {"message": self.fails}}
        return {"status": "Succeeded", "output": [f"/files/{job}/clip.mp4?signature=x"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        service = self.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        service.asked.append((self.command, self.path, headers, body))
        if service.refusals:
            status, extra = service.refusals.pop(0)
            self._answer(status, b'{"detail": "not now"}', **extra)
        elif self.path.startswith("/files/"):
            if service.broken_downloads:
                service.broken_downloads -= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(CLIP)))
                self.end_headers()
                self.wfile.write(CLIP[:1000])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self._answer(200, CLIP, **{"Content-Type": "video/mp4"})
        elif self.path == "/draw":
            self._answer(200, CLIP, **{"Content-Type": "image/png"})
        elif self.path == "/chat":
            text = json.loads(body)["prompt"].upper()
            self._answer(200, json.dumps({"choices": [{"text": text}]}).encode())
        elif self.path == "/batch":
            images = [{"b64": base64.b64encode(CLIP).decode()}, {"b64": base64.b64encode(b"x").decode()}]
            self._answer(200, json.dumps({"data": images}).encode())
        elif self.command == "POST":
            job = service.submit(headers, body)
            service.before_answering()
            self._answer(201, json.dumps({"id": job, "urls": {"get": f"/jobs/{job.replace('/', '%2F')}"}}).encode())
        else:
            job = self.path.removeprefix("/jobs/").replace("%2F", "/")
            if job not in service.made:
                self._answer(404, b"no such job")
            else:
                self._answer(200, json.dumps(service.state(job)).encode())

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": made}))
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def clip(bench: Any, service: Service, **more: Any) -> Any:
    config = {
        "url": f"{service.url}/jobs",
        "headers": [{"name": "Authorization", "value": "Key {secret}"}],
        "secret": {"name": "service", "key": "token"},
        "body": {"prompt": "dunes"},
        "poll": {"url": f"{service.url}/jobs/{{id}}", "progress": "/progress", "everySeconds": 1},
        "result": {"urls": "/output"},
        **more,
    }
    return bench.unit(0, {"http": {name: value for name, value in config.items() if value is not None}})


def start(bench: Any, unit: Any, **options: Any) -> Any:
    return bench.start(bench.assignment(unit, **options), CARRYON_HTTP_SECRET=SECRET)


def run(bench: Any, unit: Any, **options: Any) -> Any:
    return start(bench, unit, **options).end()


def test_a_unit_is_submitted_asked_after_and_downloaded(bench: Any, service: Service) -> None:
    unit = clip(bench, service)
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"clip.mp4": CLIP}
    assert list(service.made.values()) == [b'{"prompt":"dunes"}']
    submitted, *rest = service.asked
    assert submitted[2]["authorization"] == f"Key {SECRET}"
    assert len(submitted[2]["idempotency-key"]) == 36
    assert {path for _, path, _, _ in rest} == {"/jobs/job%2F1", "/files/job/1/clip.mp4?signature=x"}
    assert SECRET not in ended.stderr
    assert "signature" not in ended.stderr
    done = bench.done(unit)
    assert done.device == "remote"
    assert "httpx2" in done.versions
    # Nothing is left to go on from.
    assert [info.key for info in bench.store.list() if "checkpoint" in info.key] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_while_the_service_works_is_replaced_by_one_that_takes_it_up(
    bench: Any, service: Service, how: int
) -> None:
    service.polls = 1000
    unit = clip(bench, service)
    first = start(bench, unit)
    bench.eventually(lambda: len(service.asked) >= 2)
    first.process.send_signal(how)
    assert first.end().code == (ExitCode.INTERRUPTED if how == signal.SIGTERM else -how)
    service.left = dict.fromkeys(service.left, 1)
    again = run(bench, unit)
    assert again.code == ExitCode.DONE, again.stderr
    assert "taking up submission 1" in again.stderr
    assert len(service.made) == 1
    assert sum(method == "POST" for method, *_ in service.asked) == 1
    assert bench.artifacts(unit) == {"clip.mp4": CLIP}


def test_a_worker_killed_before_it_had_the_answer_submits_again_under_the_same_key(
    bench: Any, service: Service
) -> None:
    unit = clip(bench, service)
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        taken.set()
        go_on.wait(30)

    service.before_answering = hold
    first = start(bench, unit)
    assert taken.wait(30)
    first.process.kill()
    first.end()
    go_on.set()
    again = run(bench, unit)
    assert again.code == ExitCode.DONE, again.stderr
    assert len(service.made) == 1
    keys = [headers["idempotency-key"] for method, _, headers, _ in service.asked if method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_service_that_knows_no_keys_is_never_paid_twice(bench: Any, service: Service) -> None:
    service.knows_keys = False
    unit = clip(bench, service)
    config = {**unit.generate["http"], "idempotencyHeader": None}
    unit = unit.model_copy(update={"generate": {"http": config}})
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        taken.set()
        go_on.wait(30)

    service.before_answering = hold
    first = start(bench, unit)
    assert taken.wait(30)
    first.process.kill()
    first.end()
    go_on.set()
    again = run(bench, unit)
    assert again.code == ExitCode.BAD_REQUEST
    (report,) = again.termination.units
    assert (report.reason, report.permanent) == ("SubmissionUnknown", True)
    assert "give the stage another `revision` to submit again" in report.message
    assert len(service.made) == 1


def test_a_busy_service_is_asked_again_when_it_says(bench: Any, service: Service) -> None:
    service.refusals = [(429, {"Retry-After": "2"}), (503, {}), (502, {}), (500, {})]
    unit = clip(bench, service)
    began = time.monotonic()
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert time.monotonic() - began > 2
    assert "429 Too Many Requests" in ended.stderr
    assert len(service.made) == 1


def test_a_service_that_is_away_for_too_long_fails_the_attempt_and_the_next_goes_on(
    bench: Any, service: Service
) -> None:
    unit = clip(bench, service, giveUpSeconds=1)
    service.refusals = [(503, {})] * 5
    ended = run(bench, unit)
    assert ended.code == ExitCode.SOME_FAILED
    (report,) = ended.termination.units
    assert (report.reason, report.permanent) == ("ServiceUnavailable", False)
    service.refusals = []
    assert run(bench, unit).code == ExitCode.DONE
    assert len(service.made) == 1


def test_what_the_service_failed_is_submitted_anew_under_another_key(bench: Any, service: Service) -> None:
    service.fails = "the model is tired"
    unit = clip(bench, service)
    ended = run(bench, unit)
    (report,) = ended.termination.units
    assert (report.reason, report.message) == ("ServiceFailed", "the service failed: the model is tired")
    assert not report.permanent
    service.fails = ""
    assert run(bench, unit).code == ExitCode.DONE
    assert len(service.made) == len(service.keys) == 2


def test_a_submission_that_the_service_has_forgotten_is_made_anew(bench: Any, service: Service) -> None:
    service.polls = 1000
    unit = clip(bench, service)
    first = start(bench, unit)
    bench.eventually(lambda: len(service.asked) >= 2)
    first.process.kill()
    first.end()
    service.made.clear()
    service.keys.clear()
    service.polls = 0
    lost = run(bench, unit)
    assert [report.reason for report in lost.termination.units] == ["SubmissionLost"]
    assert run(bench, unit).code == ExitCode.DONE


def test_a_download_that_breaks_off_is_made_again_whole(bench: Any, service: Service) -> None:
    service.broken_downloads = 2
    unit = clip(bench, service, poll={"urlAt": "/urls/get", "everySeconds": 1})
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"clip.mp4": CLIP}


@pytest.mark.parametrize(
    ("path", "result", "artifacts"),
    [
        ("/draw", {}, {"draw.png": CLIP}),
        ("/draw", {"name": "picture.png"}, {"picture.png": CLIP}),
        ("/chat", {"text": "/choices/0/text", "name": "post.md"}, {"post.md": b"DUNES"}),
        ("/batch", {"base64": "/data", "name": "image.png"}, {"image-0.png": CLIP, "image-1.png": b"x"}),
    ],
)
def test_a_service_that_answers_at_once_needs_no_questions(
    bench: Any, service: Service, path: str, result: dict[str, str], artifacts: dict[str, bytes]
) -> None:
    unit = clip(bench, service, url=f"{service.url}{path}", poll=None, result=result)
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == artifacts


@pytest.mark.parametrize("encoding", ["json", "multipart"])
def test_files_go_into_the_body(bench: Any, service: Service, tmp_path: Path, encoding: str) -> None:
    picture = tmp_path / "dunes.png"
    picture.write_bytes(CLIP)
    given = {"$file": {"uri": picture.as_uri(), "sha256": hashlib.sha256(CLIP).hexdigest()}}
    unit = clip(bench, service, encoding=encoding, body={"prompt": "go", "strength": 0.5, "image": given})
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    (body,) = service.made.values()
    if encoding == "json":
        told = json.loads(body)
        assert told["image"] == f"data:image/png;base64,{base64.b64encode(CLIP).decode()}"
        assert told["strength"] == 0.5
    else:
        assert CLIP in body
        assert b'name="image"; filename="dunes.png"' in body
        assert b'name="strength"\r\n\r\n0.5\r\n' in body


@pytest.mark.parametrize(
    ("change", "code", "reason", "sentence"),
    [
        ({"refusal": 422}, ExitCode.BAD_REQUEST, "BadRequest", "422 Unprocessable"),
        ({"refusal": 401}, ExitCode.SOME_FAILED, "ServiceDenied", "look whether `secret` holds a valid key"),
        ({"refusal": 307}, ExitCode.BAD_REQUEST, "BadRequest", "leads to https://elsewhere.example/v2; give that url"),
        ({"result": {"urls": "/video"}}, ExitCode.SOME_FAILED, "AnswerUnreadable", "no text at /video (result.urls)"),
        ({"id": "/job_id"}, ExitCode.SOME_FAILED, "AnswerUnreadable", "at /job_id (id), but the fields id, urls"),
        ({"secret": None}, ExitCode.BAD_REQUEST, "BadRequest", "give `secret` the name and key of a Secret"),
        ({"url": "ftp://host/x"}, ExitCode.BAD_REQUEST, "BadRequest", "is no url that can be asked"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_told_in_a_sentence(
    bench: Any, service: Service, change: dict[str, Any], code: ExitCode, reason: str, sentence: str
) -> None:
    if status := change.pop("refusal", None):
        service.refusals = [(status, {"Location": "https://elsewhere.example/v2?token=x"})]
    unit = clip(bench, service, **change)
    no_secret = "secret" in change
    worker = bench.start(bench.assignment(unit), **({} if no_secret else {"CARRYON_HTTP_SECRET": SECRET}))
    ended = worker.end()
    assert ended.code == code, ended.stderr
    (report,) = ended.termination.units
    assert report.reason == reason
    assert sentence in report.message


def test_headers_go_to_the_service_alone(bench: Any, service: Service) -> None:
    """Presigned urls of other hosts refuse them, and they are nobody else's business."""
    service.polls = 0
    other = service.url.replace("127.0.0.1", "localhost")
    unit = clip(bench, service, poll={"url": f"{service.url}/jobs/{{id}}"}, result={"url": f"{other}/files/a.mp4"})
    ended = run(bench, unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    sent = {path: "authorization" in headers for _, path, headers, _ in service.asked}
    assert sent == {"/jobs": True, "/jobs/job%2F1": True, "/files/a.mp4": False}


def test_progress_is_shown_as_percents(bench: Any, service: Service) -> None:
    service.polls = 1000
    worker = start(bench, clip(bench, service))
    bench.eventually(lambda: len(service.asked) >= 2)

    def current() -> Any:
        with urlopen(f"{worker.address}/progress") as answer:
            return json.load(answer)["current"]

    shown = bench.eventually(lambda: (now := current()) and now.get("steps") and now)
    assert shown["steps"] == 100
    assert 0 <= shown["step"] <= 100
