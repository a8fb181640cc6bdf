"""What the page about GitOps tells Argo CD and Flux of a job's health is so, for jobs in every state."""

from __future__ import annotations

from typing import Any

import cel
import lupa
import pytest
import yaml

from carryon_core import names
from carryon_core.status import ConditionType
from documents import ROOT, blocks

PAGE = ROOT / "docs/how-to/gitops.md"
SHOWN = [
    document
    for block in blocks()
    if block.page == PAGE and block.language == "yaml"
    for document in yaml.safe_load_all(block.text)
]
ACCEPTED, STALLED = ConditionType.ACCEPTED, ConditionType.STALLED
STATES: dict[str, tuple[set[str], str, str | None]] = {
    # Conditions that are True; what Argo CD and what Flux take the job for.
    "it runs": ({ACCEPTED, ConditionType.PROGRESSING}, "Progressing", "current"),
    "it is not accepted": ({STALLED}, "Degraded", "failed"),
    "it waits for a person": ({ACCEPTED, STALLED}, "Degraded", "failed"),
    "units failed": ({ACCEPTED, STALLED, ConditionType.FAILED, ConditionType.FINISHED}, "Degraded", "failed"),
    "it is done": ({ACCEPTED, ConditionType.SUCCEEDED, ConditionType.FINISHED}, "Healthy", "current"),
    "somebody paused it": ({ACCEPTED, ConditionType.SUSPENDED}, "Suspended", "current"),
    "it waits for approval": ({ACCEPTED, ConditionType.AWAITING_APPROVAL}, "Suspended", "current"),
    "it was cancelled": ({ACCEPTED, ConditionType.CANCELLED, ConditionType.FINISHED}, "Suspended", "current"),
}


def job(true: set[str], *, observed: int = 3) -> dict[str, Any]:
    """A job of generation 3 with all conditions, as the operator writes them."""
    conditions = [{"type": each.value, "status": "True" if each in true else "False"} for each in ConditionType]
    status = {"observedGeneration": observed, "message": "9 of 15 units done", "conditions": conditions}
    return {"metadata": {"generation": 3}, "status": status}


def argo(of: dict[str, Any]) -> tuple[str, str]:
    """Health and message, as Argo CD's Lua answers them."""
    (configured,) = [each["data"] for each in SHOWN if each["kind"] == "ConfigMap"]
    script = configured[f"resource.customizations.health.{names.GROUP}_{names.KIND}"]
    # Argo CD opens no libraries that reach beyond the object, and neither does this.
    lua = lupa.LuaRuntime(register_eval=False, register_builtins=False)
    lua.globals().obj = lua.table_from(of, recursive=True)
    health = lua.execute(script)
    return health["status"], health["message"]


def flux(of: dict[str, Any]) -> str | None:
    """The first of Flux's expressions that is true; None where none is."""
    (kustomization,) = [each for each in SHOWN if each["kind"] == "Kustomization"]
    (checks,) = kustomization["spec"]["healthCheckExprs"]
    assert (checks["apiVersion"], checks["kind"]) == (names.API_VERSION, names.KIND)
    for name in ("inProgress", "failed", "current"):
        verdict = cel.compile(checks[name]).execute(cel.Context(of))
        assert verdict in (True, False)
        if verdict:
            return name
    return None


@pytest.mark.parametrize("state", [*STATES])
def test_a_job_is_taken_for_what_it_is(state: str) -> None:
    true, health, verdict = STATES[state]
    assert argo(job(true)) == (health, "9 of 15 units done")
    assert flux(job(true)) == verdict


def test_a_job_that_was_just_edited_says_nothing_of_its_health_yet() -> None:
    done = {ACCEPTED, ConditionType.SUCCEEDED, ConditionType.FINISHED}
    assert argo(job(done, observed=2)) == ("Progressing", "waits for the operator")
    assert argo({"metadata": {"generation": 1}}) == ("Progressing", "waits for the operator")
    assert flux(job(done, observed=2)) == "inProgress"
