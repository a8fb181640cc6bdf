"""Units that are killed inside go on in new processes, to the same bits: real workers, tiny models, a real bucket."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from carryon_core import layout
from carryon_core.done import Misfit
from carryon_core.messages import AssignedUnit, Cadence, ExitCode, StoreConfig, UnitOutcome
from carryon_store import open_store
from faulty_s3 import Answer, serving, xml_error
from forked_workers import Fate
from studios import NEVER, SPARED, TERM, Studio


def test_an_attempt_that_failed_is_gone_on_from_too(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    failed = studio.run(unit, fate=Fate(fails=True, at=3), cadence=NEVER)
    assert failed.code == ExitCode.SOME_FAILED
    assert failed.termination is not None
    (report,) = failed.termination.units
    assert (report.reason, report.durable) == ("GeneratorFailed", True)
    assert studio.run(unit).computed == total - 3
    assert studio.bench.artifacts(unit) == expected


def test_units_of_one_pod_have_a_journal_each(studio: Studio) -> None:
    unit = studio.unit("sd")
    other = studio.bench.unit(1, unit.generate)
    expected, total = studio.uninterrupted(other)
    killed = studio.run(unit, other, fate=Fate(TERM, at=total + 3), cadence=NEVER)
    assert killed.termination is not None
    assert [(report.outcome, report.durable) for report in killed.termination.units] == [
        (UnitOutcome.DONE, False),
        (UnitOutcome.INTERRUPTED, True),
    ]
    assert (studio.calls(unit), studio.calls(other)) == (0, 3)
    assert studio.run(unit, other).computed == total - 3
    assert studio.bench.artifacts(other) == expected
    assert studio.bench.artifacts(unit) != expected


def test_a_journal_goes_through_s3_just_the_same(studio: Studio, moto_config: StoreConfig) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    studio.bench.store = open_store(moto_config)
    killed = studio.run(unit, fate=Fate(TERM, 3), cadence=NEVER, store=moto_config)
    assert killed.code == ExitCode.INTERRUPTED, killed.stderr
    assert studio.calls(unit) == 3
    assert studio.run(unit, store=moto_config).computed == total - 3
    assert studio.bench.artifacts(unit) == expected
    assert studio.keys(unit) == []


def sampled(unit: AssignedUnit, scheduler: str, **params: Any) -> AssignedUnit:
    """The same unit with another scheduler."""
    config = {**unit.generate["diffusers"], "scheduler": {"class": scheduler, "params": params}}  # type: ignore[dict-item]
    return unit.model_copy(update={"generate": {"diffusers": config}})


def test_a_scheduler_takes_the_place_of_the_pipelines_own(studio: Studio) -> None:
    base = studio.unit("sd")
    expected, total = studio.uninterrupted(base)
    # With the settings of the pipeline's own.
    assert studio.uninterrupted(sampled(base, "DDIMScheduler")) == (expected, total)
    other, _ = studio.uninterrupted(sampled(base, "DDIMScheduler", timestep_spacing="trailing"))
    heun, calls = studio.uninterrupted(sampled(base, "HeunDiscreteScheduler"))
    assert other != expected
    assert heun != expected
    # Two calls a step.
    assert calls == 2 * total - 1


@dataclass(frozen=True)
class Control:
    """Something that is not as it was when a journal was written.

    Attributes:
        reason: How the refusal goes on after `CheckpointNotResumable: `.
        misfit: The same in one word.
        unit: What is to be made now.
        more: Of the assignment.
        fate: Of the worker.
        spoil: What becomes of the bucket.
        replayed: Calls that are answered all the same.
        says: What else stands in the log.
    """

    reason: str
    misfit: Misfit
    unit: AssignedUnit
    more: dict[str, Any] = field(default_factory=dict)
    fate: Fate = SPARED
    spoil: Callable[[], None] = lambda: None
    replayed: int = 0
    says: str = ""


def test_what_does_not_fit_is_refused_for_the_right_reason_and_the_unit_is_right_afterwards(studio: Studio) -> None:
    base = studio.unit("sd")
    copies = [Path(shutil.copytree(studio.folder("sd"), studio.bench.root / name)) for name in ("mine", "trailing")]
    mine, trailing = copies
    scheduler = trailing / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "timestep_spacing": "trailing"}))
    ours = studio.unit(str(mine), like="sd")
    installed = version("diffusers")
    studio.half_made(base, 2, 1, 2)
    left = studio.content()
    _, middle, last = studio.keys(base)

    def other_weights() -> None:
        weights = mine / "unet/diffusion_pytorch_model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-2] ^= 1
        weights.write_bytes(content)

    sampler = "scheduler diffusers.schedulers.scheduling_ddim.DDIMScheduler -> "
    unusable = "a segment of the journal is of no use"
    table = [
        # Nothing but what calls are made with can tell.
        Control(
            "call 1 of unet has another 0, 4 steps lost", Misfit.DIVERGED, base, spoil=lambda: studio.mend(base, 0)
        ),
        Control(
            "call 3 of unet has another 0, 4 steps lost", Misfit.DIVERGED, base, spoil=lambda: studio.mend(base, 1)
        ),
        Control(
            "segment 1 is missing or damaged, 3 steps lost",
            Misfit.DAMAGED,
            base,
            spoil=lambda: studio.fill({**left, middle: None}),
            replayed=2,
        ),
        Control(
            "segment 1 is missing or damaged, 3 steps lost",
            Misfit.DAMAGED,
            base,
            spoil=lambda: studio.turn(middle),
            replayed=2,
            says=unusable,
        ),
        Control(
            "segment 2 is damaged",
            Misfit.DAMAGED,
            base,
            spoil=lambda: studio.fill({**left, last: left[last][:-1]}),
            replayed=3,
            says=unusable,
        ),
        Control("seed 1000 -> 1001, 4 steps lost", Misfit.CALL, studio.unit("sd", seed=1001)),
        Control("params.prompt text ", Misfit.CALL, studio.unit("sd", prompt="night")),
        Control(
            "params.num_inference_steps 8 -> 9, 4 steps lost", Misfit.CALL, studio.unit("sd", num_inference_steps=9)
        ),
        Control("text_encoder.dtype float32 -> bfloat16", Misfit.PIPELINE, studio.unit("sd", dtype="bfloat16")),
        Control("memory.tiling False -> True, ", Misfit.PIPELINE, base, {"knobs": {"tiling": True}}),
        Control(
            f"diffusers {installed} -> 0.43.0, 4 steps lost",
            Misfit.LIBRARY,
            base,
            fate=Fate(versions={"diffusers": "0.43.0"}),
        ),
        Control(sampler, Misfit.PIPELINE, sampled(base, "PNDMScheduler")),
        Control(
            "scheduler.timestep_spacing leading -> trailing", Misfit.PIPELINE, studio.unit(str(trailing), like="sd")
        ),
    ]
    for control in table:
        studio.fill(left)
        control.spoil()
        refused(studio, control)
    studio.fill({})
    # References are of what lies in a folder now.
    studio.half_made(ours, 3)
    other_weights()
    refused(studio, Control("files ", Misfit.MODEL, ours))


def refused(studio: Studio, control: Control) -> None:
    """Run a unit whose journal is not as it was, and hold what comes out against what should."""
    attempt = studio.run(control.unit, fate=control.fate, **control.more)
    assert attempt.code == ExitCode.DONE, attempt.stderr
    resume = studio.done(control.unit).resume
    assert resume is not None
    assert resume.refused.startswith(f"CheckpointNotResumable: {control.reason}"), resume.refused
    assert resume.misfit is control.misfit, control.reason
    assert resume.refused in attempt.stderr
    assert control.says in attempt.stderr
    assert "dunes" not in attempt.stderr
    assert "night" not in attempt.stderr
    made = studio.bench.artifacts(control.unit)
    assert studio.keys(control.unit) == []
    studio.fill({})
    expected, total = studio.uninterrupted(control.unit, **control.more)
    assert (attempt.computed, resume.replayed) == (total - control.replayed, control.replayed), control.reason
    assert made == expected, control.reason


def test_a_pipeline_that_failed_inside_a_call_is_not_used_again(studio: Studio) -> None:
    unit = studio.unit("sd")
    other, wrong = (studio.bench.unit(index, unit.generate) for index in (1, 2))
    expected, total = studio.uninterrupted(other)
    params = {**unit.generate["diffusers"]["params"], "height": 17}  # type: ignore[index,call-overload,dict-item]
    config = {"diffusers": {**unit.generate["diffusers"], "params": params}}  # type: ignore[dict-item]
    wrong = wrong.model_copy(update={"generate": config})
    attempt = studio.run(wrong, unit, other, fate=Fate(fails=True, at=3))
    assert attempt.code == ExitCode.SOME_FAILED
    assert attempt.termination is not None
    assert [(each.outcome, each.reason) for each in attempt.termination.units] == [
        (UnitOutcome.FAILED, "BadRequest"),
        (UnitOutcome.FAILED, "GeneratorFailed"),
        (UnitOutcome.DONE, ""),
    ]
    # Arguments that it refused have not hurt it.
    assert attempt.stderr.count("loaded StableDiffusionPipeline") == 2
    assert attempt.computed == 3 + total
    assert studio.bench.artifacts(other) == expected


def test_nothing_is_left_of_a_unit_that_is_done_whoever_kept_it(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, _ = studio.uninterrupted(unit)
    studio.half_made(unit, 3)
    left = studio.content()
    assert studio.run(unit, cadence=Cadence(enabled=False)).code == ExitCode.DONE
    assert studio.bench.artifacts(unit) == expected
    assert list(studio.bench.store.list(layout.journal_prefix(studio.bench.prefix(unit)))) == []
    # As if that worker had died right after its last word.
    done = studio.content()
    checkpoint = f"{studio.bench.prefix(unit)}{layout.CHECKPOINT}000001.tar"
    studio.fill({**left, **done, checkpoint: b"state"})
    attempt = studio.run(unit)
    assert (attempt.code, attempt.computed) == (ExitCode.DONE, 0)
    assert studio.content() == done


def test_a_worker_that_is_stopped_says_what_its_journal_was_good_for(studio: Studio) -> None:
    """The operator counts it: what is saved, what is lost since the last segment, and what was refused."""
    unit = studio.unit("sd")
    studio.half_made(unit, 3)
    attempt = studio.run(unit, fate=Fate(TERM, at=2), cadence=NEVER)
    assert attempt.termination is not None
    (report,) = attempt.termination.units
    assert (report.durable, report.refused, report.misfit, report.ended) == (True, "", None, "")
    assert report.saved > 0
    assert 0 <= report.lost < 5

    versions = {"diffusers": "0.43.0"}
    refused = studio.run(unit, fate=Fate(TERM, at=0, versions=versions), cadence=NEVER)
    assert refused.termination is not None
    (report,) = refused.termination.units
    assert report.refused.endswith("-> 0.43.0, 4 steps lost")
    assert (report.misfit, report.durable, report.saved) == (Misfit.LIBRARY, False, 0.0)


def test_a_bucket_that_fills_up_ends_the_journal_and_never_the_unit(studio: Studio, moto_config: StoreConfig) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    puts: list[str] = []

    def full(request: Any) -> Answer | None:
        if request.command != "PUT" or "/journal/" not in request.path:
            return None
        puts.append(request.path)
        # The fields and the first segment still have room.
        return (507, xml_error("XMinioStorageFull")) if len(puts) > 2 else None

    assert moto_config.endpoint is not None
    with serving(moto_config.endpoint, rule=full) as endpoint:
        config = moto_config.model_copy(update={"endpoint": endpoint})
        studio.bench.store = open_store(config)
        cadence = Cadence(every_seconds=0.02)
        made = studio.run(unit, fate=Fate(pause=0.2), cadence=cadence, store=config)
        assert made.code == ExitCode.DONE, made.stderr
        assert len(puts) == 3, "a bucket that is full is not asked again and again"
        assert "from here on the unit can't be resumed: the bucket is full: " in made.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert resume.ended.startswith("the bucket is full: s3://")
        assert resume.calls == total
        assert studio.bench.artifacts(unit) == expected


def test_a_journal_says_which_image_began_it_and_holds_for_another(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    studio.image = "registry/worker:1"
    studio.half_made(unit, 3)
    (key,) = [info.key for info in studio.bench.store.list() if info.key.endswith("fingerprint.json")]
    assert json.loads(studio.bench.store.get(key))["worker image"] == "registry/worker:1"
    studio.image = "registry/worker:2"
    last = studio.run(unit)
    assert last.computed == total - 3, "an image that computes the same may go on"
    assert studio.bench.artifacts(unit) == expected
