"""For whom a journal holds: whatever could change a bit is a field, and nobody's own words stand in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

from carryon_core.done import Misfit
from carryon_worker.journal import fingerprint, interception, surroundings


@pytest.fixture
def pipeline() -> Any:
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    scheduler = diffusers.DDIMScheduler(steps_offset=1)
    return SimpleNamespace(components={"unet": unet, "vae": vae, "scheduler": scheduler, "safety_checker": None})


def differing(before: Any, after: Any) -> list[str]:
    return [each.partition(" ")[0] for each in fingerprint.differing(before, after)]


def cast(pipeline: Any) -> None:
    pipeline.components["unet"].to(torch.bfloat16)


def tile(pipeline: Any) -> None:
    pipeline.components["vae"].enable_tiling()


def slice_(pipeline: Any) -> None:
    pipeline.components["vae"].enable_slicing()


def other_sampler(pipeline: Any) -> None:
    pipeline.components["scheduler"] = diffusers.EulerDiscreteScheduler.from_config(
        pipeline.components["scheduler"].config
    )


def other_shift(pipeline: Any) -> None:
    pipeline.components["scheduler"] = diffusers.DDIMScheduler(steps_offset=0)


def other_attention(pipeline: Any) -> None:
    pipeline.components["unet"].set_attn_processor(AttnProcessor())


def compiled(pipeline: Any) -> None:
    pipeline.components["unet"].mid_block._compiled_call_impl = lambda: None


def adapter(pipeline: Any) -> None:
    pipeline.components["unet"].lora = torch.nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (cast, "unet.dtype"),
        (tile, "vae.use_tiling"),
        (slice_, "vae.use_slicing"),
        (other_sampler, "scheduler"),
        (other_shift, "scheduler.steps_offset"),
        (other_attention, "unet.attention"),
        (compiled, "unet.compiled"),
        (adapter, "unet.weights"),
    ],
)
def test_what_is_done_to_a_pipeline_shows(pipeline: Any, change: Any, field: str) -> None:
    before = surroundings.pipeline(pipeline, {})
    change(pipeline)
    assert differing(before, surroundings.pipeline(pipeline, {}))[0] == field


def test_catching_its_calls_does_not(pipeline: Any) -> None:
    before = surroundings.pipeline(pipeline, {})
    interception.attach(pipeline.components)
    assert surroundings.pipeline(pipeline, {}) == before
    assert before["unet"] == "diffusers.models.unets.unet_2d_condition.UNet2DConditionModel"


def test_memory_knobs_show_by_their_path(pipeline: Any) -> None:
    before, after = (surroundings.pipeline(pipeline, knobs) for knobs in ({}, {"offload": "model"}))
    assert fingerprint.differing(before, after) == ["memory.offload absent -> model"]


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_the_number_of_threads_shows_because_sums_depend_on_it(threads: int) -> None:
    before = surroundings.machine("cpu")
    torch.set_num_threads(threads + 1)
    assert fingerprint.differing(before, surroundings.machine("cpu")) == [f"threads {threads} -> {threads + 1}"]


def test_switches_that_choose_kernels_show(monkeypatch: pytest.MonkeyPatch) -> None:
    before = surroundings.machine("cpu")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert differing(before, surroundings.machine("cpu")) == ["NVIDIA_TF32_OVERRIDE"]
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
    assert differing(before, surroundings.machine("cpu")) == ["tf32", "cudnn"]


def test_libraries_come_first_in_what_is_asked_for() -> None:
    fields = surroundings.libraries()
    assert list(fields)[:2] == ["journal", "diffusers"]
    assert fields["torch build"] == torch.version.git_version


def test_arguments_show_and_prompts_do_not(tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 2), "navy")
    params = {"prompt": "dunes at dawn", "steps": 8, "scale": 1.5, "image": picture, "more": ["night", {"a": None}]}
    fields = surroundings.call(params, 7, tmp_path)
    assert (fields["seed"], fields["params.steps"], fields["params.scale"]) == (7, 8, 1.5)
    assert "dunes" not in str(fields)
    assert "night" not in str(fields)
    changes: list[tuple[str, Any]] = [
        ("prompt", "dunes at noon"),
        ("image", Image.new("RGB", (2, 2), "gold")),
        ("more", ["night", {"a": 0}]),
        ("scale", float("inf")),
    ]
    for name, value in changes:
        assert differing(fields, surroundings.call({**params, name: value}, 7, tmp_path)) == [f"params.{name}"]


def test_files_count_by_content_wherever_an_attempt_has_them(tmp_path: Path) -> None:
    fields = []
    for number, content in enumerate((b"tone", b"tone", b"noise")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "audio.wav").write_bytes(content)
        path = str(folder / "audio.wav")
        fields.append(surroundings.call({"audio": path, "more": [path]}, 7, folder))
    assert fields[0] == fields[1]
    assert differing(fields[0], fields[2]) == ["params.audio", "params.more"]


def test_no_text_that_names_an_attempts_folder_keeps_the_next_one_from_going_on(tmp_path: Path) -> None:
    fields = []
    for number, content, strength in ((1, b"tone", 1), (2, b"tone", 1), (3, b"noise", 1), (4, b"tone", 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "pose.bin"
        path.write_bytes(content)
        control = {"pose": str(path), "inner": {"all": [str(path)]}, str(path): strength, "where": path.as_uri()}
        fields.append(surroundings.call({"control": control}, 7, folder))
    assert fields[0] == fields[1]
    assert differing(fields[0], fields[2]) == differing(fields[0], fields[3]) == ["params.control"]


def test_fields_that_mean_something_else_make_another_fingerprint() -> None:
    alike: list[dict[str, Any]] = [{"a": 1}, {"a": True}, {"a": "1"}, {"a": None}, {}, {"b": 1}]
    assert len({fingerprint.of(fields) for fields in alike}) == len(alike)
    assert fingerprint.of({"a": 1, "b": 2}) == fingerprint.of({"b": 2, "a": 1})


def test_each_field_is_of_the_kind_that_it_is_counted_under(pipeline: Any, tmp_path: Path) -> None:
    weights = {
        "revision": "4" * 40,
        "sha256": "ab",
        "files": "cd",
        "adapters": "a",
        "adapters.a": "ef",
        "adapters.a.scale": 1.0,
    }
    parts = {
        Misfit.LIBRARY: surroundings.libraries(),
        Misfit.PIPELINE: surroundings.pipeline(pipeline, {"tiling": True}),
        Misfit.MODEL: {"model": "m", **weights},
        Misfit.CALL: {
            **surroundings.call({"prompt": "dunes", "height": 64}, 7, tmp_path),
            "extend.history": "ab",
            "temperature": 0.7,
        },
    }
    machine = surroundings.machine("cpu")
    parts[Misfit.MACHINE] = {name: machine[name] for name in ("device", "threads")}
    parts[Misfit.SWITCHES] = {name: value for name, value in machine.items() if name not in parts[Misfit.MACHINE]}
    for kind, fields in parts.items():
        assert fields
        for name in fields:
            assert fingerprint.misfit(fields, {**fields, name: "9.9.9" if kind is Misfit.LIBRARY else 1e9}) is kind, (
                name
            )
            assert fingerprint.misfit(fields, {each: fields[each] for each in fields if each != name}) is kind, name


def test_of_several_kinds_the_first_that_a_person_would_ask_for_counts() -> None:
    old = {"diffusers": "0.42.1", "device": "NVIDIA L4, 8.9, 58 SM", "seed": 1}
    assert fingerprint.misfit(old, {**old, "seed": 2, "device": "NVIDIA T4, 7.5, 40 SM"}) is Misfit.MACHINE
    assert fingerprint.misfit(old, {**old, "seed": 2, "diffusers": "0.43.0"}) is Misfit.LIBRARY
    assert fingerprint.misfit({}, {}) is Misfit.DAMAGED
