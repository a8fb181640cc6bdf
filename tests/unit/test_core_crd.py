"""The CRD against the rules of a real API server.

The rules stand in the Kubernetes documentation ("Extend the Kubernetes API with CustomResourceDefinitions": structural
schema, defaulting, validation rules, resource use by validation functions) and in k8s.io/apiextensions-apiserver.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError

from carryon_core import crd, names
from carryon_core.spec import GenerationJob, JobSpec
from carryon_core.status import JobStatus
from carryon_standalone.apiserver.schema import Structural

ROOT = Path(__file__).parents[2]
SCHEMA = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
TYPES = {"object", "array", "string", "integer", "number", "boolean"}

COST_OF_A_RULE = 10_000_000
"""The API server's limits on estimated cost, one rule and all rules of a CRD (k8s.io/apiserver/pkg/apis/cel)."""
COST_OF_ALL = 100_000_000


STAGE = {"name": "clip", "generate": {"command": {"args": ["make"]}}}
JOB: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "reel"},
    "spec": {"items": {"count": 1}, "stages": [STAGE]},
}


def diffusers(**memory: Any) -> dict[str, Any]:
    return {"name": "clip", "generate": {"diffusers": {"model": "m", "memory": memory}}}


def with_spec(**fields: Any) -> dict[str, Any]:
    return {**JOB, "spec": {**JOB["spec"], **fields}}


@dataclass(frozen=True)
class Node:
    """One node of the schema, and how often it can stand in one object."""

    path: str
    schema: Mapping[str, Any]
    often: int = 1


def walk(schema: Mapping[str, Any], path: str = "", often: int = 1) -> Iterator[Node]:
    yield Node(path or "root", schema, often)
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}".lstrip("."), often)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]", often * schema.get("maxItems", 10**6))
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from walk(schema["additionalProperties"], f"{path}.*", often * schema.get("maxProperties", 10**6))


NODES = list(walk(SCHEMA))
IN_SPEC = [node for node in NODES if node.path.startswith("spec")]
RULES = [(node, rule) for node in NODES for rule in node.schema.get("x-kubernetes-validations", ())]


def paths(nodes: Iterator[Node]) -> list[str]:
    return [node.path for node in nodes]


def test_the_file_in_the_repository_is_the_one_the_types_make() -> None:
    text = (ROOT / "crds" / f"{names.GROUP}_{names.PLURAL}.yaml").read_text(encoding="utf-8")
    assert text == crd.render(), "run `make generate`"
    assert yaml.safe_load(text) == crd.build()
    assert len(text.encode()) < 200 * 1024
    # kubectl apply keeps the whole object in an annotation, and annotations end at 256 KiB.
    assert len(json.dumps(crd.build()).encode()) < 200 * 1024


