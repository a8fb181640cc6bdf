"""The parts of generators that need no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import Store, open_store
from carryon_worker.failures import BadRequest
from carryon_worker.generators import arguments, models
from carryon_worker.generators.command import _parse
from carryon_worker.generators.cpus import available_cpus


class Sample:
    def __call__(
        self,
        prompt: str | list[str],
        height: Optional[int] = None,  # noqa: UP045 - what many pipelines say
        guidance_scale: float = 5.0,
        clean: bool = True,
        image: Any = None,
        generator: Any = None,
        **kwargs: Any,
    ) -> None: ...


@pytest.mark.parametrize(
    "params",
    [
        {"prompt": "x"},
        {"prompt": ["x", "y"], "height": None, "guidance_scale": 3, "image": object()},
        {"prompt": "x", "height": 8, "clean": False},
    ],
)
def test_what_fits_a_pipeline_is_let_through(params: Any) -> None:
    arguments.check("Sample", params, arguments.accepted(Sample.__call__))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Sample needs params.prompt"),
        ({"prompt": "x", "heigth": 8}, "did you mean height?"),
        ({"prompt": "x", "seed": 8}, "has no argument seed: it takes clean, guidance_scale, height, image, prompt"),
        ({"prompt": "x", "height": True}, "params.height of Sample must be a whole number, not bool"),
        ({"prompt": "x", "height": 8.5}, "must be a whole number, not float"),
        ({"prompt": "x", "guidance_scale": "5"}, "must be a number, not str"),
        ({"prompt": "x", "clean": 1}, "must be true or false, not int"),
        ({"prompt": "x", "generator": 1}, "params.generator is set by the worker"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_without_quoting_values(params: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message.replace("?", r"\?")):
        arguments.check("Sample", params, arguments.accepted(Sample.__call__))


class Slow:
    """A bucket that counts downloads, each of which waits for the gate."""

    def __init__(self, store: Store, gate: threading.Event) -> None:
        self.store, self.gate, self.downloads = store, gate, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def download(self, key: str, path: Path) -> None:
        self.downloads += 1
        assert self.gate.wait(10)
        self.store.download(key, path)


class Here:
    """As much of a session as a model needs."""

    def __init__(self, cache: Path, open_bucket: Callable[[str], Any]) -> None:
        self.models, self.open_bucket = cache, open_bucket
        self.watched: list[bool] = []

    def watch(self, watched: bool) -> None:
        self.watched.append(watched)


def test_a_model_in_a_bucket_is_downloaded_once_for_all_workers_and_again_when_it_changes(tmp_path: Path) -> None:
    bucket = open_store(StoreConfig(uri=(tmp_path / "bucket").as_uri()))
    bucket.put("model_index.json", b"{}", content_type="application/json")
    bucket.put("unet/weights.safetensors", b"1234", content_type="application/octet-stream")
    slow = Slow(bucket, threading.Event())
    sessions: list[Any] = [Here(tmp_path / "cache", lambda uri: slow) for _ in range(3)]
    found: list[tuple[str, bool]] = []
    threads = [
        threading.Thread(target=lambda s: found.append(models.locate("s3://models/tiny", s)), args=(session,))
        for session in sessions
    ]
    for thread in threads:
        thread.start()
    slow.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(set(found)) == 1
    assert slow.downloads == 2
    folder, local = found[0]
    assert local
    assert (Path(folder) / "unet" / "weights.safetensors").read_bytes() == b"1234"
    assert all(session.watched == [False, True] for session in sessions)

    bucket.put("unet/weights.safetensors", b"5678", content_type="application/octet-stream")
    changed, _ = models.locate("s3://models/tiny", sessions[0])
    assert (Path(changed) / "unet" / "weights.safetensors").read_bytes() == b"5678"
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_download_that_was_killed_leaves_no_model_behind(tmp_path: Path) -> None:
    bucket = open_store(StoreConfig(uri=(tmp_path / "bucket").as_uri()))
    bucket.put("model_index.json", b"{}", content_type="application/json")
    here: Any = Here(tmp_path / "cache", lambda uri: bucket)
    folder = Path(models.locate("s3://models/tiny", here)[0])
    left = folder.rename(folder.with_suffix(".0123.part"))
    assert Path(models.locate("s3://models/tiny", here)[0]) == folder
    assert not left.exists()


def test_where_a_model_is(tmp_path: Path) -> None:
    bucket = open_store(StoreConfig(uri=(tmp_path / "none").as_uri()))
    here: Any = Here(tmp_path, lambda uri: bucket)
    spaced = tmp_path / "a model"
    spaced.mkdir()
    assert models.locate(str(spaced), here) == (str(spaced), True)
    assert models.locate(spaced.as_uri(), here) == (str(spaced), True)
    assert models.locate("some-body/some-model", here) == ("some-body/some-model", False)
    for model in ("/nowhere", "./nowhere", "file:///nowhere", "s3://models/none"):
        with pytest.raises(BadRequest, match=r"no such folder|nothing in the bucket"):
            models.locate(model, here)


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("3/8", (3, 8)),
        (" 3 / 8 ", (3, 8)),
        ("3", (3, None)),
        ('{"step": 3, "steps": 8, "loss": 0.1}', (3, 8)),
        ('{"step": 3}', (3, None)),
        ('{"step": "3"', None),
        ("working on it", None),
        ("", None),
        ("[1, 2]", None),
    ],
)
def test_what_a_program_reports(line: str, step: Any) -> None:
    assert _parse(line) == step


def test_cpus_are_counted_as_the_process_may_use_them() -> None:
    import os

    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))
