"""From a spec to its units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_core.errors import SpecError
from carryon_core.fingerprint import unit_fingerprint, unit_seed
from carryon_core.resolve import UNIT_LONGEST, ResolvedJob, parse_items, resolve
from carryon_core.spec import JobSpec


def stage(name: str, *args: str, after: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    made = {"name": name, "after": list(after), "generate": {"command": {"args": list(args) or ["make"]}}}
    return {**made, **fields}


def diffusers(name: str, after: tuple[str, ...] = (), **params: Any) -> dict[str, Any]:
    return stage(name, after=after, generate={"diffusers": {"model": "s3://models/toy", "params": params}})


def job(*stages: dict[str, Any], items: Any = None, **fields: Any) -> ResolvedJob:
    listed = items if items is not None else [{"id": "dunes", "params": {"prompt": "sand"}}, {"id": "sea"}]
    chosen = {"count": listed} if isinstance(listed, int) else {"list": listed}
    spec = JobSpec.model_validate({"items": chosen, "stages": list(stages) or [stage("clip")], **fields})
    return resolve("studio", "reel", spec)


def prints(resolved: ResolvedJob) -> dict[tuple[str, str], str]:
    return {(resolved.stages[unit.stage].name, resolved.ids[unit.item]): unit.fingerprint for unit in resolved.units()}


def refusal(*stages: dict[str, Any], **fields: Any) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        job(*stages, **fields)
    return caught.value.reason, caught.value.message


def test_units_stand_stage_by_stage_in_the_order_of_items() -> None:
    resolved = job(stage("image"), stage("clip", after=("image",)))
    assert resolved.ids == ("dunes", "sea")
    assert [(unit.stage, unit.item) for unit in resolved.units()] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert resolved.total == 4
    assert resolved.index_of == {"dunes": 0, "sea": 1}
    assert resolved.stages[1].after == (0,)
    assert resolved.prefix(resolved.unit(1, 0)).startswith("studio/reel/clip/dunes/")


def test_a_count_has_ids_from_zero_and_no_parameters() -> None:
    resolved = job(stage("clip", "make", "{{ item.id }}", "{{ item.index }}"), items=12)
    assert resolved.ids == tuple(map(str, range(12)))
    assert resolved.generate(resolved.unit(0, 11)) == {"command": {"args": ["make", "11", "11"]}}


def test_the_jobs_own_copy_of_items_reads_back() -> None:
    resolved = job(items=[{"id": "a\u2028b", "params": {"n": 7.0, "x": None}}, {"id": "ä"}])
    assert parse_items(resolved.items) == (("a\u2028b", {"n": 7}), ("ä", {}))
    assert resolved.items_digest != job().items_digest


def test_a_fingerprint_is_that_of_the_templated_configuration() -> None:
    resolved = job(diffusers("image", prompt="{{ item.prompt|default('') }} at dawn", steps=7.0), seed=5)
    unit = resolved.unit(0, 0)
    assert unit.seed == unit_seed(5, "image", "dunes")
    assert resolved.generate(unit) == {
        "diffusers": {"model": "s3://models/toy", "params": {"prompt": "sand at dawn", "steps": 7.0}}
    }
    assert unit.fingerprint == unit_fingerprint(resolved.generate(unit), unit.seed, None, {})


def test_a_reference_to_an_upstream_file_is_written_out_and_its_fingerprint_counts() -> None:
    resolved = job(
        stage("image"), diffusers("clip", after=("image",), image="{{ inputs.image }}", mask="{{ inputs.image['m'] }}")
    )
    unit = resolved.unit(1, 1)
    assert resolved.generate(unit)["diffusers"]["params"] == {
        "image": {"$input": {"stage": "image", "name": None}},
        "mask": {"$input": {"stage": "image", "name": "m"}},
    }
    upstream = {"image": resolved.unit(0, 1).fingerprint}
    assert unit.fingerprint == unit_fingerprint(resolved.generate(unit), unit.seed, None, upstream)


def test_arguments_and_variables_of_a_command_become_text() -> None:
    args = ["make", "{{ item.n }}", "{{ item.ok }}", "{{ item.size }}", "{{ item.none }}", "{{ inputs.image }}"]
    env = [{"name": "N", "value": "{{ item.n }}"}, {"name": "EMPTY"}, {"name": "IMAGE", "value": "{{ inputs.image }}"}]
    clip = stage("clip", after=("image",), generate={"command": {"args": args, "env": env}})
    items = [{"id": "a", "params": {"n": 7.0, "ok": True, "size": [1, {"b": 2}], "none": None}}]
    reference = {"$input": {"stage": "image", "name": None}}
    resolved = job(stage("image"), clip, items=items)
    assert resolved.generate(resolved.unit(1, 0)) == {
        "command": {
            "args": ["make", "7", "true", '[1, {"b": 2}]', "", reference],
            "env": [
                {"name": "N", "value": "7"},
                {"name": "EMPTY", "value": ""},
                {"name": "IMAGE", "value": reference},
            ],
        }
    }


THREE = (stage("image", "draw", "{{ item.prompt|default('') }}"), stage("clip", after=("image",)), stage("still"))


def test_a_changed_item_makes_its_own_units_again_and_no_others() -> None:
    before = prints(job(*THREE))
    changed = [{"id": "dunes", "params": {"prompt": "snow"}}, {"id": "sea"}]
    after = prints(job(*THREE, items=changed))
    assert {key for key in before if before[key] != after[key]} == {("image", "dunes"), ("clip", "dunes")}


def test_a_parameter_that_no_template_uses_makes_nothing_again() -> None:
    items = [{"id": "dunes", "params": {"prompt": "sand", "note": "new column"}}, {"id": "sea"}]
    assert prints(job(*THREE, items=items)) == prints(job(*THREE))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True), st.integers(0, 8))
def test_inserting_an_item_leaves_all_other_fingerprints_and_seeds(ids: list[str], at: int) -> None:
    items = [{"id": each} for each in ids]
    new = {"id": "the new one", "params": {"prompt": "x"}}
    before, after = job(*THREE, items=items), job(*THREE, items=[*items[:at], new, *items[at:]])
    assert prints(before).items() <= prints(after).items()
    seeds = {(after.stages[u.stage].name, after.ids[u.item]): u.seed for u in after.units()}
    assert all(seeds[before.stages[u.stage].name, before.ids[u.item]] == u.seed for u in before.units())


@pytest.mark.parametrize(
    "fields",
    [
        {"parallelism": 9},
        {"unitsPerPod": 5},
        {"retry": {"perUnit": 9, "backoff": {"initial": "1s"}}},
        {"timeouts": {"unit": "1h", "stall": None}},
        {"suspend": True},
        {"output": {"uri": "s3://elsewhere"}},
        {"podTemplate": {"metadata": {"labels": {"team": "x"}}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_how_a_job_runs_is_no_part_of_its_fingerprints(fields: dict[str, Any]) -> None:
    assert prints(job(*THREE, **fields)) == prints(job(*THREE))
    assert job(*THREE, **fields).stages[0].digest == job(*THREE).stages[0].digest


def test_where_a_stage_runs_is_no_part_of_its_fingerprints() -> None:
    elsewhere = stage(
        "clip",
        image="registry/worker:2",
        resources={"limits": {"nvidia.com/gpu": 1}},
        nodeSelector={"gpu": "h200"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
    )
    assert prints(job(elsewhere)) == prints(job(stage("clip")))


def test_a_job_in_another_namespace_or_under_another_name_makes_the_same() -> None:
    spec = JobSpec.model_validate({"items": {"count": 2}, "stages": [stage("clip")]})
    here, there = resolve("a", "one", spec), resolve("b", "two", spec)
    assert [u.fingerprint for u in here.units()] == [u.fingerprint for u in there.units()]


def test_a_default_written_out_makes_nothing_again() -> None:
    written = stage(
        "clip", generate={"diffusers": {"model": "m", "pipeline": None, "dtype": "bfloat16", "output": {"fps": 8}}}
    )
    assert prints(job(written)) == prints(job(stage("clip", generate={"diffusers": {"model": "m"}})))


@pytest.mark.parametrize("change", [{"seed": 1}, {"stages": [stage("clip", revision="b")]}], ids=["seed", "revision"])
def test_seed_and_revision_make_everything_anew(change: dict[str, Any]) -> None:
    stages = change.pop("stages", [stage("clip")])
    before, after = job(), job(*stages, **change)
    assert not set(prints(before).values()) & set(prints(after).values())
    assert before.stages[0].digest != after.stages[0].digest


def test_a_stage_may_stand_before_the_one_it_waits_for() -> None:
    resolved = job(stage("clip", after=("image",)), stage("image"))
    assert resolved.stages[0].after == (1,)
    swapped = job(stage("image"), stage("clip", after=("image",)))
    assert prints(resolved) == prints(swapped)


def test_a_duplicate_id_is_refused() -> None:
    assert refusal(items=[{"id": "a"}, {"id": "b"}, {"id": "a"}]) == (
        "DuplicateItem",
        'items.list has the id "a" twice: give each item an id of its own',
    )


@pytest.mark.parametrize("name", ["id", "index"])
def test_a_reserved_parameter_is_refused(name: str) -> None:
    reason, message = refusal(items=[{"id": "a", "params": {name: 1}}])
    assert reason == "ReservedParameter"
    assert message.startswith(f'item "a": params must not be named {name},')
    assert message.endswith("choose another name")


def test_stages_that_wait_for_each_other_are_refused() -> None:
    stages = (stage("a", after=("c",)), stage("b", after=("a",)), stage("c", after=("b",)), stage("d"))
    assert refusal(*stages) == (
        "StageCycle",
        "stages wait for each other (a -> c -> b -> a): take one of these out of `after`",
    )


def test_an_unknown_stage_is_refused() -> None:
    assert refusal(stage("clip", after=("image",))) == (
        "UnknownStage",
        'stage "clip": after names "image", which is no stage',
    )


@pytest.mark.parametrize(
    ("argument", "reason", "sentence"),
    [
        (
            "{{ item.promt }}",
            "InvalidTemplate",
            'stage "clip", item "dunes": a template names item.promt, but item has:',
        ),
        ("{{ f() }}", "InvalidTemplate", 'stage "clip": the template "{{ f() }}" uses call, which is not allowed'),
        ("{{ inputs.image }}", "InvalidTemplate", "a template names inputs.image, but inputs has: nothing"),
        ("{{ 'nan'|float }}", "InvalidParameter", 'stage "clip", item "dunes": numbers must be finite'),
    ],
)
def test_a_template_that_can_not_be_rendered_is_refused(argument: str, reason: str, sentence: str) -> None:
    told = refusal(diffusers("clip", prompt=argument))
    assert told[0] == reason
    assert sentence in told[1]


def test_a_unit_too_large_to_travel_is_refused() -> None:
    size = UNIT_LONGEST - len(json.dumps({"diffusers": {"model": "s3://models/toy", "params": {"p": ""}}}))
    job(diffusers("clip", p="{{ item.p }}"), items=[{"id": "a", "params": {"p": "x" * size}}])
    reason, message = refusal(
        diffusers("clip", p="{{ item.p }}"), items=[{"id": "a", "params": {"p": "x" * UNIT_LONGEST}}]
    )
    assert reason == "UnitTooLarge"
    assert message.startswith('stage "clip", item "a": its configuration is')


@pytest.mark.parametrize("where", ["item", "stage"])
def test_parameters_without_end_are_refused(where: str) -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    told = (
        refusal(items=[{"id": "a", "params": {"deep": deep}}])
        if where == "item"
        else refusal(diffusers("clip", deep=deep))
    )
    assert told == ("InvalidParameter", "params nest lists and mappings too deep: keep them to a hundred levels")
