"""Writes: patches, concurrency, ownership of fields, generations, selectors, discovery and who may ask."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any

import pytest

from apiservers import is_refused_and_changes_nothing, unscheduled

JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "apply-patch+yaml"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(server: Any, path: str, manager: str, value: Any, force: bool = False) -> Any:
    query = f"?fieldManager={manager}" + ("&force=true" if force else "")
    return server.patch(path + query, value, APPLY)


def managers(value: Any) -> dict[str, Any]:
    return {each["manager"]: each["fieldsV1"] for each in value["metadata"].get("managedFields", [])}


def test_one_of_two_writers_with_the_same_version_loses(server: Any) -> None:
    made = server.create(MAPS, {"metadata": {"name": "race"}, "data": {"n": "0"}})

    def write(number: int) -> int:
        return server.request("PUT", f"{MAPS}/race", {**made, "data": {"n": f"writer {number}"}}).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(write, range(8)))
    assert statuses == [200] + [409] * 7


def test_increments_with_retries_lose_nothing(server: Any) -> None:
    server.create(MAPS, {"metadata": {"name": "count"}, "data": {"n": "0"}})

    def add(_: int) -> None:
        while True:
            found = server.get(f"{MAPS}/count")
            found["data"]["n"] = str(int(found["data"]["n"]) + 1)
            if server.request("PUT", f"{MAPS}/count", found).status == 200:
                return

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    assert server.get(f"{MAPS}/count")["data"]["n"] == "40"


def test_a_merge_patch_removes_what_is_null(server: Any) -> None:
    server.create(MAPS, {"metadata": {"name": "merge", "labels": {"a": "1", "b": "2"}}, "data": {"x": "1", "y": "2"}})
    changed = server.patch(f"{MAPS}/merge", {"metadata": {"labels": {"a": None}}, "data": {"x": None, "z": "3"}})
    assert (changed["metadata"]["labels"], changed["data"]) == ({"b": "2"}, {"y": "2", "z": "3"})


def test_a_strategic_patch_merges_lists_by_their_keys(server: Any) -> None:
    container = {"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    server.create(PODS, unscheduled("strategic", containers=[container, {"name": "d", "image": "i:1"}]))
    change = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}, "metadata": {"labels": {"x": "y"}}}
    changed = server.patch(f"{PODS}/strategic", change, "strategic-merge-patch+json")
    assert [each["image"] for each in changed["spec"]["containers"]] == ["i:2", "i:1"]
    assert [each["name"] for each in changed["spec"]["containers"][0]["env"]] == ["A", "B"]
    conditions = [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]
    server.patch(f"{PODS}/strategic/status", {"status": {"conditions": conditions}})
    ready = {
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"$patch": "delete", "type": "Initialized"}]}
    }
    changed = server.patch(f"{PODS}/strategic/status", ready, "strategic-merge-patch+json")
    assert changed["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("change", "kind", "status", "words"),
    [
        ("{}", "strategic-merge-patch+json", 415, "application/merge-patch+json"),
        ("{}", "vnd.kubernetes.protobuf", 415, "unknown format"),
        ('{"spec":{"prompt":null}}', "merge-patch+json", 422, "spec.prompt: Required value"),
        ('{"metadata":{"name":"other"}}', "merge-patch+json", 400, "does not match the name on the URL"),
        ('{"metadata":{"uid":"other"}}', "merge-patch+json", 409, "UID in precondition"),
        ('{"metadata":{"labels":{"a":"b c"}}}', "merge-patch+json", 422, "a valid label must be"),
        (
            '[{"op":"test","path":"/metadata/resourceVersion","value":"1"}]',
            "json-patch+json",
            422,
            "rejected our request",
        ),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_and_changes_nothing(
    server: Any, change: str, kind: str, status: int, words: str
) -> None:
    is_refused_and_changes_nothing(server, change, kind, status, words)


def test_spec_changes_count_generations_and_nothing_else_does(server: Any) -> None:
    made = server.create(JOBS, {"metadata": {"name": "generation"}, "spec": {"prompt": "p"}})
    path = f"{JOBS}/generation"
    assert made["metadata"]["generation"] == 1
    assert server.patch(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert server.patch(f"{path}/status", {"status": {"phase": "Running"}})["metadata"]["generation"] == 1
    assert server.patch(path, {"spec": {"frames": 3}})["metadata"]["generation"] == 2
    assert (
        server.put(path, {**server.get(path), "metadata": {**server.get(path)["metadata"], "generation": 9}})[
            "metadata"
        ]["generation"]
        == 2
    )
    server.patch(path, {"metadata": {"finalizers": ["carryon.dev/x"]}})
    assert server.delete(path)["metadata"]["generation"] == 3
    assert server.patch(path, {"metadata": {"finalizers": None}})["metadata"]["generation"] == 3
    assert server.request("GET", path).status == 404


def test_a_status_write_touches_nothing_but_the_status(server: Any) -> None:
    server.create(JOBS, {"metadata": {"name": "status"}, "spec": {"prompt": "p"}})
    found = server.get(f"{JOBS}/status")
    found |= {"spec": {"prompt": "changed"}, "status": {"phase": "Running", "units": {"total": 3}}}
    found["metadata"]["labels"] = {"a": "b"}
    written = server.put(f"{JOBS}/status/status", found)
    assert (written["spec"]["prompt"], written["status"]["phase"]) == ("p", "Running")
    assert "labels" not in written["metadata"]
    assert server.get(f"{JOBS}/status/status") == written


def test_a_dry_run_answers_and_stores_nothing(server: Any) -> None:
    answer = server.request("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "dry"}})
    assert answer.status == 201
    assert server.request("GET", f"{MAPS}/dry").status == 404
    server.create(MAPS, {"metadata": {"name": "dry"}})
    server.request("DELETE", f"{MAPS}/dry?dryRun=All")
    assert server.patch(f"{MAPS}/dry?dryRun=All", {"data": {"a": "b"}})["data"] == {"a": "b"}
    assert "data" not in server.get(f"{MAPS}/dry")


def test_a_dropped_field_goes_when_nobody_else_owns_it(server: Any) -> None:
    path = f"{MAPS}/owned"
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}}
    apply(server, path, "one", {**identity, "data": {"a": "1", "b": "2"}})
    apply(server, path, "two", {**identity, "data": {"b": "2", "c": "3"}})
    assert apply(server, path, "one", {**identity, "data": {"a": "1"}})["data"] == {"a": "1", "b": "2", "c": "3"}
    left = apply(server, path, "two", {**identity, "data": {"c": "3"}})
    assert left["data"] == {"a": "1", "c": "3"}
    assert managers(left) == {"one": {"f:data": {"f:a": {}}}, "two": {"f:data": {"f:c": {}}}}


def test_an_update_takes_ownership_and_a_later_apply_conflicts(server: Any) -> None:
    path = f"{JOBS}/taken"
    identity = {"apiVersion": "media.example.com/v1alpha1", "kind": "MediaJob", "metadata": {"name": "taken"}}
    apply(server, path, "git", {**identity, "spec": {"prompt": "p", "frames": 2}})
    server.patch(path, {"spec": {"frames": 7}})
    answer = server.request(
        "PATCH",
        f"{path}?fieldManager=git",
        {**identity, "spec": {"prompt": "p", "frames": 2}},
        Content_Type=f"application/{APPLY}",
    )
    assert answer.status == 409
    assert answer.json()["details"]["causes"][0]["field"] == ".spec.frames"
    assert 'conflict with "curl" using media.example.com/v1alpha1' in answer.message
    forced = apply(server, path, "git", {**identity, "spec": {"prompt": "p", "frames": 2}}, force=True)
    assert forced["spec"]["frames"] == 2
    assert "curl" not in managers(forced)


def test_several_conflicts_are_listed_by_manager(server: Any) -> None:
    path = f"{MAPS}/several"
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "several"}}
    apply(server, path, "one", {**identity, "data": {"a": "1", "b": "2"}})
    answer = server.request(
        "PATCH",
        f"{path}?fieldManager=two",
        {**identity, "data": {"a": "x", "b": "y"}},
        Content_Type=f"application/{APPLY}",
    )
    assert answer.message == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'


def test_items_of_keyed_lists_are_owned_one_by_one(server: Any) -> None:
    path = f"{PODS}/lists"
    identity = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lists"}}
    apply(server, path, "one", {**identity, "spec": unscheduled("lists")["spec"]})
    owned = {"status": {"conditions": [{"type": "A", "status": "True"}]}}
    apply(server, f"{path}/status", "one", {**identity, **owned})
    other = {"status": {"conditions": [{"type": "B", "status": "True"}]}}
    both = apply(server, f"{path}/status", "two", {**identity, **other})
    assert {each["type"] for each in both["status"]["conditions"]} == {"A", "B"}
    left = apply(server, f"{path}/status", "one", {**identity, "status": {"conditions": []}})
    assert [each["type"] for each in left["status"]["conditions"]] == ["B"]


def test_applying_the_same_again_changes_nothing(server: Any) -> None:
    value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "same"}, "data": {"a": "b"}}
    first = apply(server, f"{MAPS}/same", "one", value)
    assert (
        apply(server, f"{MAPS}/same", "one", value)["metadata"]["resourceVersion"]
        == first["metadata"]["resourceVersion"]
    )


def test_an_apply_reads_yaml_and_refuses_unknown_fields(server: Any) -> None:
    text = (
        "apiVersion: media.example.com/v1alpha1\nkind: MediaJob\nmetadata: {name: yaml}\nspec: {prompt: p, wrong: 1}\n"
    )
    answer = server.request("PATCH", f"{JOBS}/yaml?fieldManager=m", text, Content_Type=f"application/{APPLY}")
    assert answer.status == 400
    assert ".spec.wrong: field not declared in schema" in answer.message
    assert apply(server, f"{JOBS}/yaml", "m", text.replace(", wrong: 1", ""))["spec"]["prompt"] == "p"


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", "abcd"),
        ("stage=clip", "ab"),
        ("stage==clip", "ab"),
        ("stage!=clip", "cd"),
        ("stage in (clip,image)", "abc"),
        ("stage notin (clip)", "cd"),
        ("stage", "abc"),
        ("!stage", "d"),
        ("stage=clip,round=1", "a"),
        ("round>1", "b"),
        ("round<2,stage", "a"),
        ("stage in (clip), !round", ""),
        ("carryon.dev/job-uid=x", "d"),
        ("empty=", "d"),
    ],
)
def test_label_selectors_select(server: Any, selector: str, names: str) -> None:
    space = "/api/v1/namespaces/selected/configmaps"
    if server.request("GET", "/api/v1/namespaces/selected").status == 404:
        server.create("/api/v1/namespaces", {"metadata": {"name": "selected"}})
        for name, labels in (
            ("a", {"stage": "clip", "round": "1"}),
            ("b", {"stage": "clip", "round": "2"}),
            ("c", {"stage": "image"}),
            ("d", {"carryon.dev/job-uid": "x", "empty": ""}),
        ):
            server.create(space, {"metadata": {"name": name, "labels": labels}})
    quoted = selector.replace(" ", "%20").replace("!", "%21").replace(">", "%3E").replace("<", "%3C")
    found = server.get(f"{space}?labelSelector={quoted}")["items"]
    assert "".join(each["metadata"]["name"] for each in found) == names


@pytest.mark.parametrize("selector", ["a in", "a in (b", "=b", "a=b=c", "a>x", "a notin b"])
def test_a_label_selector_that_is_none_is_refused(server: Any, selector: str) -> None:
    answer = server.request("GET", f"{MAPS}?labelSelector={selector.replace(' ', '%20')}")
    assert (answer.status, answer.json()["reason"]) == (400, "BadRequest")


def test_field_selectors_of_pods_and_events_select(server: Any) -> None:
    for name in ("f1", "f2"):
        server.create(PODS, unscheduled(name))
    server.create(f"{PODS}/f1/binding", {"target": {"name": "here"}})
    server.patch(f"{PODS}/f1/status", {"status": {"phase": "Running"}})

    def names(query: str) -> list[str]:
        return [each["metadata"]["name"] for each in server.get(f"{PODS}?fieldSelector={query}")["items"]]

    assert names("spec.nodeName=here") == ["f1"]
    assert "f2" in names("spec.nodeName=")
    assert names("status.phase=Running,metadata.name=f1") == ["f1"]
    assert "f1" not in names("status.phase!=Running")
    event = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "f1", "uid": "u1"}, "reason": "R"}
    server.create("/api/v1/namespaces/default/events", {"metadata": {"name": "e1"}, **event})
    query = "involvedObject.uid=u1,involvedObject.name=f1,reason=R"
    assert [each["metadata"]["name"] for each in server.get(f"/api/v1/events?fieldSelector={query}")["items"]] == ["e1"]


def test_generated_names_differ(server: Any) -> None:
    made = {server.create(MAPS, {"metadata": {"generateName": "gen-"}})["metadata"]["name"] for _ in range(20)}
    assert len(made) == 20


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        ({"metadata": {}}, 422, "name or generateName is required"),
        ({"metadata": {"name": "x", "resourceVersion": "1"}}, 400, "should not be set on objects to be created"),
        ({"metadata": {"name": "x", "annotations": {"a b": "c"}}}, 422, "name part must consist of"),
        ({"metadata": {"name": "x" * 254}}, 422, "must be no more than 253 characters"),
        ({"metadata": {"name": "x", "ownerReferences": [{"name": "y"}]}}, 422, "ownerReferences[0].uid"),
    ],
)
def test_bad_metadata_is_refused(server: Any, value: Any, status: int, words: str) -> None:
    answer = server.request("POST", MAPS, value)
    assert (answer.status, words in answer.message) == (status, True), answer.message


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ("[", 400),
        ("[]", 400),
        ({"preconditions": "x"}, 400),
        ({"preconditions": {"uid": 1}}, 400),
        ({"gracePeriodSeconds": "1"}, 400),
        ({"propagationPolicy": "X"}, 422),
        ({"dryRun": ["Some"]}, 422),
    ],
)
def test_bad_delete_options_delete_nothing(server: Any, options: Any, status: int) -> None:
    if server.request("GET", f"{MAPS}/undeleted").status == 404:
        server.create(MAPS, {"metadata": {"name": "undeleted"}})
    assert server.request("DELETE", f"{MAPS}/undeleted", options).status == status
    assert server.request("GET", f"{MAPS}/undeleted").status == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("dryRun=Some", 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some"'),
        ("fieldValidation=Lax", 'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Lax"'),
    ],
)
def test_an_option_that_nobody_knows_is_refused(server: Any, query: str, message: str) -> None:
    answer = server.request("POST", f"{MAPS}?{query}", {"metadata": {"name": "optional"}})
    assert (answer.status, message in answer.message) == (422, True), answer.message


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("resourceVersionMatch=Exact", "forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 'forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=Near&resourceVersion=1", 'Unsupported value: "Near"'),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", "forbidden for watch unless sendInitialEvents"),
    ],
)
def test_options_of_lists_that_do_not_go_together_are_refused(server: Any, query: str, words: str) -> None:
    answer = server.request("GET", f"{MAPS}?{query}")
    assert (answer.status, words in answer.message) == (422, True), answer.message


def test_a_list_of_one_moment_is_of_that_moment_or_expired(server: Any) -> None:
    version = server.get(MAPS)["metadata"]["resourceVersion"]
    exact = server.request("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert exact.json()["metadata"]["resourceVersion"] == version
    server.create(MAPS, {"metadata": {"generateName": "later-"}})
    past = server.request("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert past.status == 410 or past.json() == exact.json()


STRAY = {"metadata": {"name": "stray"}, "spec": {"schedulerName": "x", "containers": [{"name": "c", "imge": "i"}]}}


def test_fields_that_nobody_knows_are_named_in_built_in_kinds_too(server: Any) -> None:
    pod = {**STRAY, "spec": {**STRAY["spec"], "containers": [{"name": "c", "image": "i", "imge": "i"}]}}
    strict = server.request("POST", f"{PODS}?fieldValidation=Strict", pod)
    assert strict.status == 400
    assert strict.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imge"'
    )
    warned = server.request("POST", PODS, pod)
    assert warned.status == 201
    assert warned.headers["Warning"] == r'299 - "unknown field \"spec.containers[0].imge\""'
    assert "imge" not in warned.json()["spec"]["containers"][0]
    ignored = server.request(
        "PATCH", f"{PODS}/stray?fieldValidation=Ignore", {"x": 1}, Content_Type="application/merge-patch+json"
    )
    assert (ignored.status, "Warning" in ignored.headers) == (200, False)


def test_quantities_have_one_form_however_they_were_written(server: Any) -> None:
    given = {"cpu": 0.5, "memory": "1024Mi", "ephemeral-storage": "1.5Gi", "example.com/gpu": 1}
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1000m"} | given, "limits": given}}
    container["resources"]["requests"]["cpu"] = "250m"
    made = server.create(
        PODS, {"metadata": {"name": "sized"}, "spec": {"schedulerName": "x", "containers": [container]}}
    )
    limits = {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1536Mi", "example.com/gpu": "1"}
    assert made["spec"]["containers"][0]["resources"] == {"limits": limits, "requests": {**limits, "cpu": "250m"}}
    container["resources"]["limits"]["memory"] = "1GB"
    refused = server.request("POST", PODS, {"metadata": {"name": "mis-sized"}, "spec": {"containers": [container]}})
    assert (refused.status, "quantities must match the regular expression" in refused.message) == (400, True)


def test_a_field_that_is_given_twice_is_named(server: Any) -> None:
    body = '{"metadata":{"name":"twice"},"spec":{"prompt":"a","prompt":"b"}}'
    strict = server.request("POST", f"{JOBS}?fieldValidation=Strict", body)
    assert (strict.status, 'duplicate field "spec.prompt"' in strict.message) == (400, True)
    warned = server.request("POST", JOBS, body)
    assert (warned.status, warned.json()["spec"]["prompt"]) == (201, "b")
    assert "duplicate field" in warned.headers["Warning"]


def test_kubectls_server_side_apply_takes_over_what_it_applied_before(server: Any) -> None:
    """Without force: the annotation of the client-side apply says that it was kubectl's."""
    value = {"apiVersion": "media.example.com/v1alpha1", "kind": "MediaJob", "metadata": {"name": "mine"}}
    text = json.dumps({**value, "spec": {"prompt": "a"}})
    annotated = {**value, "metadata": {"name": "mine", "annotations": {LAST_APPLIED: text}}, "spec": {"prompt": "a"}}
    server.done(server.request("POST", f"{JOBS}?fieldManager=kubectl-client-side-apply", annotated))
    wanted = {**value, "spec": {"prompt": "<b>"}}
    other = server.request("PATCH", f"{JOBS}/mine?fieldManager=other", wanted, Content_Type=f"application/{APPLY}")
    assert other.status == 409
    applied = apply(server, f"{JOBS}/mine", "kubectl", wanted)
    assert applied["spec"]["prompt"] == "<b>"
    kept = applied["metadata"]["annotations"][LAST_APPLIED]
    assert (json.loads(kept), "\\u003cb\\u003e" in kept) == (wanted, True)


