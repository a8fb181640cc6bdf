"""Finished sections by their results: what is watched, what stands in, and what is refused; with loops small enough."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config

from carryon_core.messages import Cadence, StoreConfig
from carryon_store import Unreachable, open_store
from carryon_worker.generators import sections
from carryon_worker.journal import compaction, interception, randomness
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.compaction import Sections
from carryon_worker.journal.diverged import Diverged
from carryon_worker.journal.recorder import Recorder
from carryon_worker.journal.segments import Kind
from carryon_worker.journal.unit import Journal

COUNT = [0, 0]
"""Calls that were made, and how many may be, outside of the module: it must remember nothing."""


class Denoiser(ModelMixin, ConfigMixin):
    """Whatever `does` does."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)
        self.does: Callable[[torch.Tensor], Any] = lambda x: x * 0.5 + 1

    def forward(self, x: torch.Tensor) -> Any:
        if COUNT[0] == COUNT[1]:
            raise KeyboardInterrupt
        COUNT[0] += 1
        return self.does(x)


FIELDS = {"diffusers": "0.42.1"}
STEPS = 24
"""Calls of a section, which return 98 kB."""
ROOM = 120_000
"""For the results of all sections, 24 kB each, and the calls of less than another one."""


@dataclass
class Pipeline:
    """Sections one after the other: each begins with noise and what the one before came to."""

    denoiser: Any
    scheduler: Any = field(default_factory=lambda: FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))
    does: Callable[[Pipeline, torch.Tensor], None] = lambda pipeline, latents: None
    steps: int = STEPS

    def __call__(self, generator: torch.Generator, count: int = 4) -> Any:
        results = []
        latents = torch.zeros(2, 512)
        for _ in range(count):
            latents = latents + torch.randn(2, 512, generator=generator) * random.random() + np.random.rand()
            self.scheduler.set_timesteps(self.steps)
            for t in self.scheduler.timesteps:
                latents = self.scheduler.step(self.denoiser(latents), t, latents, return_dict=False)[0]
            self.does(self, latents)
            results.append(latents.clone())
        return torch.stack(results)


class Desk:
    """Attempts at one unit, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = open_store(StoreConfig(uri=(root / "bucket").as_uri()))
        self.pipeline = Pipeline(Denoiser().eval())
        self.journals: list[Journal] = []

    def attempt(
        self, count: int = 4, room: int | None = None, like: Any = None, most: int = 10**6, store: Any = None
    ) -> Any:
        """Run so many sections as a worker would; what comes out, calls made, and the journal.

        After `most` calls it is killed.
        """
        number = len(self.journals)
        cadence = Cadence(every_seconds=3600, max_bytes=room)
        journal = Journal(store or self.store, "unit/", self.root / f"{number}", f"pod-{number}", cadence, lambda: None)
        self.journals.append(journal)
        pipeline = like or self.pipeline
        caught = interception.attach({"denoiser": pipeline.denoiser})
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        generator = torch.Generator().manual_seed(5)
        chain = journal.open(FIELDS)
        watched = Sections(journal if room else None, pipeline.scheduler, generator, lambda: 0)
        recorder = Recorder(journal, chain, caught.components, lambda: 0, lambda: None, watched)
        COUNT[:] = [0, most]
        made = None
        try:
            with caught.asking(recorder), watched.watching(), torch.no_grad(), suppress(KeyboardInterrupt):
                made = pipeline(generator, count)
        finally:
            journal.flush(20.0)
            journal.close()
        return made, COUNT[0], journal

    def chain(self) -> Chain:
        self.journals.append(Journal(self.store, "unit/", self.root / "read", "reader", Cadence(), lambda: None))
        return self.journals[-1].open(FIELDS)

    def kinds(self) -> list[Kind]:
        return [call.kind for segment in self.chain() for call in segment.header.calls]

    def segments(self) -> list[str]:
        return sorted(info.key for info in self.store.list("unit/") if info.key.endswith(".safetensors"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for journal in made.journals:
        journal.close()


def test_results_stand_for_sections_and_everything_drawn_after_them_is_the_same(desk: Desk) -> None:
    whole, made, _ = Desk(desk.root / "whole").attempt()
    assert made == 4 * STEPS
    first, made, _ = desk.attempt(3, ROOM)
    assert made == 3 * STEPS
    assert torch.equal(first, whole[:3])
    assert Kind.SECTION in desk.kinds()
    again, made, journal = desk.attempt(4, ROOM)
    assert torch.equal(again, whole)
    assert made == 4 * STEPS - journal.account.replayed
    assert journal.account.replayed >= 2 * STEPS


@pytest.mark.parametrize("killed", [[STEPS + 4], [2 * STEPS + 20], [4, STEPS, STEPS], [70, 1], [30, 30, 30]])
@pytest.mark.parametrize("room", [30_000, 60_000, ROOM, 200_000])
def test_wherever_it_is_killed_and_whatever_room_there_is_the_bits_are_the_same(
    desk: Desk, killed: list[int], room: int
) -> None:
    whole, *_ = Desk(desk.root / "whole").attempt()
    for most in killed:
        desk.attempt(4, room, most=most)
    again, made, journal = desk.attempt(4, room)
    assert torch.equal(again, whole)
    assert made + journal.account.replayed == 4 * STEPS


class Undeletable:
    """A bucket that deletes nothing."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def delete(self, key: str) -> None:
        raise Unreachable("no answer")


