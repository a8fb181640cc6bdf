"""What was done by the last status, as far as nothing was edited since.

Status has no room for fingerprints, so each stage keeps short digests of them, block by block: an edit of one unit
hides its own block from the comparison and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from carryon_core.ranges import IndexSet
from carryon_core.resolved import ResolvedJob, ResolvedStage
from carryon_core.standing import UnitKey
from carryon_core.status import MADE_BLOCKS, MARK, StageStatus
from carryon_operator.plan.case import Case

_EMPTY: Final = "-" * MARK


def made_of(stage: StageStatus) -> IndexSet:
    """Units of which status says that something was made."""
    return IndexSet.parse(stage.succeeded) - IndexSet.parse(stage.skipped)


def blocks_of(job: ResolvedJob, stage: ResolvedStage, made: IndexSet) -> str:
    """Digest of each block of a stage, as `StageStatus.made` keeps it; "----" where nothing of it was made."""
    size = _size(len(stage.units))
    blocks = {block: list(items) for block, items in groupby(made, key=lambda item: item // size)}
    count = -(-len(stage.units) // size)
    return "".join(_digest(job, ((stage.index, item) for item in blocks.get(n, ()))) for n in range(count))


def unedited(case: Case, kept: StageStatus, stage: ResolvedStage) -> Iterator[UnitKey]:
    """Units of a stage of which something was made, and which would be made from just the same today."""
    size = _size(kept.total)
    for block, items in groupby(made_of(kept), key=lambda item: item // size):
        units = [case.moved((stage.index, item)) for item in items]
        present = [unit for unit in units if unit is not None]
        if len(present) == len(units) and _digest(case.job, present) == kept.made[block * MARK : (block + 1) * MARK]:
            yield from present


def _size(units: int) -> int:
    return max(-(-units // MADE_BLOCKS), 1)


def _digest(job: ResolvedJob, units: Iterable[UnitKey]) -> str:
    prints = "\n".join(job.stages[stage].fingerprints[item] for stage, item in units)
    return hashlib.sha256(prints.encode()).hexdigest()[:MARK] if prints else _EMPTY