def test_no_keyword_stands_in_it_that_a_structural_schema_does_not_know() -> None:
    known = {
        *("description", "type", "format", "nullable", "enum", "default", "required", "properties", "items"),
        *("additionalProperties", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"),
        *("minProperties", "maxProperties", "x-kubernetes-validations", "x-kubernetes-list-type"),
        *("x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string"),
        "x-kubernetes-preserve-unknown-fields",
    }
    assert {key for node in NODES for key in node.schema} <= known


def test_every_node_has_a_type() -> None:
    typed = [node for node in NODES if not node.schema.get("x-kubernetes-int-or-string")]
    assert paths(node for node in typed if node.schema.get("type") not in TYPES) == []
    # A type beside int-or-string is refused.
    assert paths(n for n in NODES if n.schema.get("x-kubernetes-int-or-string") and "type" in n.schema) == []


def test_properties_and_additional_properties_never_stand_together() -> None:
    assert paths(n for n in NODES if "properties" in n.schema and "additionalProperties" in n.schema) == []


def test_what_is_required_is_declared() -> None:
    assert paths(n for n in NODES if not set(n.schema.get("required", ())) <= set(n.schema.get("properties", ()))) == []


def test_everything_in_the_spec_is_bounded() -> None:
    """Cost of rules is estimated from these bounds; without one the server takes the largest request there can be."""

    def unbounded(schema: Mapping[str, Any]) -> bool:
        match schema.get("type"):
            case "string":
                return "maxLength" not in schema and "enum" not in schema
            case "array":
                return "maxItems" not in schema
            case "object":
                return "properties" not in schema and "maxProperties" not in schema
        return False

    assert paths(node for node in IN_SPEC if unbounded(node.schema)) == [
        # Taken as they are, whatever they hold; no rule looks into them, and a request ends at 3 MiB.
        "spec.items.list[].params",
        "spec.stages[].generate.diffusers.scheduler.params",
        "spec.stages[].generate.diffusers.params",
        "spec.stages[].generate.text.chatTemplateArgs",
        "spec.stages[].generate.http.body",
        "spec.stages[].podTemplate",
        "spec.overrides[].params",
        "spec.podTemplate",
    ]
    # Quantities, and a number that may be a template: the server takes no bound beside int-or-string, and no rule reads
    # them.
    assert paths(n for n in IN_SPEC if n.schema.get("x-kubernetes-int-or-string")) == [
        "spec.stages[].generate.diffusers.extend.seconds",
        "spec.stages[].resources.requests.*",
        "spec.stages[].resources.limits.*",
        "spec.retry.roundOverrides[].resources.requests.*",
        "spec.retry.roundOverrides[].resources.limits.*",
    ]


def test_preserved_objects_are_atomic() -> None:
    kept = [n for n in NODES if n.schema.get("x-kubernetes-preserve-unknown-fields")]
    assert kept
    assert paths(n for n in kept if n.schema.get("x-kubernetes-map-type") != "atomic") == []


def test_every_list_says_how_it_is_merged() -> None:
    lists = [node for node in NODES if node.schema.get("type") == "array"]
    kinds = {node.path: node.schema.get("x-kubernetes-list-type") for node in lists}
    assert set(kinds.values()) <= {"map", "set", "atomic"}, kinds
    keys = {n.path: n.schema.get("x-kubernetes-list-map-keys") for n in lists}
    assert {path: keys[path] for path, kind in kinds.items() if kind == "map"} == {
        "spec.items.list": ["id"],
        "spec.stages": ["name"],
        "spec.stages[].generate.command.env": ["name"],
        "spec.stages[].generate.http.headers": ["name"],
        "spec.overrides": ["stage", "item"],
        "spec.notify": ["url"],
        "status.stages": ["name"],
        "status.conditions": ["type"],
    }
    for node in lists:
        items = node.schema["items"]
        assert not items.get("nullable"), node.path
        if kinds[node.path] == "set":
            assert items["type"] == "string", node.path
        for key in keys[node.path] or ():
            assert items["properties"][key]["type"] == "string", node.path
            assert key in items["required"] or "default" in items["properties"][key], node.path


def test_a_set_is_never_long_because_managed_fields_repeat_it() -> None:
    sets = [node for node in NODES if node.schema.get("x-kubernetes-list-type") == "set"]
    assert all(node.schema["maxItems"] <= 100 for node in sets)


def test_no_enum_is_nullable_because_the_server_would_look_for_null_in_it() -> None:
    assert paths(node for node in NODES if "enum" in node.schema and "nullable" in node.schema) == []


def test_every_default_is_a_scalar_that_its_own_schema_accepts() -> None:
    defaults = [node for node in NODES if "default" in node.schema]
    assert "spec.parallelism" in paths(iter(defaults))
    for node in defaults:
        value = node.schema["default"]
        assert isinstance(value, bool | int | str), node.path
        wrapped, errors = Structural.compile({"type": "object", "properties": {"x": node.schema}}, "schema")
        assert errors == []
        assert wrapped is not None
        assert wrapped.validate({"x": value}) == [], node.path


def test_times_are_checked_by_their_format_and_by_no_rule() -> None:
    """Where a format is date-time, CEL sees a timestamp and the server refuses all other text."""
    assert {node.schema["format"] for node in NODES if "format" in node.schema} == {"date-time"}
    times = [node for node in IN_SPEC if "format" in node.schema]
    assert paths(iter(times)) == ["spec.suspendUntil"]
    assert [node.path for node, _ in RULES if node in times] == []


def test_the_status_has_no_rules_because_it_can_be_large() -> None:
    assert paths(node for node, _ in RULES if node.path.startswith("status")) == []


def test_every_rule_compiles_and_has_a_sentence() -> None:
    structural, errors = Structural.compile(SCHEMA, "schema")
    assert errors == []
    assert structural is not None
    for node, rule in RULES:
        assert set(rule) <= {"rule", "message", "fieldPath"}, node.path
        assert re.fullmatch(r"[^\n\r]{10,300}", rule["message"]), node.path
        assert "\n" not in rule["rule"], node.path
        assert "oldSelf" not in rule["rule"], node.path


def patterns(rule: str) -> list[str]:
    literals = re.findall(r"matches\(('(?:[^'\\]|\\.)*')\)", rule)
    assert len(literals) == rule.count("matches("), rule
    return [cel.compile(literal).execute() for literal in literals]


def test_regular_expressions_are_of_the_kind_that_RE2_knows() -> None:
    found = [pattern for _, rule in RULES for pattern in patterns(rule["rule"])]
    assert len(found) > 10
    for pattern in found:
        re.compile(pattern)
        assert not re.search(r"\(\?(?!i\))|\\[1-9ZzAbB]|[*+?}][+]", pattern), pattern
        # RE2 stops at 1,000 copies, nested ones multiplied.
        copies = 1
        for most in re.findall(r",([0-9]+)\}", pattern):
            copies *= int(most)
        assert copies <= 1000, pattern


def listing(node: Node, rule: str) -> float:
    """Steps of a rule that goes through lists, each as much as comparing two names of stages and a few more."""
    stages = SCHEMA["properties"]["spec"]["properties"]["stages"]
    fields = stages["items"]["properties"]
    if "self.headers.exists(" in rule:
        headers = node.schema["properties"]["headers"]
        value = headers["items"]["properties"]["value"]
        return float(headers["maxItems"] * (4 * value["maxLength"] * 0.1 + 10))
    step = 4 * fields["name"]["maxLength"] * 0.1 + 10
    spec = SCHEMA["properties"]["spec"]["properties"]
    outer = {
        "self.all(": fields["after"]["maxItems"] * stages["maxItems"],
        "self.approved.all(": spec["approved"]["maxProperties"],
        "self.overrides.all(": spec["overrides"]["maxItems"],
    }
    steps = step * stages["maxItems"] * max(most for start, most in outer.items() if start in rule)
    return float(steps)


def cost(node: Node, rule: str) -> float:
    """An upper bound of the server's estimate for one evaluation.

    A character counts four bytes. A match costs a tenth of the text's bytes times a quarter of the pattern's
    (cel-go, checker/cost.go); other functions on text a tenth of its bytes; every step in a list as much as its
    comparison and a few steps more.
    """
    longest = 4 * node.schema.get("maxLength", 0) * 0.1 + 1
    each: float = 5.0 + longest * sum(len(pattern) * 0.25 + 1 for pattern in patterns(rule))
    each += longest * len(re.findall(r"\.(?:contains|startsWith|endsWith)\(", rule))
    if re.search(r"\.(?:all|exists)\(", rule):
        each += listing(node, rule)
    elif "self." in rule and not patterns(rule):
        each += 4 * 1024 * 0.1 * rule.count("self.")
    return each


def test_no_rule_costs_more_than_the_server_allows() -> None:
    costs = {(node.path, rule["rule"]): node.often * cost(node, rule["rule"]) for node, rule in RULES}
    # Half of it: the estimate here is close to the server's, not the same.
    assert {key: value for key, value in costs.items() if value > COST_OF_A_RULE / 2} == {}
    assert sum(costs.values()) < COST_OF_ALL / 2


def test_printer_columns_show_fields_that_there_are() -> None:
    declared = {f".{node.path}": node.schema["type"] for node in NODES if "type" in node.schema}
    for column in crd.build()["spec"]["versions"][0]["additionalPrinterColumns"]:
        if column["type"] == "date":
            assert column["jsonPath"] == ".metadata.creationTimestamp"
        else:
            assert declared[column["jsonPath"]] == column["type"], column
    assert [c["name"] for c in crd.build()["spec"]["versions"][0]["additionalPrinterColumns"]] == [
        *("Phase", "Progress", "Failed", "Active", "Age", "Message"),
    ]


def test_names_fit_each_other() -> None:
    made = crd.build()
    assert made["metadata"]["name"] == f"{made['spec']['names']['plural']}.{made['spec']['group']}"
    assert made["spec"]["names"]["shortNames"] == ["gj"]
    assert made["spec"]["versions"][0]["subresources"] == {"status": {}}


class Union(BaseModel):
    value: int | str | list[int]


class Untyped(BaseModel):
    value: object = Field(default=None)


@pytest.mark.parametrize("model", [Union, Untyped])
def test_a_field_that_a_structural_schema_can_not_say_is_noticed_here(model: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match=f"{model.__name__}.value"):
        crd.structural(model)


def test_the_types_read_what_the_server_fills_in() -> None:
    structural, _ = Structural.compile(SCHEMA, "schema")
    assert structural is not None
    written = with_spec(items={"count": 3})
    stored = json.loads(json.dumps(written))
    assert structural.prune(stored) == []
    structural.default(stored)
    assert structural.validate(stored) == []
    assert stored["spec"]["parallelism"] == 1
    assert JobSpec.model_validate(stored["spec"]) == JobSpec.model_validate(written["spec"])


def test_a_status_as_the_operator_writes_it_is_accepted_and_reads_back() -> None:
    structural, _ = Structural.compile(SCHEMA, "schema")
    assert structural is not None
    time = "2026-01-01T00:00:00Z"
    pod = {"pod": "reel-1", "uid": "u", "units": "0-3", "attempt": 1, "since": time}
    status = JobStatus.model_validate(
        {
            "phase": "Running",
            "stages": [{"name": "clip", "total": 4, "failures": {"2": "1"}, "active": [pod], "started": time}],
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "lastTransitionTime": time}],
            "resume": {"possible": True, "reason": "r", "action": "a"},
            "recorded": ["u"],
        }
    )
    written = {**JOB, "status": status.model_dump(by_alias=True, mode="json", exclude_none=True)}
    assert structural.prune(written) == []
    structural.default(written)
    assert structural.validate(written) == []
    assert JobStatus.model_validate(written["status"]) == status


