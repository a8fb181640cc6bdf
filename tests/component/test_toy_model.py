"""What the toy model is made with: scenes, the judge of its clips, and a training that can be killed."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "examples" / "toy-model"


@pytest.fixture(scope="module")
def toy() -> Iterator[Any]:
    """Imports the scripts of the toy model, which import each other by their names."""
    sys.path.insert(0, str(FOLDER))
    threads = torch.get_num_threads()
    # What is computed is so small that threads would mostly wait for each other.
    torch.set_num_threads(1)
    try:
        yield importlib.import_module
    finally:
        torch.set_num_threads(threads)
        sys.path.remove(str(FOLDER))


def test_the_judge_recognises_every_form_colour_and_motion_in_every_place(toy: Any) -> None:
    scenes, judge = toy("scenes"), toy("judge")
    colours, places = list(scenes.COLOURS), list(scenes.PLACES)
    shown = [
        scenes.Scene(form, colours[number % len(colours)], motion, places[number % len(places)])
        for number, (form, motion) in enumerate((form, motion) for form in scenes.FORMS for motion in scenes.MOTIONS)
    ]
    for scene, clip in zip(shown, scenes.draw(shown, random.Random(4)), strict=True):
        verdict = judge.judge(pixels(clip))
        assert verdict.fits(scene) == {"form": True, "colour": True, "direction": True}, (scene.prompt, verdict)


def test_the_judge_sees_nothing_in_a_landscape(toy: Any) -> None:
    scenes, judge = toy("scenes"), toy("judge")
    empty = torch.zeros(1, scenes.FRAMES, scenes.SIZE, scenes.SIZE)
    landscape = scenes.paint(empty, [scenes.Scene("star", "red", "falls", "at sea")])[0]
    assert judge.judge(pixels(landscape)) == judge.Verdict(None, None, None)


def pixels(clip: torch.Tensor) -> Any:
    """As the judge takes them: bytes, (frames, height, width, 3)."""
    return ((clip + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()


def test_what_the_score_asks_for_was_not_learnt(toy: Any) -> None:
    scenes, judge = toy("scenes"), toy("judge")
    learnt = {(scene.form, scene.colour, scene.motion) for scene in scenes.scenes() if not scene.unseen}
    asked = judge.unseen()
    assert len({scene.prompt for scene in asked}) == 100
    assert not {(scene.form, scene.colour, scene.motion) for scene in asked} & learnt
    # Each part of them was.
    assert [set(part) for part in zip(*learnt, strict=True)] == [
        set(scenes.FORMS),
        set(scenes.COLOURS),
        set(scenes.MOTIONS),
    ]
    assert {word for scene in asked for word in scene.prompt.split()} <= set(scenes.words())


@torch.no_grad()
def test_the_autoencoder_passes_pixels_through(toy: Any) -> None:
    vae = toy("models").vae()
    clip = torch.rand(1, 3, 17, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    back = vae.decode(vae.encode(clip).latent_dist.mean).sample
    # Of 255 shades less than a quarter.
    assert (back - clip).abs().max() < 2 / 255 / 4


@torch.no_grad()
def test_the_transformer_on_pixels_is_the_one_that_was_trained_on_patterns(toy: Any) -> None:
    models, train = toy("models"), toy("train")
    torch.manual_seed(1)
    trained = models.compact().eval()
    basis = torch.linalg.qr(torch.randn(3072, models.PATTERNS)).Q
    patterns = models.Patterns(torch.randn(3072) / 16, basis)
    noisy, time, text = torch.randn(1, 3, 16, 64, 64), torch.tensor([700.0]), torch.randn(1, 5, models.TEXT)
    shares = ((models.blocks(noisy) - patterns.mean) @ basis).transpose(1, 2).unflatten(2, train.GRID)
    told = trained(shares, time, text).sample.flatten(2).transpose(1, 2) @ basis.T + patterns.mean
    whole = models.unfolded(trained, patterns).eval()(noisy, time, text).sample
    torch.testing.assert_close(models.blocks(whole), told, atol=1e-5, rtol=1e-4)


def test_a_training_that_is_killed_comes_to_the_same_weights(toy: Any, tmp_path: Path) -> None:
    training = toy("training")

    class Killed(Exception):
        pass

    def run(name: str, killed_at: int | None = None) -> Any:
        torch.manual_seed(1)
        module = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 3)])})

        def loss(step: int) -> torch.Tensor:
            if step == killed_at:
                raise Killed
            drawn = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
            for layer in module["blocks"]:
                drawn = layer(drawn).tanh()
            return drawn.square().mean()

        return training.train(module, loss, 9, 0.01, tmp_path / name)

    straight = run("straight.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_EVERY", 0.0)
        with pytest.raises(Killed):
            run("killed.pt", killed_at=5)
    assert torch.load(tmp_path / "killed.pt", weights_only=True)["step"] == 5
    again = run("killed.pt")
    assert set(straight) == set(again)
    assert all(torch.equal(straight[name], again[name]) for name in straight)


@pytest.mark.parametrize("model", ["shapes", "writer"])
def test_what_is_kept_of_a_model_in_the_repository_is_at_most_six_megabytes(model: str) -> None:
    assert 0 < sum(file.stat().st_size for file in (FOLDER / model).rglob("*.safetensors")) <= 6_000_000
