"""A pod that is gone before status could record it is counted all the same, once."""

from __future__ import annotations

from dataclasses import replace

from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.verdicts import judge
from carryon_operator.vanished import with_vanished

POD = PodRecord(
    namespace="default",
    name="reel-1",
    uid="u1",
    job_uid="job",
    stage="clip",
    units=("a",),
    fingerprints=("f",),
    attempt=1,
    phase="Running",
    created=1.0,
    started=2.0,
)


def test_a_pod_that_is_there_is_shown_as_it_is() -> None:
    changed = replace(POD, phase="Succeeded")
    assert with_vanished((POD,), (changed,), (), 9.0) == (changed,)


def test_a_pod_that_vanished_unrecorded_is_shown_as_a_disruption_until_it_is_recorded() -> None:
    (gone,) = with_vanished((POD,), (), (), 9.0)
    assert (gone.phase, gone.finished, gone.gone_by) == ("Failed", 9.0, 9.0)
    assert judge(gone, ()).disruption
    assert with_vanished((gone,), (), (), 10.0) == (gone,), "as it was seen first"
    assert with_vanished((gone,), (), ("u1",), 11.0) == ()


def test_a_pod_that_was_recorded_is_not_shown_again() -> None:
    assert with_vanished((POD,), (), ("u1",), 9.0) == ()


def test_what_a_pod_said_before_it_vanished_stands() -> None:
    drained = replace(POD, phase="Failed", exit_code=11, finished=5.0, gone_by=4.0, disruption="EvictionByEvictionAPI")
    (gone,) = with_vanished((drained,), (), (), 9.0)
    assert gone == drained
    assert judge(gone, ()).disruption == "EvictionByEvictionAPI"
