"""How a diffusers unit is computed in the memory there is: fields of a stage, and of a round, which come first.

They say how a unit is computed, not what it is, so they are no part of its fingerprint: see
docs/adr/0016-memory-is-how.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from carryon_core.schema import Model, rule, rules

GROUP = "group"


class GroupOffload(Model):
    """How `offload: group` divides the denoiser."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.level) || self.level != 'leaf' || !has(self.blocksPerGroup) || self.blocksPerGroup == 1",
                "blocksPerGroup counts blocks: take it out, or set level to block",
            ),
            rule(
                "!has(self.streams) || !self.streams || !has(self.blocksPerGroup) || self.blocksPerGroup == 1",
                "with streams the next block is loaded while one computes, one by one: take blocksPerGroup out, or"
                " streams",
            ),
        )
    )

    level: Literal["block", "leaf"] = Field(
        default="block", description="block: some blocks of the denoiser at a time; leaf: one layer at a time."
    )
    blocks_per_group: int = Field(default=1, ge=1, le=1000, description="Blocks that are on the GPU together.")
    streams: bool = Field(
        default=False,
        description="Load the next group while one computes: faster, and takes pinned memory of the host.",
    )


class Memory(Model):
    """In how much memory a pipeline computes; changes no fingerprint. null leaves a knob as it is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.groupOffload) || (has(self.offload) && self.offload == 'group')",
                "groupOffload says how offload: group divides the denoiser: set offload to group, or take it out",
            )
        )
    )

    offload: Literal["none", "model", "group", "sequential"] | None = Field(
        default=None,
        description="What leaves the GPU while it is not needed. model: the parts of the pipeline; group: blocks of"
        " the denoiser and layers of the rest; sequential: single layers.",
    )
    group_offload: GroupOffload | None = Field(default=None, json_schema_extra={"nullable": False})
    tiling: bool | None = Field(default=None, description="Encode and decode in tiles.")
    slicing: bool | None = Field(default=None, description="Encode and decode the results of a batch one by one.")
    layerwise_casting: Literal["none", "float8_e4m3fn", "float8_e5m2"] | None = Field(
        default=None, description="Type in which the denoiser's weights are kept; each layer computes in `dtype`."
    )
    compile: Literal["none", "regional"] | None = Field(
        default=None,
        description="regional: torch compiles the denoiser's repeated blocks: faster, takes a compiler in the image.",
    )
    conv3d_float32: Literal["auto", "always", "never"] | None = Field(
        default=None,
        alias="conv3dFloat32",
        description="Whether bfloat16 Conv3d layers compute in float32. auto, as without: on GPUs that have no bfloat16"
        " convolutions (compute capability below 8.0).",
    )


def knobs(stage: Memory | None, in_round: Memory) -> dict[str, JsonValue]:
    """What a pod's generator is told: the round's knobs over the stage's, name by name."""
    merged = {**_given(stage), **_given(in_round)}
    if merged.get("offload") != GROUP:
        merged.pop("groupOffload", None)
    return merged


def _given(memory: Memory | None) -> dict[str, Any]:
    if memory is None:
        return {}
    return memory.model_dump(mode="json", by_alias=True, include={*Memory.model_fields}, exclude_none=True)
