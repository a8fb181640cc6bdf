"""A pipeline that makes its clip in sections is followed: steps counted through, what is finished shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from carryon_core.pipelines import DiffusersOutput
from carryon_worker.generators import media, sections
from carryon_worker.generators.history import History


class Session:
    """As much of a session as is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.written: dict[int, Any] = {}
        self.previews = self

    def step(self, *told: Any) -> None:
        self.told.append(("step", *told))

    def section(self, *told: Any) -> None:
        self.told.append(("section", *told))

    def show(self, section: int, ready: Any, write: Any) -> None:
        assert ready()
        self.written[section] = write


class Decoder:
    """Makes four frames of whatever it gets; `asked` counts."""

    asked = 0

    def decode(self, latents: Any, return_dict: bool = True) -> Any:
        self.asked += 1
        made = torch.linspace(-1, 1, 4)[None, None, :, None, None].expand(1, 3, 4, 800, 1000)
        return SimpleNamespace(sample=made) if return_dict else (made,)


class WanPipeline:
    num_timesteps = 2

    def __init__(self) -> None:
        self.vae = Decoder()

    def __call__(
        self, num_frames: int = 36, latent_window_size: int = 3, sampling_type: str = "inverted_anti_drifting"
    ) -> None:
        """Takes what Framepack takes."""

    def prepare_image_latents(self) -> torch.Tensor:
        return torch.zeros(1, 4, 1, 2, 2)


class HeliosPipeline(WanPipeline):
    """Does not say how many sections it will make."""


class HunyuanVideoFramepackPipeline(WanPipeline):
    vae_scale_factor_temporal = 4


def run(pipeline: Any, count: int, session: Any, before: History | None = None, **output: Any) -> Any:
    """Let a pipeline make so many sections of two steps each."""
    given = DiffusersOutput.model_validate(output)
    params = {"sampling_type": "vanilla"} if before else {}
    follower = sections.follow(pipeline, params, given, session, given.fps, before)
    with follower.watching():
        for number in range(count):
            for step in range(2):
                follower.step_ended(pipeline, step, None, {"latents": torch.full((1, 4, 3, 2, 2), float(number))})
            pipeline.vae.decode(None, return_dict=number % 2 == 0)
    assert "decode" not in vars(pipeline.vae)
    assert pipeline.vae.asked == count
    return follower


def test_steps_count_through_and_every_section_but_the_last_is_shown() -> None:
    session = Session()
    run(HunyuanVideoFramepackPipeline(), 4, session)
    assert [told[1:] for told in session.told if told[0] == "step"] == [(n, 8) for n in range(1, 9)]
    assert [told[1:] for told in session.told if told[0] == "section"] == [(n, 4) for n in range(5)]
    assert list(session.written) == [0, 1, 2]


def test_where_nobody_says_how_many_there_will_be_all_are_shown_and_no_total_is() -> None:
    session = Session()
    run(HeliosPipeline(), 3, session)
    assert session.told[-2:] == [("step", 6, None), ("section", 3, None)]
    assert list(session.written) == [0, 1, 2]


def test_a_pipeline_without_sections_is_left_alone() -> None:
    session = Session()
    run(WanPipeline(), 1, session)
    assert session.told == [("step", 1, 2), ("step", 2, 2)]
    assert session.written == {}


def test_nothing_is_shown_where_nobody_wants_to_look() -> None:
    session = Session()
    run(HunyuanVideoFramepackPipeline(), 4, session, previews=False)
    assert session.written == {}
    assert session.told[-1] == ("section", 4, 4)


def test_what_was_there_before_is_neither_counted_nor_shown_and_the_history_goes_on() -> None:
    session, pipeline = Session(), HunyuanVideoFramepackPipeline()
    known = History(torch.ones(1, 4, 1, 2, 2), tuple(torch.full((1, 4, 3, 2, 2), -float(n)) for n in (2, 1)))
    given = DiffusersOutput()
    follower = sections.follow(pipeline, {"sampling_type": "vanilla"}, given, session, 8, known)  # type: ignore[arg-type]
    with follower.watching():
        pipeline.prepare_image_latents()
        for number in range(4):
            if number >= 2:
                for step in range(2):
                    latents = torch.full((1, 4, 3, 2, 2), float(number))
                    follower.step_ended(pipeline, step, None, {"latents": latents})
            pipeline.vae.decode(None)
    assert [told for told in session.told if told[0] == "section"] == [("section", n, 2) for n in (0, 1, 2)]
    assert session.told[-2] == ("step", 4, 4)
    assert list(session.written) == [0]
    history = follower.history()
    assert history is not None
    assert [each.mean().item() for each in history.sections] == [-2, -1, 2, 3]
    assert history.first.mean() == 1


@pytest.mark.parametrize("output", [{"history": False}, {}])
def test_a_history_is_kept_only_where_something_can_go_on_from_it(output: dict[str, Any]) -> None:
    given = DiffusersOutput.model_validate(output)
    session: Any = Session()
    backwards = sections.follow(HunyuanVideoFramepackPipeline(), {}, given, session, 8, None)
    assert backwards.history() is None
    other = sections.follow(HeliosPipeline(), {"sampling_type": "vanilla"}, given, session, 8, None)
    assert other.history() is None


def test_a_preview_is_small_and_shows_what_was_decoded(tmp_path: Path) -> None:
    session = Session()
    run(HeliosPipeline(), 1, session)
    session.written[0](tmp_path / "0.mp4")
    frames = media.read_frames(tmp_path / "0.mp4")
    assert frames[0].size == (334, 268)
    assert [round(frame.getpixel((9, 9))[0] / 85) for frame in frames] == [0, 1, 2, 3]  # type: ignore[index]


def test_a_section_that_can_not_be_shown_costs_nothing(caplog: Any) -> None:
    class Full(Session):
        def show(self, section: int, ready: Any, write: Any) -> None:
            raise RuntimeError("CUDA out of memory")

    session = Full()
    run(HunyuanVideoFramepackPipeline(), 4, session)
    assert session.told[-1] == ("section", 4, 4)
    assert "section 0 can't be shown: CUDA out of memory" in caplog.text
