"""The parts of generators that need no torch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
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

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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


class Here:
    """As much of a session as a model needs."""

    def __init__(self, cache: Path, store: Store) -> None:
        self.models, self.models_limit = cache, None
        self.store = store

    def open_bucket(self, uri: str) -> Store:
        return self.store

    def pin(self, model: str, revision: str | None, resolve: Callable[[], str]) -> str:
        raise AssertionError("nobody asks a hub here")

    def moved(self) -> None: ...


def no_hub(model: str, commit: str, folder: Path) -> str:
    raise AssertionError("nobody asks a hub here")


def where(model: str, here: Here, revision: str | None = None) -> models.Located:
    return models.locate(model, revision, here, "all", no_hub)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "cache", open_store(StoreConfig(uri=(tmp_path / "bucket").as_uri())))


def test_where_a_model_is(here: Here, tmp_path: Path) -> None:
    spaced = tmp_path / "a model"
    spaced.mkdir()
    assert where(str(spaced), here).path == where(spaced.as_uri(), here).path == spaced
    here.store.put("model_index.json", b"{}", content_type="application/json")
    found = where("s3://models/tiny", here)
    assert (found.path / "model_index.json").read_bytes() == b"{}"
    assert found.fields == {"model": "s3://models/tiny", "sha256": found.used.sha256}
    for model in ("/nowhere", "./nowhere", "~nobody/x", "file:///nowhere"):
        with pytest.raises(BadRequest, match="there is no such folder on this worker; is its volume mounted"):
            where(model, here)
    for model in ("a/b/c", "no spaces", "gs://bucket/x", "-x"):
        with pytest.raises(BadRequest, match=r"can be no id on a hub: write /folder"):
            models.locate(model, COMMIT, here, "all", no_hub)
    for model in (str(spaced), "s3://models/tiny"):
        with pytest.raises(BadRequest, match="has no revision: only models of a hub have; leave it out"):
            where(model, here, "main")


def test_a_model_in_a_folder_is_known_by_its_files(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"weights")
    before = where(str(folder), here).fields
    assert where(str(folder), here).fields == before
    assert set(before or ()) == {"model", "files"}
    os.utime(folder / "weights.safetensors", (1, 1))
    assert where(str(folder), here).fields != before


@pytest.mark.parametrize(
    ("names", "weight_name", "chosen"),
    [
        (["a.safetensors", "README.md"], None, "a.safetensors"),
        (["a.safetensors", "pytorch_lora_weights.safetensors"], None, "pytorch_lora_weights.safetensors"),
        (["a.safetensors", "b/c.safetensors"], "b/c.safetensors", "b/c.safetensors"),
    ],
)
def test_the_file_of_an_adapter(
    here: Here, tmp_path: Path, names: list[str], weight_name: str | None, chosen: str
) -> None:
    for name in names:
        here.store.put(name, name.encode(), content_type="application/octet-stream")
        (tmp_path / "loras" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "loras" / name).write_bytes(name.encode())
    for model in ("s3://loras/x", str(tmp_path / "loras"), (tmp_path / "loras").as_uri()):
        found = models.locate_file(model, weight_name, None, here)
        assert found.path.read_bytes() == chosen.encode()
        assert found.used.sha256 == hashlib.sha256(chosen.encode()).hexdigest()
    for model in (f"s3://loras/x/{names[0]}", str(tmp_path / "loras" / names[0])):
        assert models.locate_file(model, None, None, here).path.read_bytes() == names[0].encode()


@pytest.mark.parametrize(
    ("names", "weight_name", "message"),
    [
        (["a.bin"], None, "has no file that ends in .safetensors; of these there are none: nothing else is read"),
        (["a.bin", "b.safetensors"], "c.safetensors", "has no file c.safetensors; of these there are b.safetensors"),
        (["a.safetensors", "b.safetensors"], None, "several .safetensors files: name one in weightName; there are a"),
    ],
)
def test_what_is_no_file_of_an_adapter(
    here: Here, tmp_path: Path, names: list[str], weight_name: str | None, message: str
) -> None:
    (tmp_path / "loras").mkdir()
    for name in names:
        here.store.put(name, b"x", content_type="application/octet-stream")
        (tmp_path / "loras" / name).write_bytes(b"x")
    for model in ("s3://loras/x", str(tmp_path / "loras")):
        with pytest.raises(BadRequest, match=message):
            models.locate_file(model, weight_name, None, here)


def test_an_adapter_that_could_be_a_pickle_is_refused(here: Here, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(BadRequest, match="nothing is unpickled"):
        models.locate_file(str(tmp_path / "a.bin"), None, None, here)


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


def test_a_worker_that_runs_programs_imports_no_torch() -> None:
    """It takes seconds, which a unit of a second's work would pay each time."""
    look = (
        "import sys, carryon_worker.__main__, carryon_worker.runner; from carryon_worker import generators;"
        "[generators.create(name) for name in ('command', 'http')]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", look], timeout=60).returncode == 0
