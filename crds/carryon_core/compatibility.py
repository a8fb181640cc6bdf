"""Which releases of operator, worker and CRD go together, and how each notices one that it does not go with.

Operator and worker meet in two places. The fingerprint of a unit has a contract (`fingerprint.CONTRACT`): the operator
says which one it means, and the worker copies that into done.json. An assignment has a version: the operator writes the
lowest that says what it has to say, and a worker refuses one that it can't carry out instead of making something else.
The CRD has no number: see `schema_changes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carryon_core import names
from carryon_core.fingerprint import CONTRACT

ASSIGNMENT: Final = 1
"""Version of assignments; raised when one says what workers of before would ignore, and must not."""
OLDEST_ASSIGNMENT: Final = 1
"""The oldest version that workers of this release carry out."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a release of Carryon writes and reads; releases of one minor version are the same.

    Attributes:
        version: Minor version, such as "0.1".
        api: Version of the resource.
        contract: Of fingerprints.
        assignments: Versions that its workers carry out, oldest and newest; its operator writes the newest at most.
        journal: Format of what workers keep of half-made units; they read no other.
        archive: Format of archives; it reads no other.
    """

    version: str
    api: str
    contract: int
    assignments: tuple[int, int]
    journal: int
    archive: int


RELEASES: Final = (Release("0.1", names.VERSION, CONTRACT, (OLDEST_ASSIGNMENT, ASSIGNMENT), journal=2, archive=1),)
"""All there are, the oldest first; the last one is this."""


WORKER_TOO_OLD: Final = "WorkerTooOld"
OPERATOR_TOO_OLD: Final = "OperatorTooOld"


class Incompatible(ValueError):
    """An operator and a worker that don't go together.

    Attributes:
        reason: In one word, for status.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_assignment(given: Any) -> None:
    """Make sure that a worker of this release can carry out an assignment, before it reads any more of it.

    Args:
        given: The assignment as parsed JSON; what names no version is of the first.

    Raises:
        Incompatible: One of both is too old; what to do.
    """
    version = given.get("version", 1) if isinstance(given, Mapping) else 1
    if not isinstance(version, int):
        return
    ours = f"this worker is of Carryon {RELEASES[-1].version} and carries out assignments"
    theirs = f"and the operator's is of version {version}"
    if version > ASSIGNMENT:
        cure = "name a worker image of the operator's release, in the stage or for all stages, then retry the unit"
        raise Incompatible(WORKER_TOO_OLD, f"{ours} up to version {ASSIGNMENT}, {theirs}: {cure}")
    if version < OLDEST_ASSIGNMENT:
        cure = "upgrade the operator, or name a worker image of its release, then retry the unit"
        raise Incompatible(OPERATOR_TOO_OLD, f"{ours} from version {OLDEST_ASSIGNMENT} on, {theirs}: {cure}")


def table() -> str:
    """The releases as a Markdown table."""
    rows = [
        "| release | CRD | contract of fingerprints | assignments that its workers carry out | journals | archives |",
        "|---|---|---|---|---|---|",
    ]
    for each in RELEASES:
        oldest, newest = each.assignments
        carried = str(newest) if oldest == newest else f"{oldest} to {newest}"
        api = f"`{names.GROUP}/{each.api}`"
        rows.append(f"| {each.version} | {api} | {each.contract} | {carried} | {each.journal} | {each.archive} |")
    return "\n".join(rows)
