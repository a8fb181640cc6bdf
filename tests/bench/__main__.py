"""Measures, and prints tables in Markdown: cd tests && python -m bench [--quick] [journals|pages|operator|server]."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bench import journaling, live, measuring, operator_table, serving, stopping
from bench.journaling import Stand

_OVERHEADS: Final = ((0.01, 0.26), (0.1, 0.5), (0.5, 0.5), (0.5, 4.0), (0.5, 20.0), (1.0, 20.0), (10.0, 30.0))
"""Seconds of a step and megabytes it returns: SDXL, Flux, Flux on a slow GPU, LTX, Wan 2.2 at 720p, HunyuanVideo."""
_REPLAYS: Final = (0.26, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measures what journals, open pages, the operator and the API server cost."
    )
    parser.add_argument("what", nargs="?", choices=("journals", "pages", "operator", "server"), help="only this")
    parser.add_argument("--quick", action="store_true", help="a few seconds each: shows that it runs, measures nothing")
    parser.add_argument("--seconds", type=float, default=18.0, help="of one run; there are four of each step and size")
    asked = parser.parse_args()
    quick: bool = asked.quick
    torch.set_num_threads(1)
    print(measuring.machine(), end="\n\n", flush=True)
    if asked.what in (None, "operator"):
        operator_table.report(quick, _show)
    if asked.what in (None, "pages"):
        live.report(quick, _show)
    if asked.what in (None, "server"):
        for table in serving.report(quick):
            _show(table)
    if asked.what in (None, "journals"):
        _journals(quick, asked.seconds)


def _show(text: str) -> None:
    print(text, end="\n\n", flush=True)


def _journals(quick: bool, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stand = journaling.stand()
        print(_overheads(stand, Path(folder), quick, seconds), end="\n\n", flush=True)
        for report in (_replays, _stops):
            print(report(stand, Path(folder), quick), end="\n\n", flush=True)


def _overheads(stand: Stand, folder: Path, quick: bool, seconds: float) -> str:
    rows = []
    for step, megabytes in _OVERHEADS[: 2 if quick else None]:
        run, pairs = (1.0, 1) if quick else (seconds, 2)
        cost = journaling.overhead(stand, folder / "overhead", step, megabytes, run, pairs)
        rows.append(
            (
                f"{cost.step:.3g} s",
                f"{cost.megabytes:g} MB",
                f"{cost.waited * 1000:.2f} ms",
                f"{cost.waited / cost.step:.2%}",
                f"{cost.ratio - 1:+.2%} ± {cost.spread:.2%}",
            )
        )
    head = ("step", "returns", "waited in each", "share", "with a journal, to without")
    return measuring.table(head, rows)


def _replays(stand: Stand, folder: Path, quick: bool) -> str:
    rows = []
    for megabytes in _REPLAYS[: 1 if quick else None]:
        took = journaling.replay(stand, folder / "replay", 100, megabytes)
        rows.append((f"{took.calls}", f"{megabytes:g} MB", f"{took.opening:.2f} s", f"{took.answering:.2f} s"))
    return measuring.table(("calls", "of each", "to read them", "to answer them"), rows)


def _stops(stand: Stand, folder: Path, quick: bool) -> str:
    times = 2 if quick else 20
    flushes = [journaling.flush(stand, folder / "flush", 20.0, 3) for _ in range(times)]
    stops = folder / "stops"
    stops.mkdir()
    rows = [
        _spread("worker, tiny tensors: SIGTERM to all durable", stopping.ends(stops, times)),
        _spread("60 MB waiting: flush to all durable", flushes),
    ]
    return measuring.table(("", "p50", "max"), rows)


def _spread(name: str, seconds: Sequence[float]) -> tuple[str, str, str]:
    return name, f"{measuring.percentile(seconds, 0.5):.3f} s", f"{max(seconds):.3f} s"


if __name__ == "__main__":
    main()
