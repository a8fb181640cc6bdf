"""What an import will do, said first: numbers for programs, one sentence for people. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from carryon_core.gpus import gpu_product
from carryon_jobs.archive.checking import Head
from carryon_jobs.archive.members import HalfDone, Manifest, StageSummary
from carryon_jobs.archive.moving import left_behind, secrets_of

_NAMED: Final = 3
_SHARED: Final = "-SHARED"


@dataclass(frozen=True, slots=True)
class HalfView:
    """A unit that goes on inside.

    Attributes:
        step: Steps that are kept, None where nobody knows; `steps` in all.
        device: On which its journal was computed, "" where there is none.
        usable: Whether a journal of that device is of use where the job goes; None where that is not known.
    """

    stage: str
    item: str
    step: int | None
    steps: int | None
    device: str
    usable: bool | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an archive holds, and what would become of it.

    Attributes:
        done: Units that will not be made again.
        half_done: The first of those that go on inside.
        notes: What does not travel along, and what to look out for: sentences.
        secrets: Secrets that the job uses -> the field that names each: somebody has to say what takes their place.
        message: All of it in a sentence.
    """

    name: str
    namespace: str
    origin: str
    created: str
    items: int
    total: int
    done: int
    stages: tuple[StageSummary, ...]
    half_done: tuple[HalfView, ...]
    half_done_total: int
    notes: tuple[str, ...]
    secrets: Mapping[str, str]
    message: str

    def as_json(self) -> dict[str, Any]:
        """For programs; names in camel case."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "origin": self.origin,
            "created": self.created,
            "items": self.items,
            "units": {"total": self.total, "done": self.done, "halfDone": self.half_done_total},
            "stages": [each.model_dump(by_alias=True) for each in self.stages],
            "halfDone": [
                {
                    "stage": each.stage,
                    "item": each.item,
                    "step": each.step,
                    "steps": each.steps,
                    "device": each.device,
                    "usable": each.usable,
                }
                for each in self.half_done
            ],
            "notes": list(self.notes),
            "secrets": dict(self.secrets),
            "message": self.message,
        }


def of_head(head: Head) -> Preview:
    """What the first bytes of an archive promise."""
    manifest, metadata = head.manifest, head.job["metadata"]
    return preview(
        manifest,
        head.job,
        name=metadata["name"],
        namespace=str(metadata.get("namespace") or "default"),
        stages=manifest.stages,
        half=manifest.half_done,
        half_total=manifest.half_done_total,
        notes=tuple(left_behind(head.job, manifest.left_out, None)),
        products=None,
    )


def preview(
    manifest: Manifest,
    job: dict[str, Any],
    *,
    name: str,
    namespace: str,
    stages: Sequence[StageSummary],
    half: Sequence[HalfDone],
    half_total: int,
    notes: Sequence[str],
    products: Collection[str] | None,
) -> Preview:
    """What is to be said.

    Args:
        manifest: Of the archive.
        job: As its job.yaml has it.
        name: The job's where it goes.
        namespace: Likewise.
        stages: What will not be made again.
        half: Units that go on inside.
        half_total: How many these are.
        notes: What else is to be said.
        products: GPUs that there are, as nodes are labelled; None where nobody knows.
    """
    views = tuple(
        HalfView(each.stage, each.item, each.step, each.steps, each.device, _usable(each.device, products))
        for each in half
    )
    total, done = sum(stage.total for stage in stages), sum(stage.done for stage in stages)
    return Preview(
        name=name,
        namespace=namespace,
        origin=f"{manifest.origin.namespace}/{manifest.origin.name}",
        created=manifest.created,
        items=manifest.items,
        total=total,
        done=done,
        stages=tuple(stages),
        half_done=views,
        half_done_total=half_total,
        notes=tuple(notes),
        secrets=secrets_of(job),
        message=_sentence(done, total, views, half_total),
    )


def _usable(device: str, products: Collection[str] | None) -> bool | None:
    """Whether a journal of a device holds where there are these GPUs; another one refuses it."""
    product = gpu_product(device)
    if not product or products is None:
        return None
    return product in {each.removesuffix(_SHARED) for each in products}


def _sentence(done: int, total: int, half: Sequence[HalfView], half_total: int) -> str:
    said = [f"{done} of {total} done"]
    said += [_at(each) for each in half[:_NAMED]]
    if half_total > _NAMED:
        said.append(f"{half_total - min(_NAMED, len(half))} more begun")
    message = ", ".join(said)
    lost = [each for each in half if each.usable is False]
    if lost:
        whose = "journal" if half_total == 1 else f"journal of {lost[0].stage} {lost[0].item}"
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        gpu = lost[0].device.partition(",")[0]
        message += f"; {whose}{more} not usable on this GPU: computed on {gpu}, so what it holds is computed again"
    return message


def _at(each: HalfView) -> str:
    unit = f"{each.stage} {each.item}"
    if each.step is None:
        return f"{unit} goes on from its checkpoint"
    return f"{unit} at step {each.step}" + (f"/{each.steps}" if each.steps else "")