def test_what_sections_replace_harms_nobody_where_it_stays_and_goes_with_the_next(desk: Desk) -> None:
    whole, *_ = Desk(desk.root / "whole").attempt()
    # One segment of calls, then the results of two sections beside it, and four calls of the third.
    desk.attempt(4, None, most=STEPS + 4)
    desk.attempt(4, ROOM, most=STEPS, store=Undeletable(desk.store))
    assert len(desk.segments()) > len(desk.chain())
    assert [call.kind for call in desk.chain()[0].header.calls] == [Kind.SECTION] * 2
    again, made, journal = desk.attempt(4, ROOM)
    assert torch.equal(again, whole)
    assert made == 4 * STEPS - 2 * STEPS - 4
    assert journal.resume().refused == ""
    assert desk.segments() == sorted(segment.key for segment in desk.chain())


def test_whoever_has_room_again_answers_from_results_and_keeps_calls(desk: Desk) -> None:
    whole, *_ = Desk(desk.root / "whole").attempt()
    desk.attempt(3, ROOM)
    again, made, _ = desk.attempt(4, None)
    assert torch.equal(again, whole)
    assert made > 0
    last, made, _ = desk.attempt(4, None)
    assert (made, torch.equal(last, whole)) == (0, True)


def test_where_there_is_room_all_calls_are_kept(desk: Desk) -> None:
    desk.attempt(4, 10_000_000)
    assert desk.kinds() == [Kind.KEPT] * 4 * STEPS


def drawing(pipeline: Pipeline) -> None:
    pipeline.denoiser.does = lambda x: x * torch.rand(())


def changing(pipeline: Pipeline) -> None:
    pipeline.denoiser.does = lambda x: x * 0.5 if COUNT[0] % 2 else x[:1] * 0.5


@pytest.mark.parametrize("patch", [drawing, changing])
def test_what_a_result_can_not_stand_for_is_kept_as_far_as_there_is_room(desk: Desk, patch: Any) -> None:
    patch(desk.pipeline)
    desk.attempt(4, ROOM)
    assert Kind.SECTION not in desk.kinds()


def longer(pipeline: Pipeline) -> None:
    pipeline.steps += 1


def shorter(pipeline: Pipeline) -> None:
    pipeline.steps -= 1


class Breaking(FlowMatchEulerDiscreteScheduler):
    def step(self, *_: Any, **__: Any) -> Any:
        raise ValueError("no zeros")


def breaking(pipeline: Pipeline) -> None:
    pipeline.scheduler = Breaking()


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (shorter, "a section ended after 23 calls and 23 steps, which is not where it did"),
        (longer, "call 24 of denoiser has another 0|lies in another section"),
        (breaking, "step 1 of a section that is kept by its result fails: no zeros"),
    ],
)
def test_a_section_that_is_not_what_it_was_diverges(desk: Desk, patch: Any, reason: str) -> None:
    desk.attempt(3, ROOM)
    assert desk.kinds()[0] is Kind.SECTION
    other = Pipeline(desk.pipeline.denoiser)
    patch(other)
    with pytest.raises(Diverged, match=reason):
        desk.attempt(4, ROOM, like=other)


