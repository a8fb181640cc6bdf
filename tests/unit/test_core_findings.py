"""What `carryon validate` says about a job that is right: parameters that come out blank."""

from __future__ import annotations

from typing import Any

from carryon_core.findings import Finding, findings
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec


def found(*stages: dict[str, Any], **fields: Any) -> list[Finding]:
    items = [{"id": "dunes", "params": {"prompt": "sand", "size": [1]}}, {"id": "sea"}, {"id": "sky"}]
    spec = JobSpec.model_validate({"items": {"list": items}, "stages": list(stages), **fields})
    return findings(resolve("studio", "reel", spec))


def diffusers(name: str = "clip", **params: Any) -> dict[str, Any]:
    return {"name": name, "generate": {"diffusers": {"model": "m", "params": params}}}


def test_a_parameter_that_is_blank_for_some_items_is_found_once() -> None:
    (finding,) = found(diffusers(prompt=" {{ item.prompt | default('') }}\n"))
    assert finding == Finding("clip", "prompt", ("sea", "sky"), 2, 3)
    assert finding.message == 'stage "clip": prompt is blank for 2 of 3 items: sea, sky'


def test_only_the_first_items_are_named() -> None:
    (finding,) = found(diffusers(prompt="{{ item.prompt | default('') }}"), items={"count": 9})
    assert finding.message == 'stage "clip": prompt is blank for 9 of 9 items: 0, 1, 2, 3, 4 and 4 more'


def test_blanks_are_found_wherever_a_template_stands() -> None:
    empty = "{{ item.no | default('') }}"
    env = [{"name": "A", "value": "x"}, {"name": "TITLE", "value": empty}]
    command = {"name": "edit", "generate": {"command": {"args": ["x", "", empty], "env": env}}}
    gathering = {
        "name": "reel",
        "each": "job",
        "after": ["edit"],
        "generate": {"command": {"args": ["x", "{{ 'y' if job.name == 'other' }}"]}},
    }
    deep = diffusers("image", deep={"list": ["{{ item.size | default(none) }}", empty]}, model=empty)
    assert [each.message.partition(" for ")[0] for each in found(command, gathering, deep)] == [
        'stage "edit": args[2] is blank',
        'stage "edit": env TITLE is blank',
        'stage "reel": args[1] is blank',
        'stage "image": deep.list[1] is blank',
        'stage "image": model is blank',
    ]


def test_what_is_meant_to_be_blank_and_what_is_no_text_are_not_found() -> None:
    photo = {
        "id": "a",
        "params": {"photo": {"file": "s3://bucket/a.png"}, "none": None, "list": [], "uri": "s3://bucket/c"},
    }
    parameters: dict[str, Any] = {
        "negative_prompt": "",
        "image": "{{ item.photo }}",
        "mask": {"file": "{{ item.uri }}"},
        "steps": "{{ item.none }}",
        "sizes": "{{ item.list }}",
        "before": "{{ inputs.previous | default(none) }}",
    }
    assert found(diffusers(**parameters), items={"list": [photo]}) == []
