"""Answers a denoiser's calls from the journal as far as it reaches, then makes them and keeps what they return."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from carryon_worker.journal import drift, inputs, trees
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.compaction import Sections
from carryon_worker.journal.copies import Copies, Spare, restore
from carryon_worker.journal.diverged import Diverged
from carryon_worker.journal.drift import Memory
from carryon_worker.journal.inputs import Arguments, Inputs
from carryon_worker.journal.segments import Blob, Call, Kind, SegmentError
from carryon_worker.journal.trees import Unkeepable
from carryon_worker.journal.unit import Journal

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that was made, on its way into the journal.

    Attributes:
        began: Monotonic seconds.
        tree: What it returned, without the tensors; None if it is to be made again.
        copies: The tensors, and last the sums of its inputs, if any are on a GPU.
        step: Steps that had ended before it.
        seconds: Since the call before it began.
    """

    component: str
    began: float
    looked: Inputs
    tree: Any
    copies: Copies
    step: int
    seconds: float

    @property
    def section(self) -> bool:
        """Whether it stands for a whole section."""
        return False

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return self.copies.size

    def ready(self) -> bool:
        """Whether they have arrived in memory."""
        return self.copies.ready()

    def describe(self) -> tuple[Call, Sequence[Blob]]:
        """What is written of it."""
        sums = None if self.looked.sums is None else self.copies.tensors[-1]
        blobs = self.copies.blobs()
        call = Call(
            component=self.component,
            kind=Kind.AGAIN if self.tree is None else Kind.KEPT,
            inputs=self.looked.resolve(sums),
            output=self.tree,
            step=self.step,
            seconds=round(self.seconds, 6),
        )
        return call, blobs if sums is None else blobs[:-1]


