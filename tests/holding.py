"""Workers that stand still in the middle of a unit, so that on any machine what happens then happens in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from carryon_core import names
from nodes import until


def half_made(job: Path, item: str) -> bool:
    """Whether a clip in a job's folder has a journal, and is not done."""
    at = job / "clip" / item
    return any(at.rglob("journal/*/*/*.safetensors")) and not any(at.rglob("done.json"))


@contextmanager
def held(processes: Callable[[], Iterable[psutil.Process]], job: Path, items: Collection[str]) -> Iterator[None]:
    """Hold the workers of a job, each from when its clip of these is half made, until the context ends.

    Args:
        processes: All that may be workers.
        job: The job's folder in the bucket.
        items: Of whose clips each has a worker of its own.
    """
    stopped: dict[str, psutil.Process] = {}

    def hold() -> bool:
        for item in items:
            if item not in stopped and half_made(job, item):
                for worker in _at_work(processes(), job.name, item):
                    worker.suspend()
                    stopped[item] = worker
        return len(stopped) == len(items)

    try:
        until(hold, 180, "half of each clip")
        assert all(half_made(job, item) for item in items), "a clip was done before its worker could be held"
        yield
    finally:
        for worker in stopped.values():
            with suppress(psutil.NoSuchProcess):
                worker.resume()


def _at_work(processes: Iterable[psutil.Process], job: str, item: str) -> Iterator[psutil.Process]:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            text = process.environ().get(names.ENV_ASSIGNMENT) if "carryon_worker" in process.cmdline() else None
            given = json.loads(text or "{}")
            if given.get("job") == job and any(unit["item"] == item for unit in given["units"]):
                yield process
