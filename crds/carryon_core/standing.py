"""Where the units of a job stand by what is done: which count as done, and what those that gather are made from.

Most units have a fingerprint as soon as the job is resolved. One that gathers has it once what it gathers is known, and
so have the units below it; `stand` finds them out anew whenever something became done. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from carryon_core.done import Outcome
from carryon_core.messages import InputRef
from carryon_core.resolve import ResolvedJob, Unit

UnitKey: TypeAlias = tuple[int, int]
"""Index of the stage, index of the item (0 where the stage gathers)."""


@dataclass(frozen=True, slots=True)
class DoneUnit:
    """What is kept of a done.json that verified.

    Attributes:
        pod_uid: Whose work it was.
        seconds: That pod spent on it.
    """

    outcome: Outcome
    pod_uid: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Standing:
    """A job against its bucket.

    Attributes:
        job: The job, in which every unit has its fingerprint whose inputs are known; the others have "".
        outcomes: Units that count as done: verified ones, and those skipped because one upstream made nothing.
        members: Stage that gathers -> the units its own is made from, stage by stage in order of the items.
    """

    job: ResolvedJob
    outcomes: Mapping[UnitKey, Outcome]
    members: Mapping[int, tuple[UnitKey, ...]]

    def inputs(self, unit: Unit) -> dict[str, InputRef | list[InputRef]]:
        """Name in `inputs` -> the finished units that this one takes its inputs from."""
        raise NotImplementedError


def stand(resolved: ResolvedJob, done: Mapping[str, DoneUnit], failed: Container[UnitKey] | None = None) -> Standing:
    """Where the units stand.

    Args:
        resolved: The job.
        done: Fingerprint -> what the bucket shows as done.
        failed: Units that failed for good. A unit that gathers has no fingerprint before every unit upstream is done
            or among these; None: as if all that is not done had failed, for a look at what may be there already.
    """
    raise NotImplementedError
