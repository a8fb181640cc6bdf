"""LoRA adapters and shared loads: real workers, a tiny pipeline, adapters with random weights."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from carryon_core.messages import Cadence, ExitCode
from forked_workers import Fate, Forge
from worker_runs import Attempt, Runs

STEPS = 6
PICTURE = {"prompt": "dunes at dawn", "height": 16, "width": 16, "num_inference_steps": STEPS}
OFTEN, NEVER = Cadence(every_seconds=0.02), Cadence(enabled=False)
ATTENTION = re.compile(r"(.*attn[12]\.to_[qkv])\.weight")


@pytest.fixture(scope="module")
def tiny(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    forge.build(folder, "sd")
    return folder / "sd"


class Studio(Runs):
    """A pipeline, and units of it with adapters."""

    model: Path

    def unit(self, index: int, *adapters: dict[str, Any], **more: Any) -> Any:
        config = {"model": str(self.model), "dtype": "float32", "adapters": list(adapters), **more}
        return self.bench.unit(index, {"diffusers": {"params": PICTURE, **config}}).model_copy(update={"seed": 7})

    def lora(self, name: str, seed: int, prefix: str = "unet.", rank: int = 2, wider: int = 0) -> Path:
        """Write an adapter of the attention's weights: (rank, in) and (out, rank)."""
        random = np.random.default_rng(seed)
        weights: dict[str, Any] = {}
        for key, value in load_file(self.model / "unet/diffusion_pytorch_model.safetensors").items():
            if match := ATTENTION.fullmatch(key):
                out, inner = value.shape
                down = random.normal(size=(rank, inner + wider)).astype(np.float32)
                up = random.normal(size=(out, rank)).astype(np.float32)
                weights[f"{prefix}{match[1]}.lora_A.weight"] = down
                weights[f"{prefix}{match[1]}.lora_B.weight"] = up
        assert weights
        path: Path = self.bench.root / "loras" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file(weights, path)
        return path

    def picture(self, unit: Any) -> bytes:
        (made,) = self.bench.artifacts(unit).values()
        return bytes(made)

    def made(self, unit: Any, **more: Any) -> Attempt:
        ended = self.run(unit, **more)
        assert ended.code == ExitCode.DONE, ended.stderr
        return ended


@pytest.fixture
def studio(bench: Any, forge: Forge, tiny: Path) -> Studio:
    made = Studio(bench, forge)
    made.model = tiny
    return made


def test_units_of_one_pod_get_their_own_adapters_and_no_others(studio: Studio) -> None:
    style, detail = studio.lora("style", 1), studio.lora("detail", 2)
    strong = {"model": str(style), "name": "style"}
    units = [
        studio.unit(0),
        studio.unit(1, strong),
        studio.unit(2, {**strong, "scale": 0.25}),
        studio.unit(3, strong, {"model": str(detail.parent), "weightName": "detail.safetensors", "scale": -0.5}),
        studio.unit(4),
        # Another name for the same weights is another pipeline, but not another picture.
        studio.unit(5, {"model": style.as_uri()}),
        studio.unit(6, {"model": style.as_uri()}),
    ]
    together = studio.run(*units)
    assert together.code == ExitCode.DONE, together.stderr
    assert together.loads == 6
    pictures = [studio.picture(unit) for unit in units]
    assert len(set(pictures)) == 4
    assert pictures[0] == pictures[4]
    assert pictures[1] == pictures[5] == pictures[6]
    recorded = [each.model_dump(exclude_defaults=True) for each in studio.bench.done(units[3]).models]
    assert recorded == [
        {"model": str(studio.model)},
        {"model": str(style), "name": "style", "scale": 1.0, "sha256": digest(style)},
        {"model": str(detail.parent), "name": "_1", "scale": -0.5, "sha256": digest(detail)},
    ]
    assert "peft" in studio.bench.done(units[3]).versions
    # In a pod of its own, each is the same.
    studio.forget()
    for unit in units[1:4]:
        studio.made(unit)
        assert studio.picture(unit) == pictures[unit.index]


def test_units_of_one_pod_share_one_load_whatever_fails_between_them(studio: Studio) -> None:
    style = {"model": str(studio.lora("style", 1))}
    wrong = {**PICTURE, "guidance_scale": 1e38}
    units = [
        studio.unit(0, style),
        studio.unit(1, style, params=wrong),
        studio.unit(2, style, params={**PICTURE, "hieght": 3}),
        studio.unit(3, style, params={**PICTURE, "prompt": "night"}),
        studio.unit(4, style, output={"fps": 4}),
    ]
    ended = studio.run(*units)
    assert ended.code == ExitCode.SOME_FAILED
    failed = [each.reason for each in ended.termination.units if each.outcome == "failed"]
    assert failed == ["NotANumber", "BadRequest"]
    assert ended.loads == 1
    assert studio.picture(units[4]) == studio.picture(units[0])
    made = studio.picture(units[3])
    studio.forget()
    studio.made(units[3])
    assert studio.picture(units[3]) == made