class Recorder:
    """Answers the calls of one run of a pipeline.

    Args:
        journal: Of the unit.
        chain: What there is to answer from.
        components: The denoisers, by name.
        step: How many steps have ended.
        moved: Told about every call.
        sections: Told about every call too, where the pipeline's finished sections may be kept by their results.
    """

    def __init__(
        self,
        journal: Journal,
        chain: Chain,
        components: Mapping[str, torch.nn.Module],
        step: Callable[[], int],
        moved: Callable[[], None],
        sections: Sections | None = None,
    ) -> None:
        self._journal = journal
        self._sections = sections
        self._recorded = [
            pair
            for segment in chain
            for pair in zip(segment.header.calls, segment.blobs, strict=True)
            for _ in range(pair[0].count)
        ]
        self._step = step
        self._moved = moved
        self._inside = False
        self._began: float | None = None
        self._components = components
        self._memories: dict[str, Memory] = {}
        self._told: set[str] = set()
        self._spare = Spare()

    def call(self, component: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a call returns; see `interception.Answering`.

        Raises:
            Diverged: It is not the call that the journal holds in its place.
        """
        if self._inside:
            # A denoiser within another: what it does is part of the outer call.
            return real(*args, **kwargs)
        self._inside = True
        try:
            return self._answer(component, real, args, kwargs)
        finally:
            self._inside = False

    def finish(self) -> None:
        """The pipeline has returned.

        Raises:
            Diverged: It made fewer calls than the journal holds.
        """
        made, held = self._journal.account.calls, len(self._recorded)
        if made < held:
            raise Diverged(f"the pipeline made {made} calls, of which the journal holds {held}")
        if not made:
            self._journal.end("the pipeline went by its denoisers: no call of theirs was seen")

    def _answer(self, component: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self._moved()
        account = self._journal.account
        number, account.calls = account.calls, account.calls + 1
        if number >= len(self._recorded):
            return self._make(component, real, args, kwargs)
        call, blobs = self._recorded[number]
        looked = inputs.look(args, kwargs)
        begins = number == 0 or self._recorded[number - 1] is not self._recorded[number]
        if begins:
            # Within a section that is kept by its result, what calls are made with has no meaning.
            _compare(number, call, component, looked.resolve(looked.sums))
        if call.kind is Kind.AGAIN:
            self._tell(component, looked, None, call.seconds)
            return real(*args, **kwargs)
        _make_room(self._components[component])
        account.replayed += 1
        account.saved += call.seconds if begins else 0.0
        try:
            if call.kind is Kind.SECTION:
                return self._answer_by_section(number, component, looked)
            strides = trees.strides(call.output)
            tensors = [restore(blob, stride, looked.device) for blob, stride in zip(blobs, strides, strict=True)]
            self._tell(component, looked, (call.output, tensors), call.seconds)
            return trees.build(call.output, tensors)
        except (SegmentError, ValueError) as error:
            raise Diverged(f"call {number} of {component} can't be read: {error}") from error

    def _answer_by_section(self, number: int, component: str, looked: Inputs) -> Any:
        if self._sections is None:
            raise SegmentError("it is kept by its section's result, which this worker has not been shown to be enough")
        return self._sections.answer(component, self._recorded[number], looked)

    def _tell(
        self, component: str, looked: Inputs, output: tuple[Any, Sequence[torch.Tensor]] | None, seconds: float
    ) -> None:
        if self._sections is not None:
            self._sections.called(component, looked, output, seconds)

    def _make(self, component: str, real: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # Once a section has ended there may be room again.
        if not (self._journal.taking or (self._journal.full and self._sections)):
            return real(*args, **kwargs)
        began = time.monotonic()
        if component not in self._memories and not self._get_to_know(component):
            return real(*args, **kwargs)
        try:
            arguments, looked = Arguments(args, kwargs), inputs.look(args, kwargs)
        except RuntimeError as error:
            # No memory for it, or no way to sum up such a tensor.
            self._journal.end(f"a call's arguments can't be looked at: {error}")
            return real(*args, **kwargs)
        drawn = _random_state(looked.device)
        called = time.monotonic()
        output = real(*args, **kwargs)
        returned = time.monotonic()
        if remembers := self._memories[component].changed():
            self._journal.end(f"{component} remembers earlier calls: {remembers} has changed in one")
        else:
            made = self._memories[component].made()
            does = f"made its {made}" if made else self._does(arguments, drawn, looked.device)
            self._keep(component, looked, output, does, began)
        self._journal.account.waited += called - began + time.monotonic() - returned
        return output

    def _get_to_know(self, component: str) -> bool:
        """Look at a denoiser before its first call; whether its calls can be kept at all."""
        module = self._components[component]
        if hook := drift.stateful_hook(module):
            self._journal.end(f"{component} has the hook {hook}, which remembers earlier calls")
            return False
        self._memories[component] = Memory(module)
        return True

    def _does(self, arguments: Arguments, drawn: Sequence[Any], device: torch.device) -> str:
        """What a call has done besides returning something, which it must do in replay too; "" if nothing."""
        if drawn != _random_state(device):
            return "drew random numbers"
        changed = arguments.may_have_changed()
        return f"may have changed its {changed}" if changed else ""

    def _keep(self, component: str, looked: Inputs, output: Any, does: str, began: float) -> None:
        tensors: list[torch.Tensor] = []
        tree = None
        try:
            if not does:
                tree, tensors = trees.take(output)
        except Unkeepable as why:
            does = f"returned {why}"
        if does and does not in self._told:
            self._told.add(does)
            _log.info("a call of %s %s: such calls are made again on resume", component, does)
        try:
            copies = Copies(tensors if looked.sums is None else [*tensors, looked.sums], self._spare)
        except RuntimeError as error:
            self._journal.end(f"a call's output can't be copied: {error}")
            return
        seconds = 0.0 if self._began is None else began - self._began
        self._began = began
        self._tell(component, looked, None if tree is None else (tree, tensors), seconds)
        self._journal.add(Recorded(component, began, looked, tree, copies, self._step(), seconds))


def _compare(number: int, call: Call, component: str, given: Mapping[str, str]) -> None:
    if call.component != component:
        raise Diverged(f"call {number} is of {component}, not of {call.component}")
    differing = [path for path in {**given, **call.inputs} if given.get(path) != call.inputs.get(path)]
    if differing:
        raise Diverged(f"call {number} of {component} has another {differing[0] or 'number of arguments'}")


def _make_room(module: torch.nn.Module) -> None:
    """What accelerate's hook does before a call that is not made: the model before this one leaves the GPU."""
    hook: Any = getattr(module, "_hf_hook", None)
    for each in (hook, *getattr(hook, "hooks", ())):
        before = getattr(each, "prev_module_hook", None)
        if before is not None:
            before.offload()


def _random_state(device: torch.device) -> list[Any]:
    """Of the generators that a call may draw from; equal as long as none did."""
    states = [torch.get_rng_state().numpy().tobytes()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return states
