"""Which releases go together: what each refuses of another, and what a later CRD may not do to jobs of an earlier."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from carryon_core import compatibility
from carryon_core.compatibility import (
    ASSIGNMENT,
    OLDEST_ASSIGNMENT,
    RELEASES,
    Incompatible,
    check_assignment,
)
from carryon_core.schema_changes import bare, breaks, lacking, schema
from carryon_jobs.archive import members
from carryon_worker.journal import segments

ROOT = Path(__file__).parents[2]
SCHEMA = schema()
RELEASED = sorted((ROOT / "tests" / "released").glob("crd-*.json"))


@pytest.mark.parametrize(
    "given", [{"version": ASSIGNMENT}, {"version": OLDEST_ASSIGNMENT}, {}, {"version": "x"}, [], 7]
)
def test_what_can_be_carried_out_or_read_further_passes(given: Any) -> None:
    check_assignment(given)


@pytest.mark.parametrize(
    ("version", "reason", "told"),
    [
        (ASSIGNMENT + 1, "WorkerTooOld", "name a worker image of the operator's release"),
        (OLDEST_ASSIGNMENT - 1, "OperatorTooOld", "upgrade the operator, or name a worker image of its release"),
    ],
)
def test_what_can_not_be_carried_out_is_refused_with_what_to_do(version: int, reason: str, told: str) -> None:
    with pytest.raises(Incompatible, match=told) as refused:
        check_assignment({"version": version, "units": "of a shape that nobody knows"})
    assert refused.value.reason == reason
    assert f"of version {version}" in str(refused.value)


def test_the_releases_end_with_this_one_and_go_upwards() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert RELEASES[-1].version == version.rpartition(".")[0], "a new minor version has a line in RELEASES"
    assert RELEASES[-1].assignments == (OLDEST_ASSIGNMENT, ASSIGNMENT)
    assert (RELEASES[-1].journal, RELEASES[-1].archive) == (segments.FORMAT, members.VERSION)
    for before, after in pairwise(RELEASES):
        assert after.contract >= before.contract
        assert after.assignments[0] <= before.assignments[1], "workers carry out what the release before them wrote"


def test_the_page_about_upgrades_shows_the_table() -> None:
    page = (ROOT / "docs" / "how-to" / "upgrade.md").read_text()
    assert compatibility.table() in page, f"docs/how-to/upgrade.md has to hold this:\n{compatibility.table()}"


def test_there_is_a_crd_of_every_release() -> None:
    wanted = [f"crd-{release.version}" for release in RELEASES]
    assert [file.stem for file in RELEASED] == wanted, (
        "python -m carryon_core.schema_changes > tests/released/crd-...json"
    )


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_the_crd_keeps_what_it_promised_to_jobs_and_operators_of_earlier_releases(file: Path) -> None:
    assert list(breaks(json.loads(file.read_text()), SCHEMA)) == []


def test_a_crd_lacks_nothing_of_itself() -> None:
    assert list(lacking(SCHEMA, SCHEMA)) == []
    assert list(breaks(bare(SCHEMA), SCHEMA)) == [], "descriptions count for nothing"


def at(found: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of a field."""
    for name in path.split("."):
        found = found["properties"][name.removesuffix("[]")]
        found = found["items"] if name.endswith("[]") else found
    return found


def without(path: str) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        parent, _, name = path.rpartition(".")
        del at(found, parent)["properties"][name]

    return change


def having(path: str, **keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        at(found, path).update(keys)

    return change


def adding(path: str, name: str, **field: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        at(found, path)["properties"][name] = field

    return change


NEW = {"type": "integer", "nullable": True}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("spec.limits.resumes"), "spec.limits.resumes: it is gone"),
        (without("status.stages[].images"), "status.stages[].images: it is gone"),
        (having("spec.parallelism", type="string"), "spec.parallelism: type was integer, and is string"),
        (having("spec.parallelism", maximum=2), "spec.parallelism: maximum was"),
        (having("spec.parallelism", minimum=5), "spec.parallelism: minimum was"),
        (having("spec.stages", maxItems=3), "spec.stages: maxItems was 16, and is 3"),
        (
            having("spec.checkpoint.policy", enum=["Off"]),
            "spec.checkpoint.policy: Low, Medium, High may stand there no",
        ),
        (having("spec.limits.resumes", nullable=False), "spec.limits.resumes: null may stand there no more"),
        (having("spec.parallelism", default=9), "spec.parallelism: the default was 1, and is 9"),
        (having("spec.output", required=["uri", "region"]), "spec.output: region is required, and was not"),
        (
            having("spec.output", **{"x-kubernetes-validations": [{"rule": "false", "message": "never"}]}),
            "spec.output: a rule that jobs of before may not keep: never",
        ),
        (
            adding("spec.limits", "euros", type="integer", default=5),
            "spec.limits.euros: it is new and has a default, so operators of before would refuse every job",
        ),
    ],
)
def test_what_breaks_the_promise_is_found(change: Callable[[dict[str, Any]], None], told: str) -> None:
    changed = copy.deepcopy(SCHEMA)
    change(changed)
    found = list(breaks(SCHEMA, changed))
    assert len(found) == 1
    assert found[0].startswith(told)


@pytest.mark.parametrize(
    "change",
    [
        adding("spec.limits", "euros", **NEW),
        adding("status.stages[]", "colour", **NEW),
        having("spec.stages", maxItems=32),
        having("spec.checkpoint.policy", enum=["Off", "Low", "Medium", "High", "Paranoid"]),
        having("spec.parallelism", description="Other words."),
        having("spec.output", **{"x-kubernetes-validations": []}),
    ],
)
def test_what_adds_or_loosens_is_allowed(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(SCHEMA)
    change(changed)
    assert list(breaks(SCHEMA, changed)) == []


def test_what_an_api_server_takes_as_it_is_lacks_nothing() -> None:
    ours = {"properties": {"podTemplate": {"type": "object", "properties": {"spec": {"type": "object"}}}}}
    theirs = {"properties": {"podTemplate": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    assert list(lacking(ours, theirs)) == []
    assert list(lacking(ours, {"properties": {"podTemplate": {"type": "object"}}})) == ["podTemplate.spec"]