def test_a_unit_with_adapters_that_is_killed_goes_on_to_the_same_bits(studio: Studio) -> None:
    adapters = [{"model": str(studio.lora(name, n)), "name": name, "scale": 0.7} for n, name in enumerate("ab")]
    unit = studio.unit(0, *adapters)
    total = studio.made(unit, checkpoint=NEVER).computed
    expected = studio.picture(unit)
    studio.forget()
    killed = [
        studio.run(unit, checkpoint=OFTEN, fate=Fate(kill=kill, at=2, pause=0.1))
        for kill in (signal.SIGTERM, signal.SIGKILL)
    ]
    assert [each.code for each in killed] == [ExitCode.INTERRUPTED, -signal.SIGKILL]
    last = studio.made(unit, checkpoint=OFTEN)
    assert studio.picture(unit) == expected
    resume = studio.bench.done(unit).resume
    assert (resume.refused, resume.calls) == ("", total)
    assert resume.replayed >= 3
    assert last.computed == total - resume.replayed


def test_a_journal_made_with_other_weights_of_an_adapter_is_refused_by_its_name(studio: Studio) -> None:
    path = studio.lora("style", 1)
    before = digest(path)
    unit = studio.unit(0, {"model": str(path), "name": "style", "scale": 0.5})
    kept = Fate(kill=signal.SIGTERM, at=3)
    assert studio.run(unit, checkpoint=OFTEN, fate=kept).code == ExitCode.INTERRUPTED
    journal = {info.key: studio.bench.store.get(info.key) for info in studio.bench.store.list()}
    shutil.move(studio.lora("other", 2), path)
    table = [
        (unit, f"adapters.style {before} -> {digest(path)}, 2 steps lost"),
        (
            studio.unit(0, {"model": str(path), "name": "style", "scale": 0.6}),
            f"adapters.style {before} -> {digest(path)}, adapters.style.scale 0.5 -> 0.6, 2 steps lost",
        ),
        (studio.unit(0, {"model": str(path), "name": "look", "scale": 0.5}), "adapters style -> look"),
    ]
    for wanted, reason in table:
        studio.forget()
        for key, content in journal.items():
            studio.bench.store.put(key, content, content_type="application/octet-stream")
        studio.made(wanted, checkpoint=OFTEN)
        resume = studio.bench.done(wanted).resume
        assert (resume.replayed, reason in resume.refused) == (0, True), resume.refused
        made = studio.picture(wanted)
        studio.forget()
        studio.made(wanted, checkpoint=NEVER)
        assert studio.picture(wanted) == made


def test_adapters_that_do_not_fit_are_bad_requests_that_say_why(studio: Studio) -> None:
    good = str(studio.lora("style", 1))
    foreign = str(studio.lora("foreign", 1, prefix="transformer."))
    wide = str(studio.lora("wide", 1, wider=4))
    broken = studio.bench.root / "loras" / "broken.safetensors"
    broken.write_bytes(b"not at all")
    table = [
        (studio.unit(0, {"model": foreign}), "holds nothing that fits StableDiffusionPipeline: it is made for another"),
        (studio.unit(1, {"model": wide}), f"adapter {wide} can't be loaded into StableDiffusionPipeline: "),
        (studio.unit(2, {"model": str(broken)}), "can't be loaded into StableDiffusionPipeline: "),
        (
            studio.unit(3, {"model": good}, pipeline="DDPMPipeline"),
            "DDPMPipeline takes no LoRA adapters: leave adapter",
        ),
        (studio.unit(4, {"model": good, "name": "a"}, {"model": good, "name": "a"}), "two adapters have one name"),
        (studio.unit(5, {"model": "/nowhere/x.safetensors"}), "model /nowhere/x.safetensors: there is no such folder"),
        (studio.unit(6, {"model": good, "scale": "much"}), "diffusers.adapters.0.scale: "),
    ]
    ended = studio.run(*(unit for unit, _ in table))
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    missing = [message for (_, message), line in zip(table, ended.refusals, strict=True) if message not in line]
    assert missing == [], ended.refusals
    assert "Traceback" not in ended.stderr
    # What was left half attached is not used.
    unit = studio.unit(7)
    studio.made(unit)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
