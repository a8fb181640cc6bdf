"""Conv3d in float32, on a machine that refuses it in bfloat16 as old GPUs do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import zoo
from carryon_core.memory import GroupOffload, Memory
from carryon_worker.generators import conv3d, placement

FAMILIES = ["wan", "hunyuan", "cogvideo", "ltx"]
ULP = 2.0**-8
"""Of bfloat16 for values up to 1, which pixels are."""


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Like cuDNN below compute capability 8.0."""
    convolve = torch.nn.functional.conv3d

    def refuse(given: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if given.dtype is torch.bfloat16:
            raise NotImplementedError("Could not run 'aten::slow_conv3d_forward' on CUDA")
        return convolve(given, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "conv3d", refuse)
    yield
    monkeypatch.undo()


def build(family: str) -> Any:
    """A pipeline of the zoo in bfloat16; nothing of it is made louder, rounding least of all."""
    entry, sampler = zoo.parse(family)
    torch.manual_seed(3)
    with torch.no_grad():
        pipeline = entry.build(sampler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.bfloat16)


def made(pipeline: Any, family: str) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        called = {**zoo.ENTRIES[family].params, "num_inference_steps": 2, "output_type": "pt"}
        result = pipeline(**called, generator=torch.Generator().manual_seed(0))
    frames = result.frames.float()
    assert torch.isfinite(frames).all()
    return frames


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """What comes out where bfloat16 convolves."""
    return {family: made(build(family), family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_video_model_runs_where_bfloat16_does_not_convolve_and_paints_the_same(
    old_gpu: None, plain: dict[str, torch.Tensor], family: str
) -> None:
    pipeline = build(family)
    with pytest.raises(NotImplementedError, match="slow_conv3d_forward"):
        made(pipeline, family)
    done = placement.place(pipeline, "cpu", Memory(conv3d_float32="always"), "bfloat16")
    assert done == {"conv3dFloat32": True}
    assert {part.weight.dtype for part in pipeline.vae.modules() if isinstance(part, torch.nn.Conv3d)} == {
        torch.bfloat16
    }
    difference = (made(pipeline, family) - plain[family]).abs()
    # Dozens of layers in a row round otherwise, each by at most one.
    assert difference.mean().item() <= ULP / 2
    assert difference.max().item() <= 4 * ULP
    assert plain[family].std() > 10 * ULP


@pytest.mark.parametrize(
    "memory",
    [
        {"offload": "group", "group_offload": GroupOffload(level="leaf")},
        {"layerwise_casting": "float8_e4m3fn"},
        {"offload": "group", "layerwise_casting": "float8_e5m2", "tiling": True},
    ],
)
@pytest.mark.parametrize("family", ["wan", "cogvideo"])
def test_it_goes_with_what_moves_and_casts_weights(old_gpu: None, family: str, memory: dict[str, Any]) -> None:
    pipeline = build(family)
    done = placement.place(pipeline, "cpu", Memory(conv3d_float32="always", **memory), "bfloat16")
    assert done["conv3dFloat32"]
    first = made(pipeline, family)
    assert torch.equal(made(pipeline, family), first)


@pytest.mark.parametrize(
    ("setting", "dtype", "capability", "needed"),
    [
        (None, "bfloat16", (7, 5), True),
        ("auto", "bfloat16", (7, 0), True),
        ("auto", "bfloat16", (8, 0), False),
        ("auto", "bfloat16", (9, 0), False),
        ("auto", "bfloat16", (10, 0), False),
        ("auto", "bfloat16", None, False),
        ("auto", "float16", (7, 5), False),
        (None, "float32", (6, 1), False),
        ("always", "bfloat16", None, True),
        ("always", "bfloat16", (9, 0), True),
        ("always", "float32", (7, 5), False),
        ("never", "bfloat16", (7, 5), False),
    ],
)
def test_it_is_done_for_bfloat16_on_old_gpus_and_where_it_is_asked_for(
    setting: str | None, dtype: str, capability: tuple[int, int] | None, needed: bool
) -> None:
    assert conv3d.needed(setting, dtype, capability) is needed


def test_a_machine_without_gpu_is_not_asked_for_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise AssertionError("there is no GPU to ask")

    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    assert conv3d.capability("cpu") is None


def test_padding_of_another_kind_and_other_types_are_left_as_they_are(old_gpu: None) -> None:
    layer = torch.nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular", bias=False, dtype=torch.bfloat16)
    other = torch.nn.Conv3d(2, 2, 3)
    given = torch.rand(1, 2, 4, 4, 4)
    expected, exact = other(given), torch.nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular", bias=False)
    exact.load_state_dict(layer.state_dict())
    assert conv3d.compute_in_float32([torch.nn.ModuleList([layer, other]), layer]) == 2
    assert torch.equal(other(given), expected)
    assert torch.equal(layer(given.bfloat16()), exact(given.bfloat16().float()).bfloat16())
