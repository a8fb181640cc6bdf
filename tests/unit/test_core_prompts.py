"""Prompts of the text generator: texts and files in their order, as workers and fingerprints get them."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_core.errors import SpecError
from carryon_core.resolve import file_uris, resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec

NOTES = "file:///notes.txt"
PARAMS = {"n": 3, "half": 2.0, "notes": {"file": NOTES}, "both": [{"file": NOTES}, {"file": "file:///more.txt"}]}
TOPIC = {"$input": {"stage": "topic", "name": None}}
FILE = {"$file": {"uri": NOTES, "sha256": "ab"}}
MORE = {"$file": {"uri": "file:///more.txt", "sha256": None}}


def job(text: dict[str, Any], files: dict[str, str | None] | None = None, **stage: Any) -> ResolvedJob:
    spec = JobSpec.model_validate(
        {
            "items": {"list": [{"id": "a", "params": PARAMS}]},
            "stages": [
                {"name": "topic", "generate": {"command": {"args": ["x"]}}},
                {"name": "plan", "after": ["topic"], "generate": {"text": {"model": "m", **text}}, **stage},
            ],
        }
    )
    assert file_uris("default", "blog", spec) <= {NOTES, "file:///more.txt"}
    return resolve("default", "blog", spec, files={NOTES: "ab"} if files is None else files)


def rendered(text: dict[str, Any], **stage: Any) -> dict[str, Any]:
    resolved = job(text, **stage)
    made: dict[str, Any] = resolved.generate(resolved.unit(1, 0))["text"]
    return made


@pytest.mark.parametrize(
    ("prompt", "made"),
    [
        ("plain", "plain"),
        ("{{ item.n }}", "3"),
        ("{{ item.half }} of {{ item.n }}", "2 of 3"),
        ("{{ inputs.topic }}", [TOPIC]),
        ("Plan:\n{{ inputs.topic }}\nIn {{ item.n }} parts:", ["Plan:\n", TOPIC, "\nIn 3 parts:"]),
        ("{{ item.notes }}{{ inputs.topic }}", [FILE, TOPIC]),
        ("{{ inputs['topic']['a.txt'] }}.", [{"$input": {"stage": "topic", "name": "a.txt"}}, "."]),
        ("of {{ item.both }}", ["of ", [FILE, MORE]]),
        ("{{ inputs.topic if item.n == 2 else 'none' }}", "none"),
    ],
)
def test_a_prompt_is_a_text_or_the_texts_and_files_it_is_made_of(prompt: str, made: Any) -> None:
    assert rendered({"prompt": prompt}) == {"model": "m", "prompt": made}
    assert rendered({"prompt": "x", "system": prompt})["system"] == made
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "yes"}]
    assert rendered({"messages": turns})["messages"] == [{**turns[0], "content": made}, turns[1]]


def test_a_stage_that_gathers_takes_the_texts_of_all_units() -> None:
    assert rendered({"prompt": "Sum up:\n{{ inputs.topic }}"}, each="job")["prompt"] == ["Sum up:\n", TOPIC]


def test_another_content_of_a_file_makes_the_text_again_and_another_place_does_not() -> None:
    text = {"prompt": "On {{ item.notes }}"}
    first, same, other = (job(text, {NOTES: digest}) for digest in ("ab", "ab", "cd"))
    assert first.unit(1, 0).fingerprint == same.unit(1, 0).fingerprint != other.unit(1, 0).fingerprint


def test_a_missing_file_is_known_before_the_unit_runs() -> None:
    assert job({"prompt": "On {{ item.notes }}"}, {}).unit(1, 0).missing == NOTES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"prompt": "{{ inputs.topic | trim }}"}, "inputs.topic is a file: the filter trim can't look into it"),
        ({"prompt": "{{ item.promt }}"}, "item.promt, but item has: both, half, id, index, n, notes"),
        ({"prompt": "x", "model": "{{ inputs.topic }}"}, "model must be text"),
        ({"prompt": "x", "stop": ["{{ inputs.topic }}"]}, "inputs.topic is a file: it must be the whole value"),
        ({"prompt": "x" * 65_000 + "{{ item.n }}" * 40 + "{{ inputs.topic }}"}, None),
        ({"prompt": "{{ item.notes }}" + "{{ item.n | default(1) }}" * 2 + "y" * 65_535}, "at most 65536"),
    ],
)
def test_what_can_not_stand_in_a_text_is_refused(text: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        assert rendered(text)["prompt"][-1] == TOPIC
        return
    with pytest.raises((SpecError, ValueError)) as caught:
        rendered(text)
    assert sentence in str(caught.value)
