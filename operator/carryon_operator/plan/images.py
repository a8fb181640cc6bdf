"""Which image a unit goes on with: the one that began its journal, because another worker may not be able to read it.

Status remembers images by digest, as kubelets tell them. Where status was lost, the journal itself says which image its
worker's pod named. A unit without a journal gets today's image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from carryon_core.ranges import IndexSet
from carryon_core.resolve import Unit
from carryon_core.standing import UnitKey
from carryon_core.status import IMAGES_SHOWN
from carryon_operator.plan.case import Case
from carryon_operator.plan.model import Event, PodRecord, Waiting
from carryon_operator.plan.verdicts import outdated

PATIENCE: Final = 300.0
"""Seconds that an image which is not there may take to be had again: a registry that is down has lost nothing."""
_PULLING: Final = frozenset({"ImagePullBackOff", "ErrImagePull"})
_NEVER: Final = frozenset({"ErrImageNeverPull", "InvalidImageName"})
_GONE: Final = (
    ": not found",
    "= notfound",
    "manifest unknown",
    "no such manifest",
    "name unknown",
    "repository does not exist",
    "runs processes, not images",
)
"""What registries, container runtimes and the standalone node say of an image that is not there, in lower case."""
_TODAY: Final = ""
_MESSAGE: Final = 200


@dataclass
class Images:
    """The images that began units which are not done.

    Attributes:
        began: Unit -> image by digest, "" where that one can't be had any more, or is too old.
        latest: Stage name -> today's image by digest, as the pod that started last has it.
    """

    case: Case
    began: dict[UnitKey, str] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)

    def of(self, unit: Unit) -> str:
        """The image that a unit has to go on with; "" for today's."""
        kept = self.case.seen.kept.get(unit.fingerprint)
        if kept is None or not kept.journal:
            return _TODAY
        key = (unit.stage, unit.item)
        if key in self.began:
            return self.began[key]
        return _TODAY if kept.image == self._today(unit.stage) else kept.image

    def device(self, unit: Unit) -> str:
        """What a unit's journal was computed on, "" if it has none."""
        kept = self.case.seen.kept.get(unit.fingerprint)
        return kept.device if kept is not None else ""

    def shared(self, stage: int, one: str, other: str) -> str | None:
        """The image of a pod that has units of both, None if there is no such: today's may be the one of a journal."""
        if one == other:
            return one
        begun = one or other
        fits = _TODAY in (one, other) and begun == self.latest.get(self.case.job.stages[stage].name)
        return begun if fits else None

    def give_up(self, pods: Iterable[PodRecord]) -> Iterator[tuple[PodRecord, Event]]:
        """Those pods whose image can't be had any more, with what is told of each: their units get today's."""
        for pod in pods:
            given = self.case.given(pod)
            if not pod.pinned or pod.waiting is None or not self._unobtainable(pod, pod.waiting, given):
                continue
            self.began.update(dict.fromkeys(given, _TODAY))
            first = next(iter(given.values()), "")
            told = (
                f'stage "{pod.stage}", item "{first}": the image that began it can\'t be had any more, so it gets'
                f" today's: {pod.waiting.message[:_MESSAGE] or pod.waiting.reason}"
            )
            yield pod, Event("Warning", "BeganImageUnavailable", told)

    def shown(self, stage: int, busy: Collection[UnitKey]) -> dict[str, str]:
        """As status shows them: image -> index set, of units that a pod is at work on or that have a journal."""
        found: dict[str, list[int]] = defaultdict(list)
        kept, units = self.case.seen.kept, self.case.job.stages[stage].units
        for (where, item), image in self.began.items():
            if where != stage or (where, item) in self.case.standing.outcomes:
                continue
            left = kept.get(units[item].fingerprint)
            if (where, item) in busy or (left is not None and left.journal):
                found[image].append(item)
        most = sorted(found, key=lambda image: (-len(found[image]), image))[:IMAGES_SHOWN]
        return {image: str(IndexSet(found[image])) for image in sorted(most)}

    def _today(self, stage: int) -> str:
        return self.case.seen.images.get(self.case.job.stages[stage].name, "")

    def _unobtainable(self, pod: PodRecord, waiting: Waiting, given: Collection[UnitKey]) -> bool:
        if waiting.reason not in _PULLING | _NEVER:
            return False
        # Make sure that what a person has to correct, or a registry says is gone, is not waited for.
        if waiting.reason in _NEVER or any(told in waiting.message.lower() for told in _GONE):
            return True
        # Make sure that a node which knows the image by its name alone, as one that was loaded by hand, is asked so.
        kept = [self.case.seen.kept.get(self.case.job.unit(*unit).fingerprint) for unit in given]
        today = self.case.seen.images.get(pod.stage, "")
        if any(each is not None and each.journal and each.image == today for each in kept):
            return True
        return self.case.seen.now >= waiting.since + PATIENCE


def open_images(case: Case) -> Images:
    """What status remembers, with what the pods of now show."""
    seen = case.seen
    images = Images(case)
    stages = {stage.name: stage.index for stage in case.job.stages}
    for kept in seen.status.stages:
        for image, indexes in kept.images.items() if kept.name in stages else ():
            moved = (case.moved((stages[kept.name], old)) for old in IndexSet.parse(indexes))
            images.began.update((unit, image) for unit in moved if unit is not None)
    for pod in sorted((pod for pod in seen.pods if pod.started), key=lambda pod: (pod.started or 0.0, pod.uid)):
        if outdated(pod):
            images.began.update(dict.fromkeys(case.wanted(pod), _TODAY))
        elif pod.image_id:
            images.began.update(dict.fromkeys(case.wanted(pod), pod.image_id))
            if pod.image == seen.images.get(pod.stage):
                images.latest[pod.stage] = pod.image_id
    return images


def moments(active: Sequence[PodRecord]) -> list[float]:
    """When to look again at pods whose image can't be had for now."""
    return [
        pod.waiting.since + PATIENCE
        for pod in active
        if pod.pinned and pod.waiting is not None and pod.waiting.reason in _PULLING
    ]
