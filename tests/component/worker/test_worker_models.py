"""Models of a bucket in real workers, through a network that is slow or stands still."""

from __future__ import annotations

import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from carryon_core.messages import ExitCode, StoreConfig
from carryon_store import Store, Stores
from carryon_worker.modelcache import buckets
from carryon_worker.modelcache.entries import Cache
from forked_workers import Forge
from worker_runs import Runs

PICTURE = {"prompt": "dunes at dawn", "height": 16, "width": 16, "num_inference_steps": 2}
PIECE = 64 << 10


@dataclass
class Network:
    """Stands between a worker and its bucket.

    Attributes:
        pace: Seconds that a byte of an answer takes.
        most: Bytes of answers after which nothing comes any more; None: everything comes.
        came: Bytes of answers.
    """

    upstream: tuple[str, int]
    pace: float = 0.0
    most: int | None = None
    came: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def listen(self) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        self._open.append(server)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                bucket = socket.create_connection(self.upstream)
                self._open += [client, bucket]
                threading.Thread(target=self._pass, args=(client, bucket, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(bucket, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if answers:
                    time.sleep(self.pace * len(piece))
                    self.came += len(piece)
                    if self.most is not None and self.came > self.most:
                        return
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def network(moto_endpoint: str) -> Iterator[Network]:
    parts = urlsplit(moto_endpoint)
    made = Network((parts.hostname or "", parts.port or 0))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tiny(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    forge.build(folder, "sd")
    return folder / "sd"


@dataclass
class Far(Runs):
    """Workers whose model is in a bucket."""

    bucket: Store | None = None

    def unit(self, index: int, **more: Any) -> Any:
        assert self.bucket is not None
        config = {"model": self.bucket.uri, "dtype": "float32", "params": PICTURE, **more}
        return self.bench.unit(index, {"diffusers": config}).model_copy(update={"seed": 7})


@pytest.fixture
def far(bench: Any, forge: Forge, tiny: Path, stores: Stores, moto_config: StoreConfig, network: Network) -> Far:
    bucket = stores.open(moto_config)
    for path in tiny.rglob("*"):
        if path.is_file():
            bucket.put(str(path.relative_to(tiny)), path, content_type="application/octet-stream")
    return Far(bench, forge, env={"AWS_ENDPOINT_URL_S3": network.listen()}, bucket=bucket)


def test_bytes_that_come_are_movement(far: Far, network: Network, stores: Stores) -> None:
    assert far.bucket is not None
    far.bucket.put("tokenizer/padding.json", os.urandom(4 << 20), content_type="application/octet-stream")
    slow = stores.open(StoreConfig(uri=far.bucket.uri, endpoint=far.env["AWS_ENDPOINT_URL_S3"]))
    network.pace = 2.0 / (4 << 20)
    moves: list[float] = []
    buckets.fetch(slow.uri, slow, Cache(far.bench.root / "cache"), lambda: moves.append(time.monotonic()), None)
    gaps = [after - before for before, after in pairwise(moves)]
    assert max(gaps) < (moves[-1] - moves[0]) / 2


@pytest.mark.slow
def test_a_slow_download_is_movement_and_one_that_stands_still_is_not(far: Far, network: Network) -> None:
    # Imports alone may take seconds.
    size, stall = 4 << 20, 15.0
    assert far.bucket is not None
    far.bucket.put("tokenizer/padding.json", os.urandom(size), content_type="application/octet-stream")
    network.most = size // 2
    stuck = far.run(far.unit(0), stall_seconds=stall)
    assert stuck.code == ExitCode.STALLED, stuck.stderr
    assert network.came > network.most
    assert "no movement for 15 s while loading" in stuck.stderr
    network.most, network.pace = None, stall * 1.5 / size
    began = time.monotonic()
    ended = far.run(far.unit(0), stall_seconds=stall)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert time.monotonic() - began > stall
    (used,) = far.bench.done(far.unit(0)).models
    assert used.model_dump(exclude_defaults=True).keys() == {"model", "sha256"}


def test_a_model_from_a_bucket_makes_what_the_folder_makes_and_is_not_fetched_for_each_pod(
    far: Far, network: Network, tiny: Path
) -> None:
    first, second = far.unit(0), far.unit(1)
    assert far.run(first).code == ExitCode.DONE
    came = network.came
    assert far.run(second).code == ExitCode.DONE
    # But for a listing.
    assert network.came - came < 20_000
    local = far.unit(2, model=str(tiny))
    assert far.run(local).code == ExitCode.DONE
    pictures = [far.bench.artifacts(unit)["image.png"] for unit in (first, second)]
    assert pictures[0] == pictures[1]
    assert pixels(pictures[0]) == pixels(far.bench.artifacts(local)["image.png"])


def test_a_model_that_was_damaged_in_the_cache_fails_once_and_is_fetched_again(far: Far) -> None:
    unit = far.unit(0)
    assert far.run(unit).code == ExitCode.DONE
    far.forget()
    (weights,) = (far.bench.root / "cache").glob("*/vae/*.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(b"\xff" * len(content))
    ended = far.run(unit)
    assert ended.code == ExitCode.SOME_FAILED
    failed = ended.termination.units[0]
    assert (failed.reason, failed.permanent) == ("ModelDamaged", False)
    assert "was damaged in the cache; it is fetched again" in failed.message
    assert far.run(unit).code == ExitCode.DONE
    assert weights.read_bytes() == content


def test_a_bucket_that_holds_no_pipeline_is_a_bad_request(far: Far) -> None:
    assert far.bucket is not None
    far.bucket.delete("model_index.json")
    ended = far.run(far.unit(0))
    assert ended.code == ExitCode.BAD_REQUEST
    assert "is no diffusers pipeline: it has no model_index.json" in ended.stderr
    shutil.rmtree(far.bench.root / "cache")
    (far.bench.root / "cache").write_bytes(b"")
    ended = far.run(far.unit(0))
    assert ended.termination.units[0].reason == "ModelCacheUnusable"


def pixels(picture: bytes) -> bytes:
    """Without what the file says of its model."""
    return Image.open(io.BytesIO(picture)).tobytes()
