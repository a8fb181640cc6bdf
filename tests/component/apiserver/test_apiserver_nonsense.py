"""Thousands of requests that make no sense: each is answered with a reason, none harms the server."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
import yaml

from carryon_core import crd

PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/v1/namespaces/default/pods": (
        "p",
        {
            "metadata": {
                "name": "p",
                "labels": {"a": "b"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
            },
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "env": [{"name": "A", "value": "b"}],
                        "ports": [{"containerPort": 1}],
                        "resources": {"limits": {"cpu": "1"}},
                        "livenessProbe": {"httpGet": {"port": 1}},
                    }
                ],
                "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            },
            "status": {"phase": "Running", "conditions": [{"type": "a"}], "containerStatuses": [{"name": "c"}]},
        },
    ),
    "/apis/carryon.dev/v1alpha1/namespaces/default/generationjobs": (
        "j",
        {
            "metadata": {"name": "j"},
            "spec": {
                "items": {"list": [{"id": "a", "params": {"x": 1}}]},
                "stages": [{"name": "s", "generate": {"command": {"args": ["a"], "env": [{"name": "A"}]}}}],
            },
            "status": {"conditions": [], "stages": []},
        },
    ),
    "/api/v1/namespaces/default/secrets": ("s", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    "/api/v1/namespaces/default/events": ("e", {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}}),
    "/api/v1/nodes": ("n", {"metadata": {"name": "n"}, "spec": {"taints": []}, "status": {"conditions": []}}),
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ATOMS = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "a/b",
    [],
    {},
    [1],
    ["x"],
    [{}],
    {"a": None},
    {"uid": {}},
    "2026-01-01T00:00:00Z",
]


class Nonsense:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        kind = self.chance.random()
        if depth > 3 or kind < 0.4:
            return copy.deepcopy(self.chance.choice(ATOMS))
        if kind < 0.6:
            return [self.value(depth + 1) for _ in range(self.chance.randint(0, 3))]
        names = ("metadata", "spec", "status", "name", "$patch", "items", "type", "uid", "managedFields", "properties")
        return {self.chance.choice(names): self.value(depth + 1) for _ in range(self.chance.randint(0, 4))}

    def spoiled(self, value: Any) -> Any:
        """A copy with one or two values replaced, anywhere."""
        made = copy.deepcopy(value)
        for _ in range(self.chance.randint(1, 2)):
            places: list[tuple[Any, Any]] = []
            todo = [made]
            while todo:
                node = todo.pop()
                for key in node if isinstance(node, dict) else range(len(node)):
                    places.append((node, key))
                    if isinstance(node[key], dict | list):
                        todo.append(node[key])
            node, key = self.chance.choice(places)
            node[key] = self.value(2)
        return made

    def operation(self) -> Any:
        paths = (
            "",
            "/",
            "/spec",
            "/metadata/labels/a",
            "/spec/containers/0",
            "/spec/containers/-",
            "x",
            5,
            "/metadata",
        )
        kinds = ("add", "remove", "replace", "test", "move", "copy", "x", 1)
        made = {
            "op": self.chance.choice(kinds),
            "path": self.chance.choice(paths),
            "value": self.value(2),
            "from": "/spec",
        }
        return made if self.chance.random() < 0.9 else self.value(2)

    def request(self, paths: dict[str, tuple[str, dict[str, Any]]]) -> tuple[str, str, Any, str]:
        """Method, path, body and content type."""
        path, (name, good) = self.chance.choice(list(paths.items()))
        one = f"{path}/{name}"
        patches = ("merge-patch", "strategic-merge-patch")
        return self.chance.choice(
            [
                ("POST", path, self.spoiled(good), "json"),
                ("POST", path, good, "json"),
                ("PUT", one, self.spoiled(good), "json"),
                ("PATCH", one, self.value(), "merge-patch+json"),
                (
                    "PATCH",
                    one + self.chance.choice(("", "/status")),
                    self.spoiled(good),
                    f"{self.chance.choice(patches)}+json",
                ),
                ("PATCH", one, [self.operation() for _ in range(self.chance.randint(0, 3))], "json-patch+json"),
                ("PATCH", f"{one}?fieldManager=m&force=true", self.spoiled(good), "apply-patch+yaml"),
                ("DELETE", one, self.value(), "json"),
                ("DELETE", one, {"gracePeriodSeconds": 0}, "json"),
                ("GET", f"{path}?labelSelector=a%20in%20(", None, "json"),
            ]
        )


@pytest.fixture(scope="module")
def paths(server: Any, media_crd: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    server.create(DEFINITIONS, crd.build())
    definition = copy.deepcopy(media_crd)
    definition["metadata"]["name"] = "clips.media.example.com"
    definition["spec"]["names"] = {"plural": "clips", "kind": "Clip"}
    return {**PATHS, DEFINITIONS: ("clips.media.example.com", definition)}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_nonsense_is_answered_with_a_reason(server: Any, paths: Any, seed: int) -> None:
    nonsense = Nonsense(seed)
    statuses = set()
    for _ in range(1500):
        method, path, body, kind = nonsense.request(paths)
        answer = server.request(method, path, body, Content_Type=f"application/{kind}")
        statuses.add(answer.status)
        assert answer.status < 500, (method, path, json.dumps(body), answer.message)
    assert {200, 201, 400, 404, 409, 422} <= statuses
    assert server.request("GET", "/readyz").body == b"ok"
    server.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"alive-{seed}"}})


@pytest.mark.parametrize("body", ["", "null", "[]", "1", '"x"', "{", '{"metadata":', "\x00", "{}" * 2, "[" * 5000])
def test_a_body_that_is_no_object_is_refused(server: Any, body: str) -> None:
    answer = server.request("POST", "/api/v1/namespaces/default/configmaps", body)
    assert answer.status == 400


def test_yaml_that_would_build_objects_builds_none(server: Any) -> None:
    text = yaml.dump({"metadata": {"name": "x"}}) + "data: !!python/object/apply:os.getcwd []\n"
    answer = server.request("POST", "/api/v1/namespaces/default/configmaps", text, Content_Type="application/yaml")
    assert (answer.status, answer.json()["reason"]) == (400, "BadRequest")
