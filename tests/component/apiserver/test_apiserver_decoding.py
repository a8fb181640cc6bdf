"""Bodies that a built-in kind can't be read from: refused by the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from apiservers import is_refused_and_changes_nothing

PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"
MAPS = "/api/v1/namespaces/default/configmaps"


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "worker", "image": "i:1"}], **spec}}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (PODS, {"spec": "text"}, "spec"),
        (PODS, {"spec": {"containers": {"name": "a"}}}, "spec.containers"),
        (PODS, {"spec": {"containers": ["a"]}}, "spec.containers[0]"),
        (PODS, pod("x", terminationGracePeriodSeconds="30"), "spec.terminationGracePeriodSeconds"),
        (PODS, pod("x", nodeSelector={"gpu": True}), "spec.nodeSelector.gpu"),
        (MAPS, {"data": {"count": 3}}, "data.count"),
        ("/api/v1/namespaces/default/secrets", {"stringData": ["a"]}, "stringData"),
        ("/api/v1/namespaces/default/events", {"involvedObject": "pod/x"}, "involvedObject"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"spec": {"versions": [1]}}, "spec.versions[0]"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_field(server: Any, path: str, value: Any, field: str) -> None:
    answer = server.request("POST", path, {**value, "metadata": {"name": "x"}})
    assert answer.status == 400
    assert f"{field} in body must be of type" in answer.message


def test_a_field_that_is_null_is_absent_at_any_depth(server: Any) -> None:
    server.create(MAPS, {"metadata": {"name": "nulls", "labels": None}, "data": None, "binaryData": {"a": "YQ=="}})
    assert "data" not in server.get(f"{MAPS}/nulls")
    changed = {**server.get(f"{MAPS}/nulls"), "binaryData": None, "data": {"a": "b"}}
    assert server.request("PUT", f"{MAPS}/nulls", changed).status == 200
    found = server.get(f"{MAPS}/nulls")
    assert (found["data"], "binaryData" in found) == ({"a": "b"}, False)
    server.create(PODS, {**pod("nulls", nodeName=None), "status": None})
    assert "nodeName" not in server.get(f"{PODS}/nulls")["spec"]


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        ({"metadata": "x"}, 400, "metadata in body must be an object"),
        ({"metadata": {"name": "x", "ownerReferences": [{"uid": {}}]}}, 400, "must be of type string"),
    ],
)
def test_metadata_that_can_not_be_read_is_refused(server: Any, value: Any, status: int, words: str) -> None:
    answer = server.request("POST", MAPS, value)
    assert (answer.status, words in answer.message) == (status, True), answer.message


@pytest.mark.parametrize(
    ("change", "kind", "status", "words"),
    [
        ("{", "merge-patch+json", 400, "error decoding patch"),
        ("[]", "merge-patch+json", 400, "must be an object"),
        ("{}", "json-patch+json", 400, "cannot unmarshal object"),
        ('{"kind":"Other"}', "merge-patch+json", 400, "does not match the expected kind"),
        (
            '{"metadata":{"labels":{"a":1}}}',
            "merge-patch+json",
            400,
            "labels.a in body must be of type string",
        ),
    ],
)
def test_a_patch_that_can_not_be_read_changes_nothing(
    server: Any, change: str, kind: str, status: int, words: str
) -> None:
    is_refused_and_changes_nothing(server, change, kind, status, words)
