"""A model hub on loopback, with the paths that huggingface-hub asks for: model info, tree, and files by resolve.

What it answers was read off huggingface_hub 2.4 (`hf_api.py`, `file_download.py`, `utils/_http.py`): HEAD has ETag,
X-Repo-Commit and Content-Length, GET knows ranges, refusals carry X-Error-Code.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

LARGE: Final = 100_000
"""Bytes from which a file is in LFS, whose ETag is its SHA-256."""
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Repository:
    """A model.

    Attributes:
        commits: Commit -> path -> content.
        refs: Branch or tag -> commit.
        token: That may read it; None: anybody may.
        gated: A token is known but its terms were not accepted.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False

    def commit(self, number: int, files: Mapping[str, bytes], *refs: str) -> str:
        """Add a commit, and let refs name it."""
        name = f"{number:040x}"
        self.commits[name] = dict(files)
        self.refs |= dict.fromkeys(refs or ("main",), name)
        return name


@dataclass
class Hub:
    """What the hub has, and what it was asked for.

    Attributes:
        models: Id -> repository.
        asked: (method, path) of each request.
        bytes: Of files' contents that it sent.
        fails: Status that everything is answered with, 0 for none.
        sending: Called with path and offset before each MiB of a file; False breaks the answer off.
    """

    models: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    fails: int = 0
    sending: Callable[[str, int], bool] = lambda path, offset: True
    tokens: set[str] = field(default_factory=set)
    address: str = ""

    def reset(self, *, models: bool = True) -> None:
        """Forget what was asked for, and what it has too unless `models` stay."""
        if models:
            self.models.clear()
        self.asked.clear()
        self.tokens.clear()
        self.bytes = self.fails = 0
        self.sending = lambda path, offset: True

    def downloads(self) -> list[str]:
        """Paths of files whose content was asked for."""
        return [
            path.partition("/resolve/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path
        ]


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of a folder, as a commit takes it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub that listens until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class says so
        """Nothing: tests read `Hub.asked`."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path).lstrip("/")
        self.hub.asked.append((self.command, path))
        if token := self.headers.get("authorization"):
            self.hub.tokens.add(token.removeprefix("Bearer "))
        if self.hub.fails:
            return self._send(self.hub.fails, b"out of order")
        if match := re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            model, kind, revision = match[1], match[2], match[3] or "main"
        elif match := re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            model, kind, revision = match[1], "resolve", match[2]
        else:
            return self._send(404, b"")
        repository = self.hub.models.get(model)
        if not self._may_read(repository) or repository is None:
            return None
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        files = repository.commits[commit]
        if kind == "resolve":
            return self._file(match[3], files.get(match[3]), commit)
        if kind == "tree":
            recursive = "recursive" in parse_qs(url.query)
            assert recursive, "the library asks for the whole tree"
            return self._json([_entry(name, content) for name, content in files.items()])
        return self._json({"id": model, "sha": commit, "siblings": [{"rfilename": name} for name in files]})

    def _may_read(self, repository: Repository | None) -> bool:
        given = self.headers.get("authorization", "")
        if repository is None:
            # A hub does not tell what is private from what is not there.
            code = 404 if given else 401
            self._send(code, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return False
        if repository.token is None or given == f"Bearer {repository.token}":
            return True
        if repository.gated:
            code = 403 if given else 401
            self._send(
                code, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted"}
            )
        else:
            code = 404 if given else 401
            self._send(code, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        return False

    def _file(self, name: str, content: bytes | None, commit: str) -> None:
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "No such file"})
        etag = f'"{_etag(content)}"'
        headers |= {"ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}
        wanted = _RANGE.fullmatch(self.headers.get("range", ""))
        if wanted is None:
            return self._send(200, content, headers, name)
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(206, content[first : last + 1], headers, name, first)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, name: str = "", offset: int = 0
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(body), 1 << 20):
            if name and not self.hub.sending(name, offset + at):
                self.close_connection = True
                return
            try:
                self.wfile.write(body[at : at + (1 << 20)])
            except ConnectionError:
                self.close_connection = True
                return
            self.hub.bytes += len(body[at : at + (1 << 20)]) if name else 0


def _etag(content: bytes) -> str:
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    lfs = {"lfs": {"oid": _etag(content), "size": len(content), "pointerSize": 134}} if len(content) >= LARGE else {}
    return {"type": "file", "path": name, "size": len(content), "oid": oid, **lfs}
