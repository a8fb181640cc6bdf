"""What a CustomResourceDefinition's schema lets in, and in which words it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carryon_core import crd
from carryon_standalone.apiserver.cel_rules import RuleError, compile_rule, evaluate
from carryon_standalone.apiserver.jsonpath import compile_path
from carryon_standalone.apiserver.schema import Structural

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
UNCHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid;"
    " correct the existing errors to complete validation"
)


def compiled(spec: dict[str, Any]) -> Structural:
    structural, errors = Structural.compile({"type": "object", "properties": {"spec": spec}}, "schema")
    assert errors == []
    assert structural is not None
    return structural


def errors_of(spec: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    before = None if old is None else {"metadata": {"name": "x"}, "spec": old}
    return [str(error) for error in compiled(spec).validate({"metadata": {"name": "x"}, "spec": value}, before)]


STRING = {"type": "string"}
TIME = {**STRING, "format": "date-time"}


@pytest.mark.parametrize(
    ("schema", "value", "sentence"),
    [
        (STRING, 3, 'spec: Invalid value: "integer": spec in body must be of type string: "integer"'),
        (STRING, None, 'spec: Invalid value: "null": spec in body must be of type string: "null"'),
        ({"type": "integer"}, "3", 'spec: Invalid value: "string": spec in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'spec: Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "boolean"}, 1, 'spec: Invalid value: "integer": spec in body must be of type boolean: "integer"'),
        ({**STRING, "enum": ["a", "b"]}, "c", 'spec: Unsupported value: "c": supported values: "a", "b"'),
        ({**STRING, "pattern": "^a$"}, "ab", "spec: Invalid value: \"ab\": spec in body should match '^a$'"),
        ({**STRING, "pattern": "^a$"}, "a\n", "spec: Invalid value: \"a\\n\": spec in body should match '^a$'"),
        ({**STRING, "minLength": 2}, "a", 'spec: Invalid value: "a": spec in body should be at least 2 chars long'),
        ({**STRING, "maxLength": 2}, "abc", "spec: Too long: may not be more than 2 bytes"),
        (TIME, "soon", 'spec: Invalid value: "soon": spec in body must be of type date-time: "soon"'),
        (
            {"type": "integer", "minimum": 1},
            0,
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            {"type": "integer", "maximum": 1},
            2,
            "spec: Invalid value: 2: spec in body should be less than or equal to 1",
        ),
        (
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            0,
            "spec: Invalid value: 0: spec in body should be greater than 0",
        ),
        ({"type": "integer", "multipleOf": 8}, 9, "spec: Invalid value: 9: spec in body should be a multiple of 8"),
        ({"type": "array", "items": STRING, "maxItems": 1}, ["a", "b"], "spec: Too many: 2: must have at most 1 items"),
        (
            {"type": "array", "items": STRING, "minItems": 1},
            [],
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": {**STRING, "minLength": 1}},
            ["a", ""],
            'spec[1]: Invalid value: "": spec[1] in body should be at least 1 chars long',
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            ["a", "b", "a"],
            'spec[2]: Duplicate value: "a"',
        ),
        (
            {
                "type": "array",
                "items": {"type": "object", "properties": {"name": STRING, "n": {"type": "integer"}}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            [{"name": "a", "n": 1}, {"name": "a", "n": 2}],
            'spec[1]: Duplicate value: {"name":"a"}',
        ),
        ({"type": "object", "required": ["a"], "properties": {"a": STRING}}, {}, "spec.a: Required value"),
        (
            {"type": "object", "additionalProperties": {**STRING, "maxLength": 1}},
            {"k": "ab"},
            "spec.k: Too long: may not be more than 1 bytes",
        ),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            'spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean"',
        ),
    ],
)
def test_a_wrong_value_is_refused_in_a_real_servers_words(schema: dict[str, Any], value: Any, sentence: str) -> None:
    assert errors_of(schema, value) == [sentence]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 1),
        ({"type": "integer"}, 2.0),
        ({"x-kubernetes-int-or-string": True}, "1Gi"),
        ({"x-kubernetes-int-or-string": True}, 8),
        ({**STRING, "nullable": True, "minLength": 5}, None),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"any": [1, {"thing": None}]}),
    ],
)
def test_a_fitting_value_is_let_in(schema: dict[str, Any], value: Any) -> None:
    assert errors_of(schema, value) == []


def test_unknown_fields_are_pruned_and_named() -> None:
    structural = compiled(
        {
            "type": "object",
            "properties": {
                "known": STRING,
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"a": {"type": "object"}},
                },
                "list": {"type": "array", "items": {"type": "object", "properties": {"k": STRING}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"k": STRING}}},
            },
        }
    )
    value = {
        "kind": "K",
        "metadata": {"name": "x"},
        "extra": 1,
        "spec": {
            "known": "a",
            "unknown": 1,
            "free": {"anything": 1, "a": {"gone": 1}},
            "list": [{"k": "v", "x": 1}],
            "map": {"one": {"k": "v", "y": 2}},
        },
    }
    assert structural.prune(value) == ["extra", "spec.free.a.gone", "spec.list[0].x", "spec.map.one.y", "spec.unknown"]
    assert value["spec"] == {
        "known": "a",
        "free": {"anything": 1, "a": {}},
        "list": [{"k": "v"}],
        "map": {"one": {"k": "v"}},
    }


def test_defaults_are_filled_in_below_what_is_there() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}
    structural = compiled(
        {
            "type": "object",
            "properties": {
                "given": {"type": "integer", "default": 1},
                "object": {**inner, "default": {}},
                "absent": inner,
                "list": {"type": "array", "items": inner},
                "nulled": {"type": "integer", "default": 5},
                "nullable": {"type": "integer", "default": 5, "nullable": True},
            },
        }
    )
    value = {"spec": {"given": 7, "list": [{}, {"n": 1}], "nulled": None, "nullable": None}}
    structural.default(value)
    assert value["spec"] == {
        "given": 7,
        "object": {"n": 3},
        "list": [{"n": 3}, {"n": 1}],
        "nulled": 5,
        "nullable": None,
    }


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("has(self.a) != has(self.b)", {"a": "x"}, True),
        ("has(self.a) != has(self.b)", {"a": "x", "b": "y"}, False),
        ("has(self.a)", {"a": None}, False),  # null counts as absent
        ("self.a.matches('^[a-z]+$')", {"a": "abc"}, True),
        ("self.a.startsWith('s3://') && !self.a.endsWith('/') && self.a.contains('//')", {"a": "s3://x"}, True),
        ("size(self.a) <= 3 && self.a.size() == 3", {"a": "abc"}, True),
        ("self.a.trim() == 'x'", {"a": " x "}, True),
        ("self.a.split(',').all(p, p in ['x', 'y'])", {"a": "x,y"}, True),
        ("self.a.lowerAscii() == self.a", {"a": "Ab"}, False),
        ("self.list.exists(i, i.name == 'a') && self.list.all(i, i.n > 0)", {"list": [{"name": "a", "n": 1}]}, True),
        ("self.list.exists_one(i, i.n == 1)", {"list": [{"n": 1}, {"n": 1}]}, False),
        ("self.list.map(i, i.n).sum() == 3", {"list": [{"n": 1}, {"n": 2}]}, True),
        ("self.ratio > 0.5", {"ratio": 1}, True),  # a number is a double, however it was written
        ("self.__namespace__ == 'x'", {"namespace": "x"}, True),
        ("self.a__dash__b == 'x'", {"a-b": "x"}, True),
        ("'k' in self.labels", {"labels": {"k": "v"}}, True),
        ("duration(self.a) <= duration('1h')", {"a": "90m"}, False),
    ],
)
def test_cel_rules_mean_what_they_mean_on_a_cluster(rule: str, value: Any, holds: bool) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {**STRING, "nullable": True},
            "b": STRING,
            "namespace": STRING,
            "a-b": STRING,
            "ratio": {"type": "number"},
            "labels": {"type": "object", "additionalProperties": STRING},
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": STRING, "n": {"type": "integer"}}},
            },
        },
    }
    sentence = evaluate(compile_rule({"rule": rule, "message": "no"}), schema, value)
    assert sentence == (None if holds else "no")


@pytest.mark.parametrize(
    "rule",
    [
        "[1, 2].isSorted() && !['b', 'a'].isSorted()",
        "['a', 'b', 'a'].indexOf('a') == 0 && ['a', 'b', 'a'].lastIndexOf('a') == 2 && ['a'].indexOf('b') == -1",
        "'tacocat'.indexOf('ac') == 1 && 'tacocat'.lastIndexOf('at') == 5 && 'tacocat'.indexOf('a', 3) == 5",
        "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]') == ''",
        "'1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 1) == ['1']",
        "isURL('https://a.b:8/c?d=e') && !isURL('a.b')",
        "url('https://u@a.b:8/c%20d?e=f').getHost() == 'a.b:8' && url('https://a.b:8/').getPort() == '8'",
        "url('https://a.b/c?d=e').getQuery() == {'d': ['e']} && url('https://a.b/c').getEscapedPath() == '/c'",
        "isQuantity('1.5Gi') && !isQuantity('1GB')",
        "quantity('1Gi').isGreaterThan(quantity('1000M')) && quantity('500m').isLessThan(quantity('1'))",
        "quantity('1000m') == quantity('1') && quantity('50k').add(quantity('20k')) == quantity('70k')",
        "quantity('50k').sub(20000).asInteger() == 30000 && quantity('-1').sign() == -1",
        "isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0.300')",
        "ip('10.0.0.1').family() == 4 && ip('127.0.0.1').isLoopback() && ip.isCanonical('::1')",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && !cidr('10.0.0.0/8').containsIP(ip('11.1.1.1'))",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && cidr('10.0.0.0/8').prefixLength() == 8 && isCIDR('::/0')",
    ],
)
def test_rules_have_kubernetes_own_functions(rule: str) -> None:
    assert evaluate(compile_rule({"rule": rule}), STRING, "x") is None


@pytest.mark.parametrize("rule", ["slef.a == 'x'", "self.a.startWith('x')", "nothing(self.a)"])
def test_a_rule_that_names_what_is_not_there_is_refused_with_its_definition(rule: str) -> None:
    with pytest.raises(RuleError, match=r"undeclared reference to '(slef|startWith|nothing)'"):
        compile_rule({"rule": rule})


def test_a_rule_that_looks_at_an_absent_field_fails_with_its_name() -> None:
    schema = {"type": "object", "properties": {"a": STRING}}
    sentence = evaluate(compile_rule({"rule": "self.a == 'x'"}), schema, {})
    assert sentence == "rule evaluation error: no such key: a: self.a == 'x'"


def test_a_rule_that_is_no_cel_is_refused() -> None:
    with pytest.raises(RuleError, match="Syntax error"):
        compile_rule({"rule": "self.a =="})


def test_a_rules_message_path_and_reason_are_the_definitions() -> None:
    rules = [
        {"rule": "self.a != 'bad'", "message": "a must not be bad", "fieldPath": ".a"},
        {"rule": "self.a != 'bad'", "messageExpression": "'a is ' + self.a", "reason": "FieldValueForbidden"},
        {"rule": "self.a  !=\n 'bad'"},
    ]
    schema = {"type": "object", "properties": {"a": STRING}, "x-kubernetes-validations": rules}
    assert errors_of(schema, {"a": "bad"}) == [
        "spec.a: Invalid value: a must not be bad",
        "spec: Forbidden: a is bad",
        "spec: Invalid value: failed rule: self.a != 'bad'",
    ]


def test_a_scalars_rule_shows_the_scalar() -> None:
    schema = {**STRING, "x-kubernetes-validations": [{"rule": "self != 'bad'", "message": "must be good"}]}
    assert errors_of(schema, "bad") == ['spec: Invalid value: "bad": must be good']


def test_rules_wait_until_the_types_are_right() -> None:
    schema = {
        "type": "object",
        "properties": {"a": STRING, "n": {"type": "integer", "minimum": 1}},
        "x-kubernetes-validations": [{"rule": "self.a != 'bad'", "message": "no"}],
    }
    assert errors_of(schema, {"a": 1}) == [
        'spec.a: Invalid value: "integer": spec.a in body must be of type string: "integer"',
        UNCHECKED,
    ]
    # A value out of its range keeps nobody from looking further.
    assert errors_of(schema, {"a": "bad", "n": 0}) == [
        "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1",
        "spec: Invalid value: no",
    ]


def test_transition_rules_compare_with_the_old_object() -> None:
    schema = {
        "type": "object",
        "properties": {"a": STRING, "b": STRING},
        "x-kubernetes-validations": [{"rule": "self.a == oldSelf.a", "message": "a is fixed"}],
    }
    assert errors_of(schema, {"a": "x"}) == []
    assert errors_of(schema, {"a": "x", "b": "new"}, {"a": "x"}) == []
    assert errors_of(schema, {"a": "y"}, {"a": "x"}) == ["spec: Invalid value: a is fixed"]


def test_what_an_update_leaves_as_it_was_is_not_held_against_it() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {**STRING, "x-kubernetes-validations": [{"rule": "self != 'bad'", "message": "no"}]},
            "n": {"type": "integer", "minimum": 1},
            "b": STRING,
        },
    }
    assert errors_of(schema, {"a": "bad", "n": 0, "b": "new"}, {"a": "bad", "n": 0}) == []
    assert errors_of(schema, {"a": "bad", "n": -1}, {"a": "ok", "n": 0}) == [
        "spec.n: Invalid value: -1: spec.n in body should be greater than or equal to 1",
        'spec.a: Invalid value: "bad": no',
    ]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"properties": {"a": STRING}}, ".type: Required value: must not be empty for specified object fields"),
        (
            {"type": "object", "properties": {"a": {}}},
            ".properties[a].type: Required value: must not be empty for specified object fields",
        ),
        ({"type": "array"}, ".items: Required value: must be specified"),
        (
            {"type": "text"},
            '.type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object",'
            ' "string"',
        ),
        ({"type": "object", "$ref": "#/x"}, ".$ref: Forbidden: $ref is not supported"),
        (
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
            ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(spec: dict[str, Any], sentence: str) -> None:
    structural, errors = Structural.compile({"type": "object", "properties": {"spec": spec}}, "schema")
    assert structural is None
    assert [str(error) for error in errors] == [f"schema.properties[spec]{sentence}"]


def test_a_definition_serves_its_kind_at_once_and_until_it_goes(
    server: Any, media_crd: dict[str, Any], wait_until: Any
) -> None:
    definition = copy.deepcopy(media_crd)
    definition["metadata"]["name"] = "reels.media.example.com"
    definition["spec"]["names"] = {"plural": "reels", "kind": "Reel"}
    made = server.create(DEFINITIONS, definition)
    conditions = {each["type"]: each["status"] for each in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["acceptedNames"] == {
        "plural": "reels",
        "kind": "Reel",
        "singular": "reel",
        "listKind": "ReelList",
    }
    reels = "/apis/media.example.com/v1alpha1/namespaces/default/reels"
    server.create(reels, {"metadata": {"name": "r"}, "spec": {"prompt": "p"}})
    assert server.get(reels)["kind"] == "ReelList"
    server.delete(f"{DEFINITIONS}/reels.media.example.com")
    wait_until(lambda: server.request("GET", reels).status == 404, "the kind to go with its definition")
    wait_until(lambda: server.request("GET", f"{DEFINITIONS}/reels.media.example.com").status == 404, "the definition")
    server.create(DEFINITIONS, definition)
    assert server.get(reels)["items"] == []


def test_a_bad_definition_is_refused(server: Any, media_crd: dict[str, Any]) -> None:
    definition = copy.deepcopy(media_crd)
    definition["metadata"]["name"] = "other.media.example.com"
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].pop("type")
    answer = server.request("POST", DEFINITIONS, definition)
    assert answer.status == 422
    assert {cause["field"] for cause in answer.json()["details"]["causes"]} == {
        "metadata.name",
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
    }


def test_our_own_definition_is_structural_and_its_rules_compile() -> None:
    schema = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    structural, errors = Structural.compile(schema, "schema")
    assert errors == []
    assert structural is not None
    job: dict[str, Any] = {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": "x" * 41},
        "spec": {
            "items": {},
            "stages": [
                {"name": "a", "after": ["a"], "generate": {"command": {"args": ["true"]}}},
                {"name": "b", "after": ["nowhere"], "generate": {}},
            ],
        },
    }
    structural.default(job)
    refused = {error.field for error in structural.validate(job)}
    assert {"<nil>", "spec.items", "spec.stages", "spec.stages[1].generate"} <= refused


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".status.phase", ["Running"]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type=="Nope")].status', []),
        (".spec.containers[0].name", ["a"]),
        (".spec.containers[*].name", ["a", "b"]),
        (".spec.containers[-1].name", ["b"]),
        (r".metadata.labels.carryon\.dev/stage", ["clip"]),
        ("{.status.phase}", ["Running"]),
    ],
)
def test_printer_columns_read_jsonpath(path: str, found: list[Any]) -> None:
    value = {
        "metadata": {"labels": {"carryon.dev/stage": "clip"}},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert compile_path(path)(value) == found


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2026-12-01T06:00:00Z", True),
        ("2026-12-01t06:00:00.123z", True),
        ("2026-12-01T06:00:00+02:00", True),
        ("2026-12-01T06:00:00", False),
        ("2026-12-01 06:00:00Z", False),
        ("2026-12-01", False),
        ("2026-13-01T06:00:00Z", False),
        ("2026-12-01T24:00:00Z", False),
        ("2026-W49-2T06:00:00Z", False),
        ("", False),
    ],
)
def test_a_time_is_what_kubernetes_takes_for_one(text: str, taken: bool) -> None:
    assert (errors_of(TIME, text) == []) is taken


def test_formats_that_a_server_does_not_know_are_ignored() -> None:
    assert errors_of({**STRING, "format": "moon-phase"}, "full") == []
