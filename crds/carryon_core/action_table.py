"""docs/reference/actions.md: every state a job can be in, every action, and the verdict that the chains come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from carryon_core import names
from carryon_core.actions import Action, Verdict, verdicts
from carryon_core.phases import Phase
from carryon_core.spec import JobSpec
from carryon_core.status import Condition, ConditionType, JobStatus

NAME: Final = "reel-42"
NOW: Final = 1_790_000_000.0
_TIME: Final = "2026-09-21T14:13:20Z"
_AHEAD: Final = "2026-12-01T06:00:00Z"

_INTRO: Final = f"""\
# What can be done to a job, and when

<!-- Made from carryon_core by `make generate`; change carryon_core/actions.py, not this file. -->

`carryon actions NAME` shows the row of one job. Command and status ask the same function, so they say the same. The job
below is called {NAME} and has 15 units; its stage `clip` asks for approval where the state says so.

Possible: **yes**. **already**: it is so, or was asked for and the operator has not acted on it yet; asking again is no
mistake, and nothing is sent. **no**: the sections below say why, and what would help.
"""

_PATCHES: Final = f"""\
## What each action sends

One JSON merge patch, so that no half of it can get lost. kubectl does the same with `--type merge`.

| action | patch |
|---|---|
| resume | annotation `{names.ANNOTATION_RESUME}` with a time; `spec.suspend` and `spec.cancel` false, \
`spec.suspendUntil` null where it is set |
| pause | `spec.suspend: true`; with a time, `spec.suspend: false` and `spec.suspendUntil` |
| restart | annotation `{names.ANNOTATION_RESTART}` with a time |
| cancel | `spec.cancel: true` |
| retry | annotation `{names.ANNOTATION_RETRY}`: the units as in status, then `@` and a time: \
`clip/7,clip/9-11@2026-12-01T06:00:00Z` |
| redo | `spec.overrides`, with the unit's new params or a new seed |
| approve | `spec.approved` of one stage, with the items that may enter it |

A request counts as handled when `status.handled` has the annotation's text. Until then the same action answers
*already*.
"""


@dataclass(frozen=True)
class Situation:
    """A state that a job can be in, by an example."""

    title: str
    phase: Phase
    spec: JobSpec
    status: JobStatus
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False

    def verdicts(self) -> dict[Action, Verdict]:
        """The verdict on every action."""
        return verdicts(
            self.spec, self.status, self.annotations, name=NAME, generation=1, now=NOW, deleting=self.deleting
        )


def table() -> list[Situation]:
    """Every state, in the order of a job's life."""
    at_work = {"active": 3, "succeeded": 9}
    failed = {"succeeded": 13, "failed": 2}
    ended = ConditionType.FINISHED
    done, lost, stopped = ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED
    asked, cancelled = {"cancel": True}, {stopped: ("Cancelled", "9 of 15 units done"), ended: ("Finished", "")}
    all_failed = {lost: ("UnitsFailed", "13 of 15 units done, 2 failed"), ended: ("Finished", "")}
    gone = {ConditionType.ARTIFACTS_MISSING: ("Removed", "the bucket no longer shows 3 units that were done")}
    all_done = {done: ("AllUnitsDone", "15 of 15 units done"), ended: ("Finished", "")}
    within_policy = {done: ("SuccessPolicyHolds", "13 of 15 units done, 2 failed"), ended: ("Finished", "")}
    approval = {"stages": [_stage(approval="Required")]}
    asking = "6 units of stage clip wait until spec.approved.clip names their items"
    waits = {ConditionType.AWAITING_APPROVAL: ("ApprovalRequired", asking)}
    suspended = {ConditionType.SUSPENDED: ("Suspended", "spec.suspend is true, and no pod is at work")}
    no_room = {ConditionType.STALLED: ("Unschedulable", "no node takes the pods: 0/1 nodes are available")}
    vanished = {ConditionType.STALLED: ("ArtifactsVanished", "the bucket no longer shows 7 of 9 units that were done")}
    return [
        _situation("Pending", Phase.PENDING, units=_counts()),
        _situation(
            "Stalled, the spec can't be carried out",
            Phase.STALLED,
            units=_counts(total=0),
            refused='stage "clip": template names item.promt',
        ),
        _situation("Running", Phase.RUNNING, units=_counts(**at_work)),
        _situation("Running, 2 units failed for good", Phase.RUNNING, units=_counts(active=3, **failed)),
        _situation(
            "Running, restart and retry asked for",
            Phase.RUNNING,
            units=_counts(active=3, **failed),
            annotations={names.ANNOTATION_RESTART: _TIME, names.ANNOTATION_RETRY: f"clip/7@{_TIME}"},
        ),
        _situation("Stalled, limits.gpuSeconds reached", Phase.STALLED, {"limits": {"gpuSeconds": 3600}}, gpu=3600),
        _situation("Running, spec.parallelism 0", Phase.RUNNING, {"parallelism": 0}, units=_counts(succeeded=9)),
        _situation("Retrying", Phase.RETRYING, units=_counts(succeeded=9)),
        _situation("Stalled, no room for its pods", Phase.STALLED, true=no_room, units=_counts(**at_work)),
        _situation("Stalled, artifacts vanished", Phase.STALLED, true=vanished, units=_counts(succeeded=2)),
        _situation("AwaitingApproval", Phase.AWAITING_APPROVAL, approval, true=waits, units=_counts(succeeded=9)),
        _situation(
            "AwaitingApproval, everything approved meanwhile",
            Phase.AWAITING_APPROVAL,
            {**approval, "approved": {"clip": ["*"]}},
            generation=0,
            units=_counts(succeeded=9),
        ),
        _situation("Suspending", Phase.SUSPENDING, {"suspend": True}, units=_counts(**at_work)),
        _situation("Suspended", Phase.SUSPENDED, {"suspend": True}, true=suspended, units=_counts(succeeded=9)),
        _situation(
            "Suspended until a time", Phase.SUSPENDED, {"suspendUntil": _AHEAD}, true=suspended, units=_counts(**failed)
        ),
        _situation(
            "Suspended, limits.resumes reached",
            Phase.SUSPENDED,
            {"suspend": True, "limits": {"resumes": 3}},
            true=suspended,
            units=_counts(succeeded=9),
            resumes=3,
        ),
        _situation(
            "Suspended, resume asked for",
            Phase.SUSPENDED,
            generation=0,
            annotations={names.ANNOTATION_RESUME: _TIME},
            units=_counts(succeeded=9),
        ),
        _situation("Succeeded", Phase.SUCCEEDED, true=all_done, units=_counts(succeeded=15)),
        _situation(
            "Succeeded, artifacts missing", Phase.SUCCEEDED, true={**all_done, **gone}, units=_counts(succeeded=15)
        ),
        _situation(
            "Succeeded, 2 units failed within success.minPercent",
            Phase.SUCCEEDED,
            true=within_policy,
            units=_counts(**failed),
        ),
        _situation("Failed", Phase.FAILED, true=all_failed, units=_counts(**failed)),
        _situation(
            "Failed, resume asked for",
            Phase.FAILED,
            true=all_failed,
            units=_counts(**failed),
            annotations={names.ANNOTATION_RESUME: _TIME},
        ),
        _situation(
            "Failed, timeouts.job is over",
            Phase.FAILED,
            {"timeouts": {"job": "2h"}},
            true={lost: ("JobTimeout", "9 of 15 units done"), ended: ("Finished", "")},
            units=_counts(succeeded=9),
        ),
        _situation("Running, cancel asked for", Phase.RUNNING, asked, generation=0, units=_counts(**at_work)),
        _situation("Cancelled", Phase.CANCELLED, asked, true=cancelled, units=_counts(succeeded=9)),
        replace(_situation("Being deleted", Phase.RUNNING, units=_counts(**at_work)), deleting=True),
    ]


