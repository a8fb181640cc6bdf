"""Manifests as people send them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from carryon_api import manifests
from carryon_api.problems import Problem

HEAD = "apiVersion: carryon.dev/v1alpha1\nkind: GenerationJob\nmetadata: {name: reel}\n"


async def read(body: str | bytes, kind: str = manifests.YAML) -> manifests.Manifest:
    content = body.encode() if isinstance(body, str) else body

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    return await manifests.read(Request(scope, receive))


async def refusal(body: str | bytes, kind: str = manifests.YAML) -> Problem:
    with pytest.raises(Problem) as caught:
        await read(body, kind)
    return caught.value


async def test_yaml_is_read_as_json_would_have_it() -> None:
    found = await read(HEAD + "spec: {suspendUntil: 2026-12-01T06:00:00Z, seed: 7, cancel: no}\n---\n")
    assert found["spec"] == {"suspendUntil": "2026-12-01T06:00:00Z", "seed": 7, "cancel": False}
    given = orjson.dumps({**found, "spec": {"seed": 1}})
    assert (await read(given, "application/json; charset=utf-8"))["spec"] == {"seed": 1}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "0 documents"),
        (HEAD + "spec: {}\n---\n" + HEAD + "spec: {}", "2 documents"),
        ("[1]", "is no object"),
        ("kind: GenerationJob", "apiVersion is null: write carryon.dev/v1alpha1"),
        ("apiVersion: carryon.dev/v1alpha1\nkind: Pod", 'kind is "Pod": write GenerationJob'),
        ("apiVersion: carryon.dev/v1alpha1\nkind: GenerationJob", "metadata is missing"),
        (HEAD, "spec is missing"),
        (HEAD + "spec: [", "is no YAML"),
        (HEAD + "spec: {a: 1, a: 2}", '"a" stands twice'),
        (HEAD + "spec: {1: 2}", "a key is no text"),
        (HEAD + "spec: {a: .inf}", "a number that JSON does not have"),
        (HEAD + "spec: {a: !!binary aGk=}", "holds a bytes"),
        (HEAD + "spec: {a: !!python/object:os.system {}}", "is no YAML"),
        (HEAD + "spec: &a {b: *a}", "is no YAML"),
        (b"\xff\xfe\xfa", "is no YAML"),
        ("{" * 100_000, "is no YAML"),
        (HEAD + "spec: " + "[" * 100 + "]" * 100, "nested too deep"),
    ],
)
async def test_what_is_no_manifest_is_refused_with_the_reason(body: str | bytes, said: str) -> None:
    problem = await refusal(body)
    assert said in problem.detail
    assert problem.status in (400, 422)


async def test_merges_are_written_out_as_long_as_they_are_few() -> None:
    found = await read(HEAD + "spec: {a: &a {x: 1, y: 2}, b: &b {<<: *a, y: 3}, c: {<<: [*b, *a], z: 4}}")
    assert found["spec"]["b"] == {"x": 1, "y": 3}
    assert found["spec"]["c"] == {"x": 1, "y": 3, "z": 4}


async def test_merges_that_would_write_out_a_billion_values_are_refused() -> None:
    levels = [f"a{at}: &a{at} {{<<: [{', '.join([f'*a{at - 1}'] * 40)}]}}" for at in range(1, 8)]
    problem = await refusal(HEAD + "\n".join(["a0: &a0 {k: 1}", *levels]))
    assert problem.kind == "bad-request"
    assert "once its merges are written out" in problem.detail


async def test_merges_that_lead_from_one_to_the_next_without_end_are_refused() -> None:
    chain = ", ".join(["&a0 {k: 1}", *(f"&a{at} {{<<: *a{at - 1}}}" for at in range(1, 3000))])
    assert "too deep" in (await refusal(f"x: [[[{chain}]]]\ny: {{<<: *a2999}}")).detail


async def test_aliases_that_would_write_out_a_billion_values_are_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    problem = await refusal("\n".join(lines))
    assert "too many values" in problem.detail


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
async def test_a_body_of_another_kind_is_refused(kind: str) -> None:
    assert (await refusal("{}", kind)).status == 415


async def test_json_that_is_none_is_refused() -> None:
    assert (await refusal('{"a": NaN}', manifests.JSON)).status == 400


def test_an_exported_job_loses_what_belonged_to_the_other() -> None:
    exported = {
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "generation": 3, "labels": {"x": "y"}},
        "spec": {},
        "status": {"phase": "Running"},
    }
    assert manifests.fresh(exported) == {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}}


def test_a_manifest_goes_to_the_namespace_of_its_path_and_to_no_other() -> None:
    assert manifests.placed({"metadata": {"name": "a"}}, "art")["metadata"]["namespace"] == "art"
    with pytest.raises(Problem, match="but the request goes to art"):
        manifests.placed({"metadata": {"namespace": "film"}}, "art")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
async def test_what_others_write_as_yaml_is_read_as_it_was_meant(value: Any) -> None:
    manifest = {"apiVersion": "carryon.dev/v1alpha1", "kind": "GenerationJob", "metadata": {"name": "a"}}
    found = await read(yaml.safe_dump({**manifest, "spec": {"value": value}}))
    assert found["spec"] == {"value": value}
