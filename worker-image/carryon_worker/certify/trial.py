"""Makes one unit with and without interruptions, and gathers what there is to say about it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

from carryon_core import layout
from carryon_worker.certify import control, cuts, runs, verdicts
from carryon_worker.certify.cuts import Cut
from carryon_worker.certify.forge import Pause
from carryon_worker.certify.runs import Made, Ran, Uncertifiable, Workplace
from carryon_worker.certify.verdicts import Control, Verdict

_PLAIN, _KEPT, _AGAIN, _CUT, _CHANGED = "plain", "kept", "again", "cut", "changed"
"""Buckets."""


class Trial:
    """One pipeline with one scheduler.

    Args:
        place: Where its unit is made.
        verdict: With what is known already.
        tell: Told what is done now, in a few words.
    """

    def __init__(self, place: Workplace, verdict: Verdict, tell: Callable[[str], None]) -> None:
        self._place = place
        self._verdict = verdict
        self._tell = tell

    def run(self, count: int) -> Verdict:
        """The verdict; with `count` interruptions."""
        try:
            expected, whole = self._uninterrupted()
            if self._verdict.repeatable:
                self._interrupted(expected, cuts.plan(whole.timesteps, count))
        except Uncertifiable as why:
            self._learn(problem=str(why))
        return self._verdict

    def failed(self, problem: str) -> Verdict:
        """The verdict as far as it was known when something went wrong."""
        self._learn(problem=problem)
        return self._verdict

    def _learn(self, **known: object) -> None:
        self._verdict = replace(self._verdict, **known)  # type: ignore[arg-type]

    def _uninterrupted(self) -> tuple[Made, Ran]:
        """What comes out, without and with a journal; and the process that had one."""
        self._tell("uninterrupted, without a journal")
        plain = self._place.run(_PLAIN, runs.OFF)
        expected = plain.made()
        assert plain.done is not None
        self._learn(device=plain.done.device, versions=plain.done.versions)
        self._tell("uninterrupted, with a journal")
        kept = self._place.run(_KEPT)
        made = kept.made()
        assert kept.done is not None
        if (resume := kept.done.resume) is None:
            raise Uncertifiable("nothing is kept of a model that names no commit: give a folder, or name the commit")
        self._learn(calls=resume.calls, waited=resume.waited)
        if made == expected:
            self._learn(repeatable=True)
        else:
            self._tell("uninterrupted, without a journal, again")
            repeatable = self._place.run(_AGAIN, runs.OFF).made() == expected
            self._learn(repeatable=repeatable, exact=False if repeatable else None)
            raise Uncertifiable(verdicts.unequal(repeatable))
        if problem := verdicts.unfit(resume.calls, kept.computed, kept.unresumable):
            raise Uncertifiable(problem)
        return expected, kept

    def _interrupted(self, expected: Made, planned: tuple[Cut, ...]) -> None:
        """Interrupt one unit again and again, each time in a new process that goes on after what is kept."""
        held = replayed = 0
        for cut in planned:
            self._tell(
                f"interrupted before call {cut.before} of {self._verdict.calls}, {signal.Signals(cut.signal).name}"
            )
            pause = Pause(cut.before - held, durable=cut.signal != signal.SIGTERM)
            ran = self._place.run(_CUT, pause=pause, kill=cut.signal)
            kept = self._place.kept(_CUT)
            if problem := self._interruption(ran, cut, runs.calls(kept)):
                self._learn(exact=False)
                raise Uncertifiable(problem)
            replayed += held
            held = runs.answered(kept)
            if cut.signal == signal.SIGTERM:
                self._learn(durable=ran.ending)
        if not held:
            raise Uncertifiable("none of its calls can be kept: all are computed again on resume")
        size = sum(segment.size for segment in kept)
        self._learn(bytes=round(size / runs.calls(kept) * self._verdict.calls))
        self._place.copy(_CHANGED, _CUT)
        self._tell(f"resumed to the end, {held} calls answered")
        ran = self._place.run(_CUT)
        self._resumed(expected, ran, held, replayed)
        self._control(expected)

    def _interruption(self, ran: Ran, cut: Cut, kept: int) -> str:
        """What is wrong with how a process was interrupted; "" if nothing is."""
        if ran.refused:
            return verdicts.started_over(ran.refused)
        if not ran.paused:
            why = ran.failure if ran.done is None else "it makes fewer calls when it is resumed"
            return f"it did not come to call {cut.before}: {why}"
        if not runs.interrupted(ran.code, cut.signal):
            return f"it did not end as asked by {signal.Signals(cut.signal).name}, but with code {ran.code}"
        if kept != cut.before:
            why = f": {ran.unresumable}" if ran.unresumable else ""
            return f"of {cut.before} calls that were computed, the journal holds {kept}{why}"
        return ""

    def _resumed(self, expected: Made, ran: Ran, held: int, replayed: int) -> None:
        """Look at the process that came to the end."""
        if ran.done is None:
            self._learn(exact=False)
            raise Uncertifiable(f"it fails when it is resumed: {ran.failure}")
        resume = ran.done.resume
        assert resume is not None, "a unit that was begun with a journal goes on with one"
        again = ran.computed + held - self._verdict.calls
        replay = ran.replaying / held * 100
        self._learn(replayed=replayed + resume.replayed, recomputed=max(0, again), replay=replay)
        if ran.refused:
            self._learn(exact=False)
            raise Uncertifiable(verdicts.started_over(ran.refused))
        problem = verdicts.not_exact(expected, ran.made(), ran.computed, self._verdict.calls, resume, held)
        self._learn(exact=not problem, problem=problem)

    def _control(self, expected: Made) -> None:
        """Resume from a journal that holds other numbers."""
        self._tell("negative control: resumed from a journal that holds other numbers")
        kept = self._place.kept(_CHANGED)
        control.perturb(self._place.store(_CHANGED), layout.journal_prefix(self._place.prefix), kept)
        ran = self._place.run(_CHANGED)
        found = verdicts.control(expected, ran)
        self._learn(control=found)
        if found is Control.VACUOUS and not self._verdict.problem:
            self._learn(problem=verdicts.vacuous(expected))