def test_secrets_take_plain_text_and_refuse_what_is_no_base64(server: Any) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    made = server.create(secrets, {"metadata": {"name": "s"}, "stringData": {"key": "value"}, "data": {"b": "Yg=="}})
    assert made["data"] == {"b": "Yg==", "key": "dmFsdWU="}
    assert (made["type"], "stringData" in made) == ("Opaque", False)
    answer = server.request("POST", secrets, {"metadata": {"name": "t"}, "data": {"k": "no base64!"}})
    assert answer.status == 422
    assert "stringData" in answer.message


def test_old_clients_get_the_old_discovery(server: Any) -> None:
    assert server.get("/api")["versions"] == ["v1"]
    groups = {each["name"] for each in server.get("/apis", Accept="*/*")["groups"]}
    assert {"apiextensions.k8s.io", "coordination.k8s.io", "media.example.com"} <= groups
    pods = {each["name"]: each for each in server.get("/api/v1")["resources"]}
    assert pods["pods"]["shortNames"] == ["po"]
    assert {"pods/status", "pods/log", "namespaces/status"} <= set(pods)


def test_openapi_names_the_patch_operation_that_kubectl_looks_for(server: Any) -> None:
    paths = server.get("/openapi/v3")["paths"]
    document = server.get(paths["apis/media.example.com/v1alpha1"]["serverRelativeURL"])
    operation = document["paths"]["/apis/media.example.com/v1alpha1/namespaces/{namespace}/mediajobs/{name}"]["patch"]
    assert operation["x-kubernetes-group-version-kind"]["kind"] == "MediaJob"
    assert "fieldValidation" in {each["name"] for each in operation["parameters"]}
    schema = document["components"]["schemas"]["com.example.media.v1alpha1.MediaJob"]
    assert schema["properties"]["spec"]["properties"]["frames"]["default"] == 16
    unchanged = server.request("GET", "/openapi/v3", If_None_Match=server.request("GET", "/openapi/v3").headers["ETag"])
    assert unchanged.status == 304


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{MAPS}/x", 405),
        ("PUT", MAPS, 405),
        ("POST", "/api/v1/configmaps", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("GET", f"{MAPS}/x/status", 404),
        ("GET", "/api/v1/configmaps/x", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/apis/carryon.dev/v9/generationjobs", 404),
    ],
)
def test_paths_and_methods_that_nothing_serves(server: Any, method: str, path: str, status: int) -> None:
    assert server.request(method, path, {} if method in ("POST", "PUT") else None).status == status


