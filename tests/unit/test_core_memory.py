"""Memory knobs: whose come first, and that they make nothing again."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_core.memory import Memory, knobs
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec, RoundOverride

BLOCKS = {"level": "block", "blocksPerGroup": 2, "streams": False}
LEAF = {"level": "leaf", "blocksPerGroup": 1, "streams": False}


@pytest.mark.parametrize(
    ("stage", "in_round", "given"),
    [
        (None, {}, {}),
        ({}, {}, {}),
        (None, {"resources": {"limits": {"memory": "8Gi"}}, "offload": "model"}, {"offload": "model"}),
        ({"offload": "model", "tiling": True}, {}, {"offload": "model", "tiling": True}),
        ({"offload": "model", "tiling": True}, {"tiling": False}, {"offload": "model", "tiling": False}),
        ({"offload": "model"}, {"offload": "none"}, {"offload": "none"}),
        ({"offload": "model"}, {"offload": None}, {"offload": "model"}),
        (
            {"offload": "group", "groupOffload": {"blocksPerGroup": 2}},
            {"slicing": True},
            {"offload": "group", "groupOffload": BLOCKS, "slicing": True},
        ),
        ({"offload": "group", "groupOffload": {"blocksPerGroup": 2}}, {"offload": "model"}, {"offload": "model"}),
        (
            {"offload": "group", "groupOffload": {"blocksPerGroup": 2}},
            {"offload": "group", "groupOffload": {"level": "leaf"}},
            {"offload": "group", "groupOffload": LEAF},
        ),
        (
            {"layerwiseCasting": "float8_e5m2", "compile": "regional", "conv3dFloat32": "always"},
            {"layerwiseCasting": "none", "compile": "none", "conv3dFloat32": "auto"},
            {"layerwiseCasting": "none", "compile": "none", "conv3dFloat32": "auto"},
        ),
    ],
)
def test_the_knobs_of_a_round_come_before_those_of_the_stage(
    stage: dict[str, Any] | None, in_round: dict[str, Any], given: dict[str, Any]
) -> None:
    memory = None if stage is None else Memory.model_validate(stage)
    assert knobs(memory, RoundOverride.model_validate(in_round)) == given


EVERY = {
    "offload": "group", "groupOffload": {"level": "leaf"}, "tiling": True, "slicing": True,
    "layerwiseCasting": "float8_e4m3fn", "compile": "regional", "conv3dFloat32": "always",
}  # fmt: skip


@pytest.mark.parametrize("memory", [None, {}, EVERY])
def test_memory_makes_nothing_again(memory: dict[str, Any] | None) -> None:
    def resolved(**fields: Any) -> Any:
        generate = {"diffusers": {"model": "s3://models/toy", "params": {"prompt": "{{ item.id }}"}, **fields}}
        stages = [{"name": "clip", "generate": generate}]
        return resolve("studio", "reel", JobSpec.model_validate({"items": {"count": 2}, "stages": stages}))

    plain, other = resolved(), resolved(memory=memory)
    assert [unit.fingerprint for unit in other.units()] == [unit.fingerprint for unit in plain.units()]
    assert other.stages[0].digest == plain.stages[0].digest
    # Pods get it beside the configuration.
    assert other.generate(other.unit(0, 1)) == plain.generate(plain.unit(0, 1))
