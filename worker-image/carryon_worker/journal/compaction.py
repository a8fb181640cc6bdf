"""Finished sections of a clip by their results, where a journal of all their calls would be too large.

Some pipelines make a clip section by section, each with a loop of its own: the scheduler's `set_timesteps` begins one.
Of a finished section only what its last `step` returned lives on, and the state of the random generators. So this
stands for all its calls. In replay they are answered with zeros, the scheduler runs on these, and the last step returns
what was kept. What a pipeline keeps besides in variables of its own would be lost without a word, so this is done for
pipelines and schedulers that a test has shown it for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import update_wrapper
from types import MethodType
from typing import Any, Final, Protocol

import torch

from carryon_worker.journal import randomness, trees
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.copies import Copies, restore
from carryon_worker.journal.diverged import Diverged
from carryon_worker.journal.inputs import Inputs
from carryon_worker.journal.segments import Blob, Call, Kind, Section
from carryon_worker.journal.trees import Unkeepable

CERTIFIED: Final[Mapping[str, frozenset[str]]] = {
    "HunyuanVideoFramepackPipeline": frozenset({"FlowMatchEulerDiscreteScheduler"}),
}
"""Pipeline -> schedulers with which tests/component/worker/test_worker_compaction.py shows that results are enough."""


class Finished:
    """A finished section on its way into the journal.

    Args:
        work: What was seen of it.
        step: Steps that the pipeline had ended by its end.
    """

    section = True

    def __init__(self, work: _Work, step: int) -> None:
        assert work.looked is not None
        self.calls = work.calls
        self.began = work.began
        self._work = work
        self._step = step
        sums = work.looked.sums
        self._copies = Copies(work.kept if sums is None else [*work.kept, sums])
        work.kept = ()

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return self._copies.size

    def ready(self) -> bool:
        """Whether they have arrived in memory."""
        return self._copies.ready()

    def describe(self) -> tuple[Call, Sequence[Blob]]:
        """What is written of it."""
        work, blobs = self._work, self._copies.blobs()
        assert work.looked is not None
        sums = None if work.looked.sums is None else self._copies.tensors[-1]
        call = Call(
            component=work.component,
            kind=Kind.SECTION,
            inputs=work.looked.resolve(sums),
            output=work.tree,
            step=self._step,
            seconds=round(work.seconds, 6),
            section=Section(calls=work.calls, steps=work.steps, answers=work.answers),
        )
        return call, blobs if sums is None else blobs[:-1]


class Keeping(Protocol):
    """Who is told about finished sections: the unit's journal."""

    def compact(self, sections: Sequence[Finished], more: int) -> bool:
        """Let finished sections stand for their calls, if there would be no room for `more` bytes; whether it does."""
        ...


@dataclass(slots=True)
class _Work:
    """The section at work.

    Attributes:
        component: Of its first call.
        looked: What its first call was made with.
        size: Bytes of what its calls returned.
        answers: Component -> form of what it returns.
        tree: Of what its last step left, the state of the generators included.
        kept: The tensors of that.
        given: Its result, where that comes from the journal.
        unfit: Whether its result can't stand for it.
    """

    began: float = field(default_factory=time.monotonic)
    component: str = ""
    looked: Inputs | None = None
    calls: int = 0
    steps: int = 0
    size: int = 0
    seconds: float = 0.0
    answers: dict[str, Any] = field(default_factory=dict)
    tree: Any = None
    kept: Sequence[torch.Tensor] = ()
    given: tuple[Call, Sequence[Blob]] | None = None
    unfit: bool = False


