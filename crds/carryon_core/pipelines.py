"""`generate.diffusers`: a pipeline, what it is called with, and how its results are written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from carryon_core.memory import Memory
from carryon_core.model_sources import ADAPTERS_MOST, NO_SPACES, REVISION, Adapter, Revision
from carryon_core.name_fields import StageName
from carryon_core.schema import Model, PreservedObject, rule, rules, text


class DiffusersOutput(Model):
    """How results are written."""

    fps: int = Field(default=8, ge=1, le=240, description="Frames per second of clips.")
    codec: Literal["h264", "vp9", "av1", "ffv1", "prores"] = Field(
        default="h264",
        description="Of clips; the container follows: mp4 with h264 and av1, webm with vp9, mkv with ffv1 (lossless),"
        " mov with prores.",
    )
    crf: int | None = Field(
        default=None,
        ge=0,
        le=63,
        description="Constant rate factor of clips, less is better and larger: 18 is the default of h264, 24 of vp9 and"
        " av1.",
        json_schema_extra={"nullable": False},
    )
    image: Literal["png", "jpeg", "webp"] = Field(default="png", description="Format of pictures.")
    image_quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Quality of jpeg and webp pictures; 95 by default.",
        json_schema_extra={"nullable": False},
    )
    audio: Literal["wav", "flac", "mp3", "aac", "opus"] = Field(
        default="wav", description="Format of sound; beside a clip's frames it is what the container takes."
    )
    history: bool = Field(
        default=True,
        description="Keep the last latents of a clip beside it, as history.safetensors, where `extend` can go on from"
        " them: HunyuanVideoFramepackPipeline with sampling_type vanilla.",
    )
    previews: bool = Field(
        default=True,
        description="Show the sections of a clip that is made section by section in the bucket as they are finished;"
        " no part of what the unit is made from.",
    )


Seconds = Annotated[str | int | float, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]


class Extend(Model):
    """A clip that is made longer."""

    from_: StageName = Field(
        alias="from", description="Stage in `after` whose unit made the clip, and made no other one."
    )
    seconds: Seconds = Field(
        description="By how much at least, at the clip's own frame rate: a number above 0, or a template."
    )


class Scheduler(Model):
    """The sampler of a pipeline, made from the configuration of the pipeline's own."""

    class_: Annotated[
        str,
        text(
            128,
            rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "scheduler.class must be the name of a diffusers class, such as EulerDiscreteScheduler",
            ),
        ),
    ] = Field(alias="class", description="Scheduler class of diffusers, such as EulerAncestralDiscreteScheduler.")
    params: PreservedObject = Field(
        default_factory=dict, description="Fields of its configuration that are to differ, such as use_karras_sigmas."
    )


class Diffusers(Model):
    """A diffusers pipeline: loaded by `DiffusionPipeline.from_pretrained`, called once a unit."""

    model: Annotated[str, text(1024, NO_SPACES)] = Field(
        description="Folder, file:// or s3:// uri of a saved pipeline, or an id on a model hub."
    )
    revision: Revision | None = Field(default=None, description=REVISION)
    pipeline: (
        Annotated[
            str,
            text(
                128,
                rule(
                    "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                    "pipeline must be the name of a diffusers class, such as WanPipeline",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="Pipeline class, where it is not the one the model names.")
    scheduler: Scheduler | None = Field(
        default=None, description="Takes the place of the pipeline's own; null leaves that."
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(default="bfloat16", description="Type of the weights.")
    adapters: Annotated[
        list[Adapter],
        Field(
            max_length=ADAPTERS_MOST,
            json_schema_extra=rules(
                rule(
                    "self.all(a, !has(a.name) || self.exists_one(b, has(b.name) && b.name == a.name))",
                    "two adapters have one name: give each its own",
                ),
                **{"x-kubernetes-list-type": "atomic"},
            ),
        ),
    ] = Field(default_factory=list, description="LoRA adapters, in the order in which they are added up.")
    params: PreservedObject = Field(
        default_factory=dict, description="Arguments of the pipeline's call; values may be templates."
    )
    memory: Memory | None = Field(default=None, json_schema_extra={"nullable": False})
    extend: Extend | None = Field(
        default=None,
        description="Go on from an earlier stage's clip instead of making one of its own.",
        json_schema_extra={"nullable": False},
    )
    output: DiffusersOutput = Field(
        default_factory=DiffusersOutput,
        json_schema_extra=rules(
            rule(
                "!has(self.crf) || !has(self.codec) || !(self.codec in ['ffv1', 'prores'])",
                "crf belongs to h264, vp9 and av1: leave it out with ffv1, which loses nothing, and with prores",
            ),
            rule(
                "!has(self.crf) || self.crf <= 51 || (has(self.codec) && self.codec in ['vp9', 'av1'])",
                "crf of h264 is 0 to 51: take a lower one, or vp9 or av1 as codec",
            ),
            rule(
                "!has(self.imageQuality) || (has(self.image) && self.image != 'png')",
                "imageQuality belongs to jpeg and webp: set image to one of them, or leave it out",
            ),
        ),
    )
