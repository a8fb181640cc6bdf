"""Which units have failed for good, by themselves or through what they need; and which stages succeed all the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from carryon_core.resolved import ResolvedJob, ResolvedStage
from carryon_core.spec import JobSpec, Stage
from carryon_core.standing import UnitKey
from carryon_operator.plan.case import Case
from carryon_operator.plan.ledger import Ledger


def judge(case: Case, ledger: Ledger) -> Case:
    """The case with what has failed in it, and no unit's books about what it was made from before an edit.

    What gathers is made from what is done and what failed, and may fail or be skipped by that in its turn: each turn of
    this settles one more stage, from the first to the last, and none is struck from the books twice.
    """
    while True:
        after = case.after(failed_units(case, ledger.given_up))
        # What has nothing to gather any more has not failed at it.
        empty = [(stage, 0) for stage, members in after.standing.members.items() if not members]
        edited = [*ledger.edited(after.job), *ledger.given_up.intersection(empty)]
        ledger.forgive(edited)
        if not edited and (after.failed, after.standing.outcomes) == (case.failed, case.standing.outcomes):
            return after
        case = after


def failed_units(case: Case, given_up: Iterable[UnitKey]) -> set[UnitKey]:
    """Units that will not be made unless somebody changes something.

    Those given up, those whose input file is missing, and those downstream of them; what gathers fails when a stage it
    gathers can no longer succeed.
    """
    job, done = case.job, case.standing.outcomes
    failed = set(given_up).difference(done)
    for stage in sorted(job.stages, key=lambda stage: stage.depth):
        if stage.gathers:
            if any(broken(case.spec, job.stages[before], failed) for before in stage.after):
                failed.update({(stage.index, 0)}.difference(done))
            continue
        failed.update({(stage.index, unit.item) for unit in stage.lacking}.difference(done))
        failed.update(_through(job, stage, failed, done))
    return failed


def broken(spec: JobSpec, stage: ResolvedStage, failed: Collection[UnitKey]) -> bool:
    """Whether so many units of a stage have failed that its success policy can't hold any more."""
    lost = sum(where == stage.index for where, _ in failed)
    return lost * 100 > (100 - policy(spec.stages[stage.index])) * len(stage.units)


def policy(stage: Stage) -> int:
    """Share of a stage's units, in percent, that must be done."""
    return stage.success.min_percent


def _through(
    job: ResolvedJob, stage: ResolvedStage, failed: Collection[UnitKey], done: Mapping[UnitKey, object]
) -> set[UnitKey]:
    """Units of a stage that fail because one upstream did, or the one before them."""
    hit: set[int] = set()
    for before in stage.after:
        if not job.stages[before].gathers:
            hit.update(item for where, item in failed if where == before)
        elif (before, 0) in failed:
            hit.update(range(len(stage.units)))
    made: set[UnitKey] = set()
    own = {item for where, item in failed if where == stage.index}
    for item in sorted(hit):
        if (stage.index, item) not in done:
            made.add((stage.index, item))
            own.add(item)
    # Each unit that needs the one before it, in order: a failure runs on to the end of the chain.
    for first in sorted(own):
        item = first + 1
        while item < len(stage.units) and stage.units[item].previous:
            if (stage.index, item) in done or (stage.index, item) in made:
                break
            made.add((stage.index, item))
            item += 1
    return made