class Sections:
    """The sections of one run of a pipeline.

    Args:
        keeping: The unit's journal; None if nothing is to be kept of them, only answered.
        scheduler: Of the pipeline.
        generator: The unit's own.
        step: How many steps have ended.
    """

    def __init__(
        self,
        keeping: Keeping | None,
        scheduler: Any,
        generator: torch.Generator | None,
        step: Callable[[], int],
    ) -> None:
        self._keeping = keeping
        self._scheduler = scheduler
        self._generator = generator
        self._step = step
        self._work: _Work | None = None
        self._finished: list[Finished] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the calls of the scheduler are seen; its class stays what it is."""
        scheduler = self._scheduler
        instead = {"step": self._take_step, "set_timesteps": self._begin}
        for name, method in instead.items():
            setattr(scheduler, name, _Seen(getattr(scheduler, name), method))
        try:
            yield
        finally:
            for name in instead:
                delattr(scheduler, name)

    def called(
        self, component: str, looked: Inputs, output: tuple[Any, Sequence[torch.Tensor]] | None, seconds: float
    ) -> None:
        """A denoiser was called.

        Args:
            component: Its name.
            looked: What it was called with.
            output: What it returned, as `trees.take` has it; None if such a call is to be made again in replay.
            seconds: Since the call before it began.
        """
        work = self._work
        if work is None or output is None:
            # Before the first section; or something that the section's result can't stand for.
            self._give_up()
            return
        form = trees.hollow(*output)
        if not work.calls:
            work.component, work.looked = component, looked
        work.unfit |= work.answers.setdefault(component, form) != form
        work.calls += 1
        work.size += sum(tensor.nbytes for tensor in output[1])
        work.seconds += seconds

    def answer(self, component: str, given: tuple[Call, Sequence[Blob]], looked: Inputs) -> Any:
        """What a call returns in a section whose result is known: nothing but zeros.

        Raises:
            Diverged: The pipeline is not at that section.
            SegmentError: The journal does not say what form it has.
        """
        work, section = self._work, given[0].section
        if work is None or section is None or (work.calls and work.given is not given):
            raise Diverged(f"a call of {component} lies in another section")
        if component not in section.answers:
            raise Diverged(f"{component} is called in a section that did without")
        if not work.calls:
            work.given, work.looked = given, looked
        work.calls += 1
        return trees.fill(section.answers[component], looked.device)

    def _begin(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Instead of `set_timesteps`: whatever was at work is finished."""
        if self._work is not None and self._work.calls:
            self._end(self._work)
        self._work = _Work()
        return real(*args, **kwargs)

    def _end(self, work: _Work) -> None:
        if work.given is not None:
            _compare(work, work.given[0].section)
            return
        if self._keeping is None:
            return
        if work.unfit or not work.kept:
            self._give_up()
            return
        self._finished.append(Finished(work, self._step()))
        # The next one will be about as large.
        if self._keeping.compact(self._finished, work.size):
            self._finished = []

    def _give_up(self) -> None:
        """A section that can't be kept: what follows it can't do without its calls."""
        self._keeping = None
        self._finished = []

    def _take_step(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Instead of `step`."""
        work = self._work
        if work is None or not work.calls:
            return real(*args, **kwargs)
        work.steps += 1
        if work.given is not None:
            return self._step_given(work, work.given, real, args, kwargs)
        returned = real(*args, **kwargs)
        if self._keeping is not None:
            self._keep(work, returned)
        return returned

    def _step_given(
        self,
        work: _Work,
        given: tuple[Call, Sequence[Blob]],
        real: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """A step in a section whose result is known, which the last one returns.

        Raises:
            Diverged: The scheduler does not go through with it, or the result can't be read.
        """
        call, blobs = given
        assert call.section is not None
        assert work.looked is not None
        device = work.looked.device
        try:
            returned = real(*args, **kwargs)
            if work.steps < call.section.steps:
                return returned
            strides = trees.strides(call.output)
            tensors = [restore(blob, stride, device) for blob, stride in zip(blobs, strides, strict=True)]
            result = trees.build(call.output, tensors)
            randomness.put_back(result["random"], self._generator, device)
            return result["returned"]
        except Exception as error:
            raise Diverged(f"step {work.steps} of a section that is kept by its result fails: {error}") from error

    def _keep(self, work: _Work, returned: Any) -> None:
        """Clone what may be the last of a section: whoever called may write into it."""
        assert work.looked is not None
        try:
            result = {"returned": returned, "random": randomness.state(self._generator, work.looked.device)}
            work.tree, tensors = trees.take(result)
            work.kept = [tensor.detach().clone() for tensor in tensors]
        except (Unkeepable, RuntimeError):
            work.unfit = True


def of(
    pipeline: Any, keeping: Keeping | None, chain: Chain, generator: torch.Generator, step: Callable[[], int]
) -> Sections | None:
    """The sections of a pipeline; None where there is nothing to do about them.

    Args:
        pipeline: About to be called.
        keeping: The unit's journal, if there is a bound to its size.
        chain: What it holds.
        generator: The unit's own.
        step: How many steps have ended.
    """
    scheduler = getattr(pipeline, "scheduler", None)
    if type(scheduler).__name__ not in CERTIFIED.get(type(pipeline).__name__, ()):
        return None
    if keeping is None and not any(call.section for segment in chain for call in segment.header.calls):
        return None
    return Sections(keeping, scheduler, generator, step)


class _Seen:
    """Stands for a method of one scheduler; a copy of the scheduler has the method itself."""

    def __init__(self, method: Any, instead: Callable[..., Any]) -> None:
        # Pipelines ask for a method's parameters.
        update_wrapper(self, method)
        self._method = method
        self._instead = instead

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._instead(self._method, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return MethodType(self._method.__func__, memo[id(self._method.__self__)])


def _compare(work: _Work, section: Section | None) -> None:
    """Make sure that a section that was answered by its result is as long as it was.

    Raises:
        Diverged: It is not.
    """
    if section is None or (work.calls, work.steps) != (section.calls, section.steps):
        raise Diverged(f"a section ended after {work.calls} calls and {work.steps} steps, which is not where it did")