def _situation(
    title: str,
    phase: Phase,
    spec: Mapping[str, Any] | None = None,
    *,
    true: Mapping[ConditionType, tuple[str, str]] | None = None,
    refused: str | None = None,
    units: Mapping[str, int] | None = None,
    generation: int = 1,
    annotations: Mapping[str, str] | None = None,
    gpu: int = 0,
    resumes: int = 0,
) -> Situation:
    conditions = [
        Condition(type=kind, status="True", reason=reason, message=message, last_transition_time=_TIME)
        for kind, (reason, message) in (true or {}).items()
    ]
    if refused is not None:
        conditions.append(
            Condition(
                type=ConditionType.ACCEPTED,
                status="False",
                reason="InvalidTemplate",
                message=refused,
                last_transition_time=_TIME,
            )
        )
    status = {
        "observedGeneration": generation,
        "phase": phase,
        "units": units or _counts(),
        "conditions": conditions,
        "gpuSeconds": {"total": gpu},
        "counters": {"resumes": resumes},
    }
    given = {"items": {"count": 15}, "stages": [_stage()], **(spec or {})}
    return Situation(title, phase, JobSpec.model_validate(given), JobStatus.model_validate(status), annotations or {})


def _stage(**more: str) -> dict[str, Any]:
    return {"name": "clip", "generate": {"command": {"args": ["make-clip"]}}, **more}


def _counts(total: int = 15, succeeded: int = 0, failed: int = 0, active: int = 0) -> dict[str, int]:
    remaining = total - succeeded - failed
    return {"total": total, "succeeded": succeeded, "failed": failed, "active": active, "remaining": remaining}


def word(verdict: Verdict) -> str:
    """A verdict in the table."""
    return "**yes**" if verdict.possible else "already" if verdict.already else "no"


def render() -> str:
    """The page as Markdown."""
    return "\n".join([_INTRO, "\n".join(_matrix()) + "\n", _PATCHES, *_sections()])


def _matrix() -> Iterator[str]:
    yield "| state | " + " | ".join(Action) + " |"
    yield "|---|" + "---|" * len(Action)
    for situation in table():
        yield f"| {situation.title} | " + " | ".join(map(word, situation.verdicts().values())) + " |"


def _sections() -> Iterator[str]:
    """A section for each action; states with the same answer share a row."""
    for action in Action:
        states: dict[Verdict, list[str]] = {}
        for situation in table():
            states.setdefault(situation.verdicts()[action], []).append(situation.title)
        rows = [
            f"| {'; '.join(titles)} | {word(made)} | {made.label} | {_cell(made.reason)} | {_cell(made.action)} |"
            for made, titles in states.items()
        ]
        heading = (f"## {action}", "", "| state | possible | button | reason | what to do |", "|---|---|---|---|---|")
        yield "\n".join([*heading, *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page."""
    path = Path(__file__).resolve().parents[2] / "docs" / "reference" / "actions.md"
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