def manifests() -> Iterator[Any]:
    for file in sorted((ROOT / "examples").rglob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(file.read_text(encoding="utf-8"))):
            if document and document.get("kind") == names.KIND:
                yield pytest.param(document, id=f"{file.name}-{number}")


def verdicts(manifest: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the types accept a manifest, and whether the schema does, without its rules."""
    structural, _ = Structural.compile(SCHEMA, "schema")
    assert structural is not None
    stored = json.loads(json.dumps(manifest))
    unknown = structural.prune(stored)
    structural.default(stored)
    errors = [e for e in structural.validate(stored) if e.reason != "FieldValueInvalid" or " in body " in e.message]
    try:
        GenerationJob.model_validate_json(json.dumps(manifest), strict=True)
    except ValidationError:
        return False, not unknown and not errors
    return True, not unknown and not errors


@pytest.mark.parametrize("manifest", [*manifests(), pytest.param(JOB, id="smallest")])
def test_every_example_is_accepted_by_types_and_schema(manifest: dict[str, Any]) -> None:
    structural, _ = Structural.compile(SCHEMA, "schema")
    assert structural is not None
    assert verdicts(manifest) == (True, True)
    assert structural.validate(manifest) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"items": {"count": 0}},
        {"items": {"count": 100_001}},
        {"items": {"count": "3"}},
        {"items": {"list": []}},
        {"items": {"list": [{"params": {}}]}},
        {"stages": []},
        {"stages": [STAGE] * 17},
        {"stages": [{"name": "clip"}]},
        {"stages": [{**STAGE, "nodeSelector": {"a": 1}}]},
        {"stages": [{**STAGE, "tolerations": [{"operator": "Maybe"}]}]},
        {"stages": [{**STAGE, "generate": {"diffusers": {"model": "m", "dtype": "int8"}}}]},
        {"stages": [{**STAGE, "generate": {"diffusers": {"model": "m", "scheduler": {"params": {"a": 1}}}}}]},
        {"stages": [{**STAGE, "generate": {"command": {"args": ["x", 3]}}}]},
        {"parallelism": -1},
        {"paralelism": 1},
        {"suspend": "yes"},
        {"output": {}},
        {"retry": {"perUnit": 0}},
        {"podTemplate": "x"},
        {"items": {"from": {"uri": "s3://bucket/x.csv", "format": "xlsx"}}},
        {"items": {"from": {"uri": "s3://bucket/x.csv", "format": "csv", "first": 0}}},
        {"items": {"from": {"configMapKeyRef": {"name": "rows"}, "format": "csv"}}},
        {"checkpoint": {"policy": "Sometimes"}},
        {"checkpoint": {"everySeconds": 0}},
        {"checkpoint": {"everyBytes": 64}},
        {"suspendUntil": "soon"},
        {"suspendUntil": "2026-12-01T06:00:00"},
        {"suspendUntil": "2026-12-01"},
        {"approved": {"clip": "*"}},
        {"overrides": [{"stage": "clip", "params": {}}]},
        {"overrides": [{"stage": "clip", "item": "0", "params": [1]}]},
        {"stages": [{**STAGE, "each": "row"}]},
        {"stages": [{**STAGE, "success": {"minPercent": 101}}]},
        {"stages": [{**STAGE, "approval": "Maybe"}]},
        {"retry": {"roundOverrides": [{"offload": "disk"}]}},
        {"retry": {"roundOverrides": [{"tiling": "yes"}]}},
        {"stages": [diffusers(offload="group", groupOffload={"blocksPerGroup": 0})]},
        {"stages": [diffusers(offload="group", groupOffload={"level": "row"})]},
        {"stages": [diffusers(compile="whole")]},
        {"stages": [diffusers(conv3dFloat32=True)]},
        {"limits": {"gpuSeconds": 0}},
        {"ttlSecondsAfterFinished": -1},
        {"notify": [{"events": ["Failed"]}]},
        {"notify": [{"url": "https://host", "events": []}]},
        {"notify": [{"url": "https://host", "events": ["Cancelled"]}]},
        {"notify": [{"url": "https://host", "signingSecret": {"name": "hook"}}]},
        {"notify": [{"url": f"https://host/{n}"} for n in range(9)]},
    ],
    ids=json.dumps,
)
def test_what_the_schema_refuses_the_types_refuse(spec: dict[str, Any]) -> None:
    assert verdicts(with_spec(**spec)) == (False, False)


@pytest.mark.parametrize(
    "spec",
    [
        {"timeouts": {"stall": None, "unit": None}},
        {"checkpoint": {"policy": "High", "everySeconds": 30, "everyBytes": "16Mi", "maxBytes": "2Gi"}},
        {"checkpoint": {"everySeconds": None, "everyBytes": None, "maxBytes": None}},
        {"output": None},
        {"output": {"uri": "s3://bucket", "endpoint": None, "credentialsSecret": None}},
        {"podTemplate": {"spec": {"volumes": [{"name": "x", "whatever": 1}]}}},
        {"stages": [{**STAGE, "tolerations": None, "nodeSelector": None, "resources": None, "image": None}]},
        {"stages": [{**STAGE, "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "4Gi"}}}]},
        {"seed": 2**53 - 1},
        {"parallelism": 0},
        {"items": {"from": {"uri": "s3://bucket/x.csv", "format": "csv", "first": None}}},
        {"items": {"from": {"configMapKeyRef": {"name": "rows", "key": "a.jsonl"}, "format": "jsonl"}}},
        {"suspendUntil": None, "queueName": None, "ttlSecondsAfterFinished": None, "limits": {"resumes": None}},
        {"suspendUntil": "2026-12-01t06:00:00.5+02:00"},
        {"overrides": [{"stage": "clip", "item": "0", "params": {"seed": 7}}], "approved": {"clip": ["*"]}},
        {"stages": [{**STAGE, "success": {"minPercent": 0}, "approval": "Required", "podTemplate": {"any": 1}}]},
        {"retry": {"rounds": 0, "roundOverrides": [{"tiling": True, "offload": "model", "resources": None}]}},
        {"notify": [{"url": "https://host", "signingSecret": None}, {"url": "http://host", "events": ["Suspended"]}]},
        {"stages": [diffusers()]},
        {"stages": [diffusers(offload="none", tiling=None, slicing=False, layerwiseCasting="float8_e5m2")]},
        {"stages": [diffusers(offload="group", groupOffload={"level": "leaf", "streams": True}, compile="regional")]},
    ],
    ids=json.dumps,
)
def test_what_the_schema_accepts_the_types_accept(spec: dict[str, Any]) -> None:
    assert verdicts(with_spec(**spec)) == (True, True)


def sentences(**fields: Any) -> list[tuple[str, str]]:
    structural, _ = Structural.compile(SCHEMA, "schema")
    assert structural is not None
    stored = json.loads(json.dumps(with_spec(**fields)))
    structural.default(stored)
    return [(e.field, re.sub(r'^Invalid value: ("[^"]*": )?', "", e.message)) for e in structural.validate(stored)]


CSV = {"uri": "s3://bucket/rows.csv", "format": "csv"}


@pytest.mark.parametrize(
    ("spec", "field", "sentence"),
    [
        (
            {"items": {"count": 1, "from": CSV}},
            "spec.items",
            "items takes exactly one of list, count and from: give one of them",
        ),
        (
            {"items": {"from": {"format": "csv"}}},
            "spec.items.from",
            "items.from takes exactly one of uri and configMapKeyRef: give one of them",
        ),
        (
            {"items": {"from": {**CSV, "uri": "https://example.org/rows.csv"}}},
            "spec.items.from.uri",
            "items.from.uri must be s3://bucket/key or file:///absolute/path",
        ),
        (
            {"stages": [{**STAGE, "each": "job"}]},
            "spec.stages",
            "a stage with each: job gathers what the stages in its after made: name at least one there",
        ),
        (
            {"stages": [{**STAGE, "name": "previous"}]},
            "spec.stages",
            "a stage must not be named previous, because inputs.previous is the item before: choose another",
        ),
        (
            {"approved": {"clap": ["*"]}},
            "spec.approved",
            "approved names a stage that is not in this job: use the names under spec.stages",
        ),
        (
            {"overrides": [{"stage": "clap", "item": "0", "params": {}}]},
            "spec.overrides",
            "an override names a stage that is not in this job: use the names under spec.stages",
        ),
        (
            {"checkpoint": {"maxBytes": "2 GB"}},
            "spec.checkpoint.maxBytes",
            "must be a size such as 500M or 2Gi",
        ),
        (
            {"checkpoint": {"everyBytes": "0"}},
            "spec.checkpoint.everyBytes",
            "must be a size such as 500M or 2Gi",
        ),
        (
            {"queueName": "My_Queue"},
            "spec.queueName",
            "must be the name of a Kueue LocalQueue: lower-case letters, digits and dashes",
        ),
        *(
            (
                {"notify": [{"url": url}]},
                "spec.notify[0].url",
                "notify.url must be https://host/path or http://host/path, in ASCII, without user, password and"
                " #fragment",
            )
            for url in (
                "ftp://host",
                "https://user:word@host/path",
                "https://user@host",
                "https://1:2@host",
                "https://host/path#there",
                "https://host/a b",
                "https://höst/",
                "https:///path",
                "host/path",
                "https://host:0x50/",
            )
        ),
    ],
    ids=json.dumps,
)
def test_a_rule_that_is_broken_answers_with_its_sentence(spec: dict[str, Any], field: str, sentence: str) -> None:
    assert sentences(**spec) == [(field, sentence)]


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "http://relay.studio.svc:8080/carryon?to=ops",
        "https://[2001:db8::1]:8443/hook",
        "https://outlook.example/webhook/a@b/IncomingWebhook/c%2Fd?sig=x%2B1",
    ],
)
def test_a_url_that_people_use_is_accepted(url: str) -> None:
    assert sentences(notify=[{"url": url}]) == []


def test_a_time_is_read_in_either_case() -> None:
    spec = JobSpec.model_validate({**JOB["spec"], "suspendUntil": "2026-12-01t06:00:00z"})
    assert spec.suspend_until == "2026-12-01T06:00:00Z"


def test_nothing_inside_a_list_has_a_default_that_a_server_would_write_into_it() -> None:
    def defaults(schema: Any, inside: bool) -> Iterator[Any]:
        if isinstance(schema, dict):
            if inside and "default" in schema:
                yield schema
            for key, inner in schema.items():
                yield from defaults(inner, inside or key == "items")

    spec = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    # `items` is also the name of a field of ours, which is no list.
    fields = {name: field for name, field in spec["properties"].items() if name != "items"}
    assert list(defaults(fields, False)) == []
    described = crd.build(defaults_in_lists=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    stage = described["properties"]["spec"]["properties"]["stages"]["items"]["properties"]
    assert stage["each"]["default"] == "item"