def test_a_worker_that_was_not_shown_that_results_are_enough_starts_over(desk: Desk) -> None:
    desk.attempt(3, ROOM)
    journal = Journal(desk.store, "unit/", desk.root / "other", "other", Cadence(), lambda: None)
    desk.journals.append(journal)
    caught = interception.attach({"denoiser": desk.pipeline.denoiser})
    recorder = Recorder(journal, journal.open(FIELDS), caught.components, lambda: 0, lambda: None)
    random.seed(5)
    np.random.seed(5)
    with pytest.raises(Diverged, match="has not been shown to be enough"), caught.asking(recorder), torch.no_grad():
        desk.pipeline(torch.Generator().manual_seed(5))


def test_a_watched_scheduler_is_what_it_was_to_everybody_else() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    kind, parameters = type(scheduler), inspect.signature(scheduler.step).parameters
    watched = Sections(None, scheduler, None, lambda: 0)
    with watched.watching():
        assert type(scheduler) is kind
        assert inspect.signature(scheduler.step).parameters == parameters
        assert "sigmas" in inspect.signature(scheduler.set_timesteps).parameters
        scheduler.set_timesteps(4)
        twin = copy.deepcopy(scheduler)
        twin.set_timesteps(2)
        assert (len(twin.timesteps), len(scheduler.timesteps)) == (2, 4)
        twin.step(torch.ones(1), twin.timesteps[0], torch.ones(1))
        assert (twin.step_index, scheduler.step_index) == (1, None)
    assert "step" not in vars(scheduler)
    assert "set_timesteps" not in vars(scheduler)


def test_only_certified_pipelines_and_schedulers_are_watched_and_only_when_needed(desk: Desk) -> None:
    journal: Any = object()
    generator = torch.Generator()

    def of(name: str, scheduler: Any, keeping: Any) -> Sections | None:
        pipeline = type(name, (), {"scheduler": scheduler})()
        return compaction.of(pipeline, keeping, (), generator, lambda: 0)

    euler, heun = FlowMatchEulerDiscreteScheduler(), FlowMatchHeunDiscreteScheduler()
    assert of("HunyuanVideoFramepackPipeline", euler, journal) is not None
    assert of("HunyuanVideoFramepackPipeline", euler, None) is None
    assert of("HunyuanVideoFramepackPipeline", heun, journal) is None
    assert of("WanPipeline", euler, journal) is None


def test_everything_draws_on_from_where_it_was_kept() -> None:
    generator = torch.Generator().manual_seed(3)
    random.gauss(0, 1)
    np.random.randn()
    saved = randomness.state(generator, torch.device("cpu"))

    def draw() -> list[float]:
        return [
            random.random(),
            random.gauss(0, 1),
            float(np.random.randn()),
            float(np.random.rand()),
            float(torch.rand(())),
            float(torch.rand((), generator=generator)),
        ]

    first = draw()
    assert draw() != first
    randomness.put_back(saved, generator, torch.device("cpu"))
    assert draw() == first


class Told:
    """A session that notes what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int | None]] = []

    def step(self, step: int, steps: int | None) -> None:
        self.steps.append((step, steps))


@pytest.mark.parametrize(
    ("known", "loops", "told"),
    [
        (None, [3], [(1, 3), (2, 3), (3, 3)]),
        (None, [2, 2], [(1, 2), (2, 2), (3, None), (4, None)]),
        (2, [2, 2], [(1, 4), (2, 4), (3, 4), (4, 4)]),
        (3, [1, 1, 1], [(1, 3), (2, 3), (3, 3)]),
    ],
)
def test_steps_count_on_from_section_to_section(known: int | None, loops: list[int], told: Any) -> None:
    session: Any = Told()
    followed = sections.Sections(None, known, known is not None, session, fps=None, known=0, keeping=None)
    for loop in loops:
        pipeline = type("Pipeline", (), {"num_timesteps": loop})()
        for step in range(loop):
            assert followed.step_ended(pipeline, step, None, {"latents": 1}) == {"latents": 1}
    assert session.steps == told
