"""Out of memory: whose it is, and what would help. Errors are those that torch, CUDA's libraries and Linux raise."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from carryon_core.done import UsedModel
from carryon_core.pipelines import Diffusers
from carryon_worker import failures
from carryon_worker.failures import OutOfMemory, Shortage, UnitFailure
from carryon_worker.generators import loading, pipelines, placement, relief, shortage
from carryon_worker.generators.loading import Sources
from carryon_worker.generators.models import Located
from carryon_worker.generators.relief import Situation

GPU, HOST = Shortage.GPU, Shortage.HOST


class SafetensorError(Exception):
    """Named as that of the library, which raises it from Rust."""


def led_to(error: Exception, outer: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            raise outer from inner
    except Exception as made:  # noqa: BLE001 - it is what the test is given
        return made


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), GPU),
        (torch.OutOfMemoryError("anything"), GPU),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ..."), GPU),
        (RuntimeError("CUDA error: out of memory"), GPU),
        (RuntimeError("CUDA driver error: out of memory"), GPU),
        (RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB."), GPU),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), GPU),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), GPU),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), GPU),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), GPU),
        (MemoryError(), HOST),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
            HOST,
        ),
        (RuntimeError("unable to mmap 128 bytes from file <x>: Cannot allocate memory (12)"), HOST),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), HOST),
        (SafetensorError("Error while opening: Cannot allocate memory (os error 12)"), HOST),
        (led_to(MemoryError(), OSError("Unable to load weights")), HOST),
        (led_to(torch.OutOfMemoryError("x"), ValueError("the pipeline gave up")), GPU),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), None),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (ValueError("prompt 'CUDA out of memory' is too long"), None),
    ],
    ids=str,
)
def test_it_is_told_whose_memory_ran_out(error: Exception, whose: Shortage | None) -> None:
    assert failures.shortage(error) is whose
    failure = failures.of(error)
    assert isinstance(failure, OutOfMemory) is (whose is not None)
    assert failure.permanent is False
    assert failure.ends_worker is (whose is not None or isinstance(error, torch.AcceleratorError))


def test_a_failure_that_is_told_already_stays_what_it_is() -> None:
    told = led_to(MemoryError(), UnitFailure("Told", "so"))
    assert failures.of(told) is told


ALL = frozenset({"model", "group", "sequential", "layerwiseCasting", "tiling", "slicing"})
BIGGER = "a GPU with more memory (resources, nodeSelector)"
BLOCK = {"offload": "group", "groupOffload": {"level": "block", "blocksPerGroup": 2, "streams": True}}
LEAF = {"offload": "group", "groupOffload": {"level": "leaf", "streams": False}}
CAST = {"layerwiseCasting": "float8_e5m2"}


@pytest.mark.parametrize(
    ("place", "in_force", "possible", "helps"),
    [
        (
            "denoiser",
            {},
            ALL,
            ["memory.offload: model", "memory.layerwiseCasting: float8_e4m3fn", "memory.offload: group",
             "memory.offload: sequential"],
        ),
        (
            "vae",
            {},
            ALL,
            ["memory.tiling: true", "memory.slicing: true", "memory.offload: model",
             "memory.layerwiseCasting: float8_e4m3fn", "memory.offload: group", "memory.offload: sequential"],
        ),
        ("vae", {"tiling": True, "slicing": True, **LEAF, **CAST}, ALL, []),
        ("", {"tiling": True, **CAST}, ALL, ["memory.slicing: true", "memory.offload: model", "memory.offload: group",
                                             "memory.offload: sequential"]),
        ("denoiser", {"offload": "model"}, ALL, ["memory.layerwiseCasting: float8_e4m3fn", "memory.offload: group",
                                                 "memory.offload: sequential"]),
        ("denoiser", {"offload": "model", **CAST}, ALL, ["memory.offload: group", "memory.offload: sequential"]),
        ("denoiser", {**BLOCK, **CAST}, ALL, ["memory.groupOffload.level: leaf", "memory.offload: sequential"]),
        ("denoiser", {**LEAF, **CAST}, ALL, []),
        ("denoiser", {"offload": "sequential", **CAST}, ALL, []),
        ("loading", {}, frozenset({"sequential"}), ["memory.offload: sequential"]),
        ("vae", CAST, frozenset({"model", "sequential"}), ["memory.offload: model", "memory.offload: sequential"]),
    ],
)  # fmt: skip
def test_what_is_not_yet_used_would_help_the_gpu_cheapest_first(
    place: str, in_force: Mapping[str, Any], possible: frozenset[str], helps: list[str]
) -> None:
    said = relief.sentence(Situation(GPU, "cuda", place, in_force, possible, "bfloat16", ()))
    assert said.partition("cheapest first: ")[2] == "; ".join([*helps, BIGGER])


@pytest.mark.parametrize(
    ("target", "in_force", "dtype", "helps"),
    [
        ("cuda", {}, "bfloat16", []),
        ("cuda", {}, "float32", ["dtype: bfloat16"]),
        (
            "cuda",
            BLOCK,
            "float16",
            ["memory.groupOffload.streams: false, because they pin a copy of the weights",
             "memory.offload: none on a GPU that holds the model, because what is offloaded lies here"],
        ),
        (
            "cpu",
            {"tiling": True},
            "float32",
            ["dtype: bfloat16", "memory.slicing: true", "memory.layerwiseCasting: float8_e4m3fn",
             "a smaller width or num_frames"],
        ),
    ],
)  # fmt: skip
def test_what_would_help_the_host(target: str, in_force: Mapping[str, Any], dtype: str, helps: list[str]) -> None:
    said = relief.sentence(Situation(HOST, target, "", in_force, ALL, dtype, ("width", "num_frames")))
    assert said.partition("cheapest first: ")[2] == "; ".join(["more of it (resources.limits.memory)", *helps])


@pytest.mark.parametrize(("others", "told"), [(0, False), (2 * 2**30, False), (2 * 2**30 + 1, True)])
def test_what_cuda_itself_takes_is_no_other_program(others: int, told: bool) -> None:
    situation = Situation(GPU, "cuda", "vae", {}, ALL, "bfloat16", (), "", 0, 4 * 2**30, others)
    assert ("other programs hold" in relief.sentence(situation)) is told


def test_the_sentence_holds_the_numbers_and_what_is_in_force() -> None:
    said = relief.sentence(
        Situation(
            GPU, "cuda", "vae", BLOCK, ALL, "bfloat16", ("height",), "2.00 GiB", 2**29, 24 * 2**30, others=6 * 2**30
        )
    )
    assert said.startswith(
        "the GPU ran out of memory in the VAE (2.00 GiB asked for, 0.5 of 24.0 GiB free), with offload: group,"
        " groupOffload: {level: block, blocksPerGroup: 2, streams: true}. What would help, the cheapest first: a GPU of"
        " its own: other programs hold 6.0 GiB of this one; memory.tiling: true; "
    )
    assert said.endswith("; a smaller height; " + BIGGER)
    # A termination message holds it whole.
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, {}),
        ({"offload": "none", "tiling": False, "layerwiseCasting": "none", "compile": "none"}, {}),
        ({"conv3dFloat32": "auto"}, {}),
        ({"conv3dFloat32": "never", "slicing": None}, {}),
        ({"conv3dFloat32": "always", "tiling": True}, {"conv3dFloat32": "always", "tiling": True}),
        ({"offload": "model", "groupOffload": {}}, {"offload": "model"}),
    ],
)
def test_knobs_that_are_off_are_not_in_force(given: dict[str, Any], on: dict[str, Any]) -> None:
    assert placement.asked(placement.read(given)) == on


class NoMemory:
    """A pipeline's class whose weights can't be mapped."""

    @staticmethod
    def from_pretrained(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_a_model_that_does_not_fit_into_memory_is_no_bad_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "find", lambda name: NoMemory)
    found = Sources(Located(tmp_path, UsedModel(model="toy"), None), ())
    session: Any = SimpleNamespace(moved=lambda: None)
    with pytest.raises(OSError, match="Cannot allocate"):
        loading.load(Diffusers(model="/models/toy"), found, session)


def test_memory_that_runs_out_while_a_model_is_loaded_is_told_with_the_knobs_that_were_asked_for() -> None:
    error = led_to(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 MiB."), RuntimeError("x"))
    said = relief.sentence(shortage.look(GPU, error, None, "cuda", {"offload": "model"}, "bfloat16"))
    assert said.startswith("the GPU ran out of memory while the model was loaded, with offload: model. What would help")
    assert "memory.offload: group" in said


def test_the_memory_of_the_host_is_known() -> None:
    situation = shortage.look(HOST, MemoryError(), None, "cpu", {}, "float32")
    assert situation.free is not None
    assert situation.total is not None
    assert 0 <= situation.free < situation.total
