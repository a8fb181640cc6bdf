"""From a spec to its units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_core.errors import SpecError
from carryon_core.fingerprint import unit_fingerprint, unit_seed
from carryon_core.recipe import UNIT_LONGEST
from carryon_core.resolve import ITEMS_MOST, file_uris, parse_items, resolve
from carryon_core.resolved import ResolvedJob
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
        {"models": {"tokenSecret": {"name": "hub"}, "cache": {"claimName": "weights", "maxBytes": "1Ti"}}},
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


def test_what_shapes_a_pipeline_makes_its_units_anew_and_its_defaults_do_not() -> None:
    def made(**fields: Any) -> Any:
        return prints(job(stage("clip", generate={"diffusers": {"model": "org/m", **fields}})))

    lora = {"model": "org/lora"}
    shapes = [
        {},
        {"revision": "v1"},
        {"adapters": [lora]},
        {"adapters": [{**lora, "scale": 0.5}]},
        {"adapters": [{**lora, "revision": "v1"}]},
        {"adapters": [lora, {"model": "org/other"}]},
        {"adapters": [{"model": "org/other"}, lora]},
    ]
    assert len({str(made(**each)) for each in shapes}) == len(shapes)
    assert made(revision=None, adapters=[]) == made()
    chosen = stage("clip", generate={"diffusers": {"model": "m", "adapters": [{"model": "org/{{ item.id }}"}]}})
    resolved = job(chosen)
    assert resolved.generate(resolved.unit(0, 0))["diffusers"]["adapters"] == [{"model": "org/dunes"}]
    assert made(adapters=[{**lora, "scale": 1, "name": None}]) == made(adapters=[lora])


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
        ("\ud800", "InvalidParameter", 'stage "clip", item "dunes": a text holds half a character (\\ud800)'),
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


GOLDEN: dict[str, Any] = {
    "seed": 7,
    "items": [
        {
            "id": "dunes",
            "params": {"prompt": 'sand, \u2028 "dawn"', "n": 7.0, "none": None, "size": {"w": 64, "h": [1, 2.5]}},
        },
        {"id": "ä/☃ sea", "params": {"prompt": "", "n": 1e3, "none": None, "size": {"w": 1, "h": []}}},
    ],
}
GOLDEN_STAGES = (
    stage(
        "image",
        generate={
            "diffusers": {
                "model": "s3://models/{{ job.name }}",
                "pipeline": "ToyPipeline",
                "dtype": "float32",
                "params": {
                    "prompt": "{{ item.prompt }} at dawn",
                    "n": "{{ item.n }}",
                    "x": "{{ item.none }}",
                    "size": "{{ item.size }}",
                    "all": "{{ inputs }}",
                },
                "output": {"fps": 12},
            }
        },
    ),
    stage(
        "clip",
        after=("image",),
        revision='b "2" é',
        generate={
            "command": {
                "args": ["make", "{{ item.index }}", "{{ inputs.image['m.png'] }}"],
                "env": [{"name": "N", "value": "{{ item.n }}"}, {"name": "E"}],
            }
        },
    ),
    stage(
        "last",
        after=("clip", "image"),
        generate={
            "diffusers": {
                "model": "m",
                "params": {"image": "{{ inputs.image }}", "clip": "{{ inputs.clip }}", "in": "{{ inputs }}"},
            }
        },
    ),
)


def test_what_was_made_before_this_version_is_not_made_again() -> None:
    """Recorded at commit 1b756b4: a change here makes every artifact of every user anew."""
    resolved = job(*GOLDEN_STAGES, **GOLDEN)
    assert [unit.fingerprint[:16] for unit in resolved.units()] == [
        *("a09d33c263bd9999", "f6c3577a6b22d73b"),
        *("5184878ee7232706", "6b84c9ae7af01856"),
        *("a0dcba04c9e64415", "ad8f19995345c4ab"),
    ]
    assert [unit.seed for unit in resolved.units()] == [
        *(2567263434368353117, 4934947511969648052),
        *(7704348278740266675, 5092691500825456740),
        *(1795495262236706288, 813370731925816016),
    ]
    assert [each.digest for each in resolved.stages] == ["2c4bba6097eb1fb8", "f8ce096c71ed5af9", "27ded59fe3f32720"]
    assert resolved.items_digest[:16] == "32551128a3e6eac2"


def gathering(name: str, *args: str, after: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    return stage(name, *args, after=after, each="job", **fields)


FILM = (
    stage("image", "draw", "{{ item.prompt | default('') }}"),
    stage("clip", "film", "{{ inputs.image }}", after=("image",)),
    gathering("reel", "join", "{{ inputs.clip }}", after=("clip",)),
)


def test_a_stage_that_gathers_has_one_unit_whose_fingerprint_waits() -> None:
    resolved = job(*FILM)
    (unit,) = resolved.stages[2].units
    assert resolved.total == 5
    assert (unit.item, unit.fingerprint, unit.seed) == (0, "", unit_seed(0, "reel", "job"))
    assert resolved.stages[2].gathers
    assert not resolved.stages[1].gathers
    assert resolved.generate(unit) == {"command": {"args": ["join", {"$input": {"stage": "clip", "name": None}}]}}
    assert (resolved.item_id(2, 0), resolved.item_id(1, 1)) == ("job", "sea")
    assert (resolved.item_index(2, "job"), resolved.item_index(2, "sea"), resolved.item_index(1, "sea")) == (0, None, 1)
    with pytest.raises(ValueError, match='stage "reel", unit "job" has no fingerprint yet'):
        resolved.prefix(unit)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("{{ item.prompt }}", "a template names item.prompt, but a stage with `each: job` is made once, of all items"),
        ("{{ item.prompt | default('') }}", "a template names item.prompt, but a stage with `each: job` is made once"),
        ("{{ 'a' if item else 'b' }}", "a template names item, but a stage with `each: job` is made once"),
        (
            "{{ inputs.previous | default('') }}",
            "a template names inputs.previous, but a stage with `each: job` has no",
        ),
        ("{{ inputs.image }}", "a template names inputs.image, but inputs has: clip"),
    ],
)
def test_a_stage_that_gathers_names_no_item(argument: str, sentence: str) -> None:
    reason, message = refusal(*FILM[:2], gathering("reel", argument, after=("clip",)))
    assert reason == "InvalidTemplate"
    assert message.startswith(f'stage "reel": {sentence}')


def test_a_stage_that_gathers_nothing_is_refused() -> None:
    assert refusal(stage("clip"), gathering("reel", after=())) == (
        "InvalidStage",
        'stage "reel" gathers, but nothing: name stages in its `after`',
    )


def test_a_scene_that_takes_the_one_before_depends_on_it_and_the_first_does_not() -> None:
    scene = diffusers("scene", image="{{ inputs.previous | default(none) }}", prompt="{{ item.prompt|default('') }}")
    items = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    resolved = job(scene, items=items)
    first, second, third = resolved.stages[0].units
    assert [first.previous, second.previous, third.previous] == [False, True, True]
    assert resolved.generate(first)["diffusers"]["params"] == {"image": None, "prompt": ""}
    assert resolved.generate(second)["diffusers"]["params"]["image"] == {"$input": {"stage": "previous", "name": None}}
    assert second.fingerprint == unit_fingerprint(
        resolved.generate(second), second.seed, None, {"previous": first.fingerprint}
    )
    changed = job(scene, items=[items[0], {"id": "b", "params": {"prompt": "x"}}, items[2]])
    before, after = resolved.stages[0].fingerprints, changed.stages[0].fingerprints
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]


def test_only_units_that_use_the_one_before_wait_for_it() -> None:
    scene = stage("scene", "{{ (inputs.previous | default('')) if item.goes_on | default(false) else 'new' }}")
    resolved = job(scene, items=[{"id": "a"}, {"id": "b", "params": {"goes_on": True}}, {"id": "c"}])
    assert [unit.previous for unit in resolved.units()] == [False, True, False]
    assert resolved.generate(resolved.unit(0, 2)) == {"command": {"args": ["new"]}}


def test_the_first_scene_must_say_what_it_takes_instead() -> None:
    reason, message = refusal(stage("scene", "{{ inputs.previous }}"))
    assert (reason, message) == (
        "InvalidTemplate",
        'stage "scene", item "dunes": a template names inputs.previous, but inputs has: nothing',
    )


HASH = "ab" * 32
PHOTO = {"id": "a", "params": {"photo": {"file": "s3://bucket/a.png"}}}


def with_files(*stages: dict[str, Any], items: Any, files: dict[str, str | None], **fields: Any) -> ResolvedJob:
    spec = JobSpec.model_validate({"items": {"list": items}, "stages": list(stages), **fields})
    assert file_uris("studio", "reel", spec) == set(files)
    return resolve("studio", "reel", spec, files=files)


@pytest.mark.parametrize(
    "clip",
    [
        diffusers("clip", image="{{ item.photo }}"),
        diffusers("clip", image={"file": "s3://bucket/a.png"}),
        diffusers("clip", image={"file": "s3://bucket/{{ item.id }}.png"}),
        diffusers("clip", image={"deep": ["{{ item.photo }}"]}),
        diffusers("clip", image={"file": "s3://bucket/{{ 'a' if job.name == 'reel' else job.name }}.png"}),
        stage("clip", "{{ item.photo }}"),
        stage("clip", generate={"command": {"args": ["x"], "env": [{"name": "A", "value": "{{ item.photo }}"}]}}),
        stage("clip", generate={"http": {"url": "https://a.b", "body": {"images": ["{{ item.photo }}"]}}}),
        stage("clip", generate={"http": {"url": "https://a.b", "body": {"image": {"file": "s3://bucket/a.png"}}}}),
    ],
    ids=["item", "stage", "templated", "deep", "named after the job", "argument", "variable", "body", "of the body"],
)
def test_a_file_counts_by_what_it_holds_and_not_by_where_it_lies(clip: dict[str, Any]) -> None:
    uri = "s3://bucket/a.png"
    resolved = with_files(clip, items=[PHOTO], files={uri: HASH})
    unit = resolved.unit(0, 0)
    assert unit.missing == ""
    assert json.dumps({"$file": {"uri": uri, "sha256": HASH}}) in json.dumps(resolved.generate(unit))
    changed = with_files(clip, items=[PHOTO], files={uri: "cd" * 32})
    assert changed.unit(0, 0).fingerprint != unit.fingerprint
    assert changed.stages[0].digest == resolved.stages[0].digest


def test_a_file_that_moved_makes_nothing_again() -> None:
    clip = diffusers("clip", image="{{ item.photo }}")
    moved = {"id": "a", "params": {"photo": {"file": "file:///inputs/other.png"}}}
    before = with_files(clip, items=[PHOTO], files={"s3://bucket/a.png": HASH})
    after = with_files(clip, items=[moved], files={"file:///inputs/other.png": HASH})
    assert before.unit(0, 0).fingerprint == after.unit(0, 0).fingerprint


def test_output_that_says_what_holds_anyway_makes_nothing_again() -> None:
    plain = {"model": "m", "output": {"fps": 12}}
    said = {**plain, "output": {"fps": 12, "codec": "h264", "image": "png", "audio": "wav", "crf": None}}
    first, second, other = (
        job({"name": "clip", "generate": {"diffusers": each}}).unit(0, 0).fingerprint
        for each in (plain, said, {**plain, "output": {"fps": 12, "codec": "av1"}})
    )
    assert first == second != other


@pytest.mark.parametrize("output", [{}, {"fps": 12}])
def test_whether_sections_are_shown_is_told_to_the_worker_and_makes_nothing_again(output: dict[str, Any]) -> None:
    shown, hidden = (
        job({"name": "clip", "generate": {"diffusers": {"model": "m", "output": {**output, **more}}}})
        for more in ({}, {"previews": False})
    )
    assert shown.unit(0, 0).fingerprint == hidden.unit(0, 0).fingerprint
    assert shown.stages[0].digest == hidden.stages[0].digest
    assert hidden.generate(hidden.unit(0, 0))["diffusers"]["output"] == {**output, "previews": False}


def test_by_how_much_a_clip_is_made_longer_may_be_the_items_own() -> None:
    extend = {"from": "shot", "seconds": "{{ item.longer }}"}
    longer = {"name": "longer", "after": ["shot"], "generate": {"diffusers": {"model": "m", "extend": extend}}}
    items = [{"id": "a", "params": {"longer": 2.5}}, {"id": "b", "params": {"longer": 4}}]
    resolved = job(stage("shot"), longer, items=items)
    assert [resolved.generate(resolved.unit(1, n))["diffusers"]["extend"]["seconds"] for n in (0, 1)] == [2.5, 4]
    less = job(stage("shot"), longer, items=[items[0], {"id": "b", "params": {"longer": 3}}])
    same = [resolved.unit(*at).fingerprint == less.unit(*at).fingerprint for at in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert same == [True, True, True, False]


def test_a_file_that_is_not_there_concerns_only_the_units_that_name_it() -> None:
    clip = diffusers("clip", image="{{ item.photo | default(none) }}")
    resolved = with_files(clip, items=[PHOTO, {"id": "b"}], files={"s3://bucket/a.png": None})
    lost, fine = resolved.stages[0].units
    assert (lost.missing, fine.missing) == ("s3://bucket/a.png", "")
    assert lost.fingerprint
    assert json.dumps({"$file": {"uri": lost.missing, "sha256": None}}) in json.dumps(resolved.generate(lost))


def test_files_that_no_template_names_are_not_looked_at() -> None:
    spec = JobSpec.model_validate({"items": {"list": [PHOTO]}, "stages": [stage("clip")]})
    assert file_uris("studio", "reel", spec) == set()


def test_a_pipelines_argument_named_file_is_no_file() -> None:
    resolved = with_files(diffusers("clip", file="s3://bucket/a.png"), items=[PHOTO], files={})
    assert resolved.generate(resolved.unit(0, 0))["diffusers"]["params"] == {"file": "s3://bucket/a.png"}
    parameter = [{"id": "a", "params": {"file": "s3://bucket/a.png"}}]
    named = with_files(diffusers("clip", x="{{ item.file }}"), items=parameter, files={})
    assert named.generate(named.unit(0, 0))["diffusers"]["params"] == {"x": "s3://bucket/a.png"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("see {{ item.photo }}", "s3://bucket/a.png is a file: it must be the whole value, not a part of a text"),
        ("{{ item.photo.size }}", "a template names item.photo.size, but item.photo is a file"),
        ({"file": "a.png"}, 'the file "a.png" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "https://x/a.png"}, 'the file "https://x/a.png" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "file://a.png"}, 'the file "file://a.png" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "file://"}, 'the file "file://" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "s3:///a.png"}, 'the file "s3:///a.png" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "s3://bucket/"}, 'the file "s3://bucket/" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "s3://bucket/a\n"}, 'the file "s3://bucket/a\n" must be s3://bucket/key or file:///absolute/path'),
        ({"file": "s3://bucket"}, 'the file "s3://bucket" must be s3://bucket/key or file:///absolute/path'),
        (
            {"file": "s3://bucket/../c"},
            'the uri of the file "s3://bucket/../c" must not contain ..: write the path out',
        ),
        (
            {"file": "file:///a/%2E./c"},
            'the uri of the file "file:///a/%2E./c" must not contain ..: write the path out',
        ),
        ({"$file": {"uri": "s3://b/c"}}, "params must not have the key $file, which stands for files"),
        ({"$input": {"stage": "clip"}}, "params must not have the key $input, which stands for files"),
    ],
    ids=str,
)
def test_what_is_no_file_is_refused(value: Any, sentence: str) -> None:
    reason, message = refusal(diffusers("clip", image=value), items=[PHOTO])
    assert reason in ("InvalidTemplate", "InvalidParameter")
    assert message.startswith(f'stage "clip", item "a": {sentence}')


def test_a_model_is_no_file() -> None:
    clip = stage("clip", generate={"diffusers": {"model": "{{ item.photo }}"}})
    assert refusal(clip, items=[PHOTO])[1].startswith('stage "clip", item "a": model is a file: it must be text')


def test_how_a_service_is_asked_makes_nothing_again() -> None:
    def resolved(**fields: Any) -> Any:
        clip = stage("clip", generate={"http": {"url": "https://a.b", "body": {"prompt": "dunes"}, **fields}})
        return with_files(clip, items=[{"id": "a"}], files={})

    plain = resolved()
    other = resolved(secret={"name": "s", "key": "k"}, poll={"url": "https://a.b/{id}"}, giveUpSeconds=5)
    assert other.unit(0, 0).fingerprint == plain.unit(0, 0).fingerprint
    assert other.stages[0].digest == plain.stages[0].digest
    assert other.generate(other.unit(0, 0))["http"]["poll"]["url"] == "https://a.b/{id}"
    assert resolved(body={"prompt": "sea"}).unit(0, 0).fingerprint != plain.unit(0, 0).fingerprint


@pytest.mark.parametrize(
    ("http", "what"),
    [
        ({"url": "{{ item.photo }}"}, "url is a file"),
        ({"url": "https://a.b", "headers": [{"name": "X-It", "value": "{{ item.photo }}"}]}, "header X-It is a file"),
    ],
)
def test_a_service_gets_files_in_the_body_alone(http: dict[str, Any], what: str) -> None:
    told = refusal(stage("clip", generate={"http": http}), items=[PHOTO])[1]
    assert told == f'stage "clip", item "a": {what}: it must be text; files go into body'


def test_half_a_character_in_a_parameter_that_nobody_uses_is_refused() -> None:
    told = refusal(items=[{"id": "a", "params": {"x": "\ud83d"}}])
    assert told == ("InvalidParameter", 'item "a": a text holds half a character (\\ud83d): take it out')


def test_a_parameter_deeper_than_libraries_read_is_refused() -> None:
    deep: Any = 1
    for _ in range(120):
        deep = {"a": deep}
    told = refusal(diffusers("clip", deep="{{ item.deep }}"), items=[{"id": "a", "params": {"deep": deep}}])
    assert told == (
        "InvalidParameter",
        'stage "clip", item "a": lists and mappings nest too deep: keep them to 100 levels',
    )


def override(item: str, stage: str = "clip", **params: Any) -> dict[str, Any]:
    return {"stage": stage, "item": item, "params": params}


def test_a_new_seed_for_one_clip_makes_that_clip_and_what_is_made_of_it_anew() -> None:
    stages = (*FILM[:2], stage("post", after=("clip",)))
    before, after = job(*stages), job(*stages, overrides=[override("sea", seed=5)])
    assert after.unit(1, 1).seed == 5
    changed = {key for key, value in prints(after).items() if value != prints(before)[key]}
    assert changed == {("clip", "sea"), ("post", "sea")}
    assert [each.digest for each in after.stages] == [each.digest for each in before.stages]


def test_units_that_were_given_one_seed_by_hand_stay_apart() -> None:
    same = stage("clip", "make")
    alike = [override(item, name, seed=5) for item in ("sea", "dunes") for name in ("clip", "clap")]
    resolved = job(same, {**same, "name": "clap"}, overrides=alike)
    assert len(set(prints(resolved).values())) == 4


def test_an_override_replaces_an_items_params_in_one_stage() -> None:
    stages = (stage("image", "{{ item.prompt }}"), stage("clip", "{{ item.prompt }}", "{{ item.tone | default('') }}"))
    items = [{"id": "a", "params": {"prompt": "sand"}}, {"id": "b", "params": {"prompt": "sea"}}]
    resolved = job(*stages, items=items, overrides=[override("b", prompt="a wave", tone="dark", seed=3.0)])
    assert resolved.generate(resolved.unit(0, 1))["command"]["args"] == ["sea"]
    assert resolved.generate(resolved.unit(1, 1))["command"]["args"] == ["a wave", "dark"]
    assert resolved.generate(resolved.unit(1, 0))["command"]["args"] == ["sand", ""]
    assert resolved.unit(1, 1).seed == 3


def test_an_override_may_bring_a_file() -> None:
    clip = diffusers("clip", image="{{ item.photo | default(none) }}")
    uri = "s3://bucket/b.png"
    resolved = with_files(
        clip, items=[{"id": "a"}, {"id": "b"}], files={uri: HASH}, overrides=[override("b", photo={"file": uri})]
    )
    assert [HASH in json.dumps(resolved.generate(unit)) for unit in resolved.units()] == [False, True]


def test_the_one_unit_of_a_stage_that_gathers_takes_a_seed() -> None:
    assert job(*FILM, overrides=[override("job", "reel", seed=9)]).unit(2, 0).seed == 9


@pytest.mark.parametrize(
    ("overrides", "reason", "sentence"),
    [
        ([override("sea", "clap")], "UnknownStage", "there is no such stage; use a name under spec.stages"),
        ([override("lake")], "UnknownItem", "there is no such item; use the id of one under spec.items"),
        ([override("sea", "reel")], "UnknownItem", 'a stage with `each: job` has one unit; write item: "job"'),
        ([override("job", "reel", prompt="x")], "InvalidOverride", "sets prompt, but a stage with `each: job` has no"),
        ([override("sea"), override("sea")], "DuplicateOverride", "stand there twice: put all params into one"),
        ([override("sea", index=1)], "ReservedParameter", "params must not be named index"),
        *(
            (
                [override("sea", seed=seed)],
                "InvalidOverride",
                "seed must be a whole number from 0 to 9223372036854775807",
            )
            for seed in (-1, 2**63, "5", 1.5, True, None)
        ),
        ([override("sea", x=float("inf"))], "InvalidOverride", "numbers must be finite"),
    ],
)
def test_an_override_that_can_not_hold_is_refused(overrides: list[Any], reason: str, sentence: str) -> None:
    told = refusal(*FILM, overrides=overrides)
    assert told[0] == reason
    assert sentence in told[1]


@pytest.mark.parametrize(
    ("approved", "told"),
    [
        ({"clap": ["*"]}, ("UnknownStage", 'approved names "clap", which is no stage: use a name under spec.stages')),
        (
            {"image": ["*"]},
            (
                "ApprovalNotRequired",
                'approved names stage "image", which needs no approval: set its approval to Required, or take it out',
            ),
        ),
    ],
)
def test_an_approval_that_nobody_waits_for_is_refused(approved: dict[str, Any], told: tuple[str, str]) -> None:
    assert refusal(*FILM, approved=approved) == told


def rows_job(rows: Any, **fields: Any) -> ResolvedJob:
    source = {"from": {"uri": "s3://bucket/rows.csv", "format": "csv"}}
    return resolve("studio", "reel", JobSpec.model_validate({"items": source, "stages": list(FILM), **fields}), rows)


def test_items_from_data_make_what_the_same_items_from_a_list_make() -> None:
    rows = [("dunes", {"prompt": "sand"}), ("sea", {})]
    made, listed = rows_job(rows), job(*FILM)
    assert prints(made) == prints(listed)
    assert made.items_digest == listed.items_digest


def test_an_override_of_a_row_that_is_not_there_now_is_ignored() -> None:
    assert prints(rows_job([("a", {})], overrides=[override("gone", seed=1)])) == prints(rows_job([("a", {})]))


def test_rows_are_looked_at_as_listed_items_are() -> None:
    for rows, reason in (
        ([("a", {}), ("a", {})], "DuplicateItem"),
        ([("a", {"id": 1})], "ReservedParameter"),
        ([(str(n), {}) for n in range(ITEMS_MOST + 1)], "TooManyItems"),
        ([("a", {"x": float("nan")})], "InvalidParameter"),
    ):
        with pytest.raises(SpecError) as caught:
            rows_job(rows)
        assert caught.value.reason == reason


def test_warnings_about_pod_templates_come_with_the_job() -> None:
    template = {"spec": {"restartPolicy": "Always"}}
    resolved = job(stage("clip", podTemplate=template), podTemplate=template)
    assert [warning.partition(" is ignored")[0] for warning in resolved.warnings] == [
        "spec.podTemplate.spec.restartPolicy",
        "spec.stages[clip].podTemplate.spec.restartPolicy",
    ]
    assert prints(resolved) == prints(job(stage("clip")))
