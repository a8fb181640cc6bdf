"""Recorded requests to a Kubernetes 1.36 server, sent again in their order, answered alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apiservers import Client
from recordings import GOLDEN, HEADERS, Correspondence, Difference, documented, parse, picked, read

JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"
MERGE = "application/merge-patch+json"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "standalone.md"
HEADING = "### Recorded answers that differ"

# In the order of recording. A tuple is a write between two recordings: method, path, body.
JOURNAL: list[str | tuple[str, str, Any, str]] = [
    "disc-api-agg", "disc-apis-agg", "disc-apis-plain", "disc-group", "disc-gv", "openapi-v3-root", "openapi-v3-crd",
    "res-404", "group-404",
    "create-ok", "get-table", "list", "list-table", "get-404", "accept-406",
    "create-exists", "create-strict", "create-warn", "create-invalid", "create-missing-req", "create-badname",
    "create-genname", "create-wrongkind", "create-nsmismatch", "create-nons", "create-badjson", "create-pb415",
    "status-merge", "main-merge-ignores-status", "noop-patch", "merge-invalid", "merge-stale-rv", "merge-404",
    "put-norv", "put-stale", "jsonpatch-multi", "jsonpatch-testfail", "jsonpatch-badpath",
    "ssa-nofm", "ssa-create", "ssa-conflict", "ssa-force", "ssa-drop-field", "ssa-status",
    ("PATCH", f"{JOBS}/g1", {"metadata": {"labels": {"a": "c"}}}, MERGE),
    ("PATCH", f"{JOBS}/g1", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    ("DELETE", f"{JOBS}/s1", None, ""),
    "watch-from-rv", "watch-norv", "watch-rv0", "watch-table", "watch-selector-replay", "watch-future", "watch-old",
    ("POST", JOBS, {"metadata": {"name": "d1"}, "spec": {"prompt": "p"}}, "application/json"),
    "delete-plain",
    "watch-sendinitial", "list-limit1", "list-badrv", "list-future", "list-fieldsel-bad", "list-labelsel-bad",
    "delete-precond",
    ("PATCH", f"{JOBS}/g1", {"metadata": {"finalizers": ["a.example.com/x"]}}, MERGE),
    "delete-finalizer", "patch-add-finalizer-while-deleting", "patch-remove-finalizer", "get-after", "delete-gone",
    "deletecollection", "events-create", "ssar",
]  # fmt: skip
RECORDINGS = [step for step in JOURNAL if isinstance(step, str)]


READ_ONLY = "/v1/services"


def in_both(entries: Callable[[Any], dict[str, Any]]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Of entries by name, those that both have: a cluster serves kinds and groups that are not Carryon's concern."""

    def common(recorded: Any, ours: Any) -> tuple[Any, Any]:
        left, right = entries(recorded), entries(ours)
        names = [name for name in left if name in right and name != READ_ONLY]
        assert "media.example.com" in names or len(names) > 5
        return {name: left[name] for name in names}, {name: right[name] for name in names}

    return common


def aggregated(document: Any) -> dict[str, Any]:
    found = {}
    for group in document["items"]:
        name = group["metadata"].get("name", "")
        found[name or "core"] = {
            **group,
            "versions": [picked(each, "version", "freshness") for each in group["versions"]],
        }
        for version in group["versions"]:
            for resource in version["resources"]:
                below = {each["subresource"]: each for each in resource.pop("subresources", [])}
                found[f"{name}/{version['version']}/{resource['resource']}"] = resource
                found |= {f"{name}/{resource['resource']}/{each}": below[each] for each in below}
    return found


def without_hash(document: Any) -> dict[str, Any]:
    return {path: each["serverRelativeURL"].partition("?hash=")[0] for path, each in document["paths"].items()}


NOT_TAKEN = ("shardSelector", "ignoreStoreReadErrorWithClusterBreakingPotential")


def terse(value: Any) -> Any:
    """Operations without prose, and without parameters that our server does not take."""
    if isinstance(value, list):
        return [terse(each) for each in value if not (isinstance(each, dict) and each.get("name") in NOT_TAKEN)]
    if not isinstance(value, dict):
        return value
    kept = {name: inner for name, inner in value.items() if name not in ("description", "tags")}
    return {name: terse(inner) for name, inner in kept.items()}


def typed(value: Any) -> Any:
    """Schemas without the defaults that only say that a text is empty."""
    if not isinstance(value, dict):
        return value
    kept = {name: inner for name, inner in value.items() if name != "default" or inner not in ("", {})}
    return {name: typed(inner) for name, inner in kept.items()}


def openapi(document: Any) -> dict[str, Any]:
    schemas = typed(document["components"]["schemas"])
    schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"].pop("x-kubernetes-group-version-kind")
    return {**document, "paths": terse(document["paths"]), "components": {"schemas": schemas}}


DELIBERATE: dict[str, Difference] = {
    "disc-api-agg": Difference(in_both(aggregated)),
    "disc-apis-agg": Difference(in_both(aggregated)),
    "disc-apis-plain": Difference(in_both(lambda document: {each["name"]: each for each in document["groups"]})),
    "openapi-v3-root": Difference(in_both(without_hash)),
    "openapi-v3-crd": Difference(lambda recorded, ours: (openapi(recorded), openapi(ours))),
}


@pytest.fixture(scope="module")
def outcomes(server: Client) -> dict[str, list[str]]:
    """All differences, by recording."""
    correspondence = Correspondence()
    found: dict[str, list[str]] = {}
    for step in JOURNAL:
        if isinstance(step, tuple):
            method, path, body, kind = step
            assert server.request(method, path, body, **({"Content_Type": kind} if kind else {})).status < 300
            continue
        recording = read(step)
        headers = {key.replace("-", "_"): value for key, value in recording.headers.items()}
        answer = server.request(recording.method, correspondence.path(recording.path), recording.body, **headers)
        differences = [] if answer.status == recording.status else [f"status {recording.status} != {answer.status}"]
        deliberate = DELIBERATE.get(step)
        for header in HEADERS:
            if deliberate and header in deliberate.headers:
                continue
            if recording.answered.get(header) != answer.headers.get(header):
                differences.append(f"{header}: {recording.answered.get(header)} != {answer.headers.get(header)}")
        recorded = parse(recording.content, recording.watches)
        ours = parse(answer.body.decode(), recording.watches)
        if deliberate:
            recorded, ours = deliberate.common(recorded, ours)
        found[step] = differences + correspondence.differences(recorded, ours)
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_answer_is_a_real_servers(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == []


def test_every_recording_is_replayed() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(RECORDINGS)


def test_every_deliberate_difference_is_documented_with_its_reason() -> None:
    reasons = documented(PAGE.read_text(), HEADING)
    assert set(reasons) == set(DELIBERATE)
    assert all(len(reason.split()) > 5 for reason in reasons.values())
    assert f": {len(RECORDINGS)} requests are answered" in PAGE.read_text()
