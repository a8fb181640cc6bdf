"""What a journal costs the denoiser, and how long it takes to go on from one.

The denoiser has the modules of a large one (Wan with 40 blocks), because looking for changed attributes costs by their
number. Its forward computes for as long as a step is to take and returns a tensor of the size that is to be kept. The
machine's time changes from second to second, so runs with and without a journal take turns.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from carryon_core.messages import Cadence, StoreConfig
from carryon_store import open_store
from carryon_worker.journal import interception
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.interception import Interception
from carryon_worker.journal.recorder import Recorder
from carryon_worker.journal.unit import Journal

MEDIUM: Final = Cadence()
_SIDE: Final = 256
_SCALE: Final = _SIDE**-0.5
"""Keeps a product of random matrices of the size its factors have: numbers near zero take longer."""
_WARM: Final = 20
_FIELDS: Final = {"bench": "journaling"}


class Denoiser(diffusers.WanTransformer3DModel):  # type: ignore[misc]
    """As many modules as a large one, and steps of any length."""

    def set_up(self, seconds: float, megabytes: float) -> None:
        """Let a call take so long, and return so much."""
        torch.manual_seed(0)
        self.square = torch.randn(_SIDE, _SIDE)
        self.products = max(1, round(seconds / _seconds_a_product(self.square)))
        self.answer = torch.randn(round(megabytes * 1e6 / 4))

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Work."""
        product = self.square
        for _ in range(self.products):
            product = torch.mm(self.square, product) * _SCALE
        return self.answer + product[0, 0]


@dataclass(frozen=True, slots=True)
class Overhead:
    """What it cost to keep the calls.

    Attributes:
        step: Seconds of a call.
        megabytes: That each returned.
        modules: Of the denoiser.
        waited: Seconds that a call took longer within its own thread.
        ratio: Time of all calls with a journal, to that without.
        spread: Half the distance between the quartiles of the ratios of runs next to one another.
    """

    step: float
    megabytes: float
    modules: int
    waited: float
    ratio: float
    spread: float


@dataclass(frozen=True, slots=True)
class Stand:
    """A denoiser whose calls are caught."""

    model: Denoiser
    caught: Interception


def stand() -> Stand:
    """Built once: with 40 blocks it takes a moment."""
    with torch.no_grad():
        made = Denoiser(num_layers=40, num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
                        text_dim=16, freq_dim=16, ffn_dim=32)  # fmt: skip
    return Stand(made, interception.attach({"transformer": made}))


def overhead(stand: Stand, folder: Path, step: float, megabytes: float, seconds: float,
             pairs: int) -> Overhead:  # fmt: skip
    """Run with and without a journal in turns.

    Args:
        stand: What computes.
        folder: For the bucket; empty, and gone afterwards.
        step: Seconds of a call.
        megabytes: That each returns.
        seconds: Of one run; long enough for the journal to be written in it.
        pairs: Runs of each kind.
    """
    stand.model.set_up(step, megabytes)
    steps = max(2, round(seconds / step))
    plain: list[float] = []
    kept: list[float] = []
    waits: list[float] = []

    def without() -> None:
        plain.append(_timed(lambda: _loop(stand.model, steps)))

    def with_journal() -> None:
        journal = _journal(folder / str(len(kept)), MEDIUM)
        chain = journal.open(_FIELDS)
        kept.append(_timed(lambda: _ask(stand, journal, chain, steps)))
        journal.close()
        waits.append(journal.account.waited)

    folder.mkdir()
    _loop(stand.model, min(_WARM, steps))
    for pair in range(pairs):
        for run in (with_journal, without) if pair % 2 else (without, with_journal):
            run()
    shutil.rmtree(folder)
    ratios = [one / other for one, other in zip(kept, plain, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if pairs > 1 else [0.0, 0.0, 0.0]
    return Overhead(
        step=sum(plain) / pairs / steps,
        megabytes=megabytes,
        modules=sum(1 for _ in stand.model.modules()),
        waited=sum(waits) / pairs / steps,
        ratio=sum(kept) / sum(plain),
        spread=(quartiles[2] - quartiles[0]) / 2,
    )


@dataclass(frozen=True, slots=True)
class Replay:
    """What it took to go on.

    Attributes:
        calls: That were answered.
        megabytes: Of each.
        opening: Seconds to read the journal from the bucket.
        answering: Seconds to answer the calls from it.
    """

    calls: int
    megabytes: float
    opening: float
    answering: float


def replay(stand: Stand, folder: Path, calls: int, megabytes: float) -> Replay:
    """Keep some calls, and answer them."""
    stand.model.set_up(0.0, megabytes)
    journal = _journal(folder, Cadence(every_seconds=3600))
    _ask(stand, journal, journal.open(_FIELDS), calls)
    journal.flush(600)
    journal.close()
    again = _journal(folder, MEDIUM)
    found: list[Chain] = []
    opening = _timed(lambda: found.append(again.open(_FIELDS)))
    answering = _timed(lambda: _ask(stand, again, found[0], calls))
    again.close()
    assert again.account.replayed == calls
    shutil.rmtree(folder)
    return Replay(calls, megabytes, opening, answering)


def flush(stand: Stand, folder: Path, megabytes: float, calls: int) -> float:
    """Seconds until everything that waits is durable, as on SIGTERM."""
    stand.model.set_up(0.0, megabytes)
    journal = _journal(folder, Cadence(every_seconds=3600, every_bytes=2**40))
    _ask(stand, journal, journal.open(_FIELDS), calls)
    taken = _timed(lambda: journal.flush(600))
    journal.close()
    shutil.rmtree(folder)
    return taken


def _ask(stand: Stand, journal: Journal, chain: Chain, steps: int) -> None:
    recorder = Recorder(journal, chain, stand.caught.components, lambda: 0, lambda: None)
    with stand.caught.asking(recorder):
        _loop(stand.model, steps)
    recorder.finish()


def _loop(model: Denoiser, steps: int) -> None:
    """What a pipeline does, as far as the denoiser is concerned."""
    latents = torch.zeros_like(model.answer)
    with torch.no_grad():
        for step in range(steps):
            latents = latents + 0.1 * model(hidden_states=latents, timestep=torch.tensor(step))


def _journal(folder: Path, cadence: Cadence) -> Journal:
    store = open_store(StoreConfig(uri=(folder / "bucket").as_uri()))
    return Journal(store, "unit/", folder / "scratch", "pod", cadence, lambda: None)


def _timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _seconds_a_product(square: torch.Tensor) -> float:
    """The best of some: what else the machine does makes none of them faster."""

    def products() -> None:
        product = square
        for _ in range(100):
            product = torch.mm(square, product) * _SCALE

    return min(_timed(products) for _ in range(10)) / 100