def test_a_body_over_three_mebibytes_is_refused(server: Any) -> None:
    answer = server.request("POST", MAPS, {"metadata": {"name": "huge"}, "data": {"a": "x" * 3_200_000}})
    assert (answer.status, answer.json()["reason"]) == (413, "RequestEntityTooLarge")


def test_yaml_is_read_and_written(server: Any) -> None:
    text = "metadata: {name: in-yaml}\ndata: {when: '2026-01-01'}\n"
    answer = server.request("POST", MAPS, text, Content_Type="application/yaml", Accept="application/yaml")
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/yaml"
    assert b"name: in-yaml" in answer.body


def test_true_is_not_one(server: Any) -> None:
    spec = {"prompt": "p", "frames": 1, "opts": {"loops": 1, "names": [1]}}
    made = server.create(JOBS, {"metadata": {"name": "ones"}, "spec": spec})
    server.patch(f"{JOBS}/ones", {"spec": {"opts": {"loops": True, "names": [True]}}})
    changed = server.get(f"{JOBS}/ones")
    assert (changed["spec"]["opts"]["loops"] is True, changed["spec"]["opts"]["names"][0] is True) == (True, True)
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] + 1
    refused = server.request(
        "PATCH", f"{JOBS}/ones", {"spec": {"frames": True, "prompt": "q"}}, Content_Type="application/merge-patch+json"
    )
    assert (refused.status, "spec.frames in body must be of type integer" in refused.message) == (422, True)
    pod = unscheduled("ones", activeDeadlineSeconds=1)
    server.create("/api/v1/namespaces/default/pods", pod)
    change = {"spec": {"activeDeadlineSeconds": True}, "metadata": {"labels": {"a": "b"}}}
    kind = "application/strategic-merge-patch+json"
    refused = server.request("PATCH", "/api/v1/namespaces/default/pods/ones", change, Content_Type=kind)
    assert refused.status in (400, 422), refused.body
