"""How long a worker that gets SIGTERM takes to make durable what it has computed, and to be gone."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

from carryon_core import layout
from carryon_core.messages import AssignedUnit, Assignment, Cadence, ExitCode, StoreConfig
from carryon_store import open_store
from forked_workers import ONE_THREAD, Fate, Forge
from zoo import ENTRIES

_STEPS = 20


def ends(folder: Path, workers: int, model: str = "wan") -> list[float]:
    """Seconds from the signal to the end, for workers that get it while a call of the denoiser is at work.

    The call would take another minute, and its thread does not listen.
    """
    forge = Forge(folder / "log")
    draw = random.Random(0)
    try:
        forge.build(folder, model)
        return [_end(forge, folder, model, number, draw.randint(1, _STEPS - 1)) for number in range(workers)]
    finally:
        forge.close()


def _end(forge: Forge, folder: Path, model: str, number: int, at: int) -> float:
    root = folder / str(number)
    root.mkdir()
    unit = AssignedUnit(
        index=0,
        item="clip",
        fingerprint=f"{number:064x}",
        seed=1,
        generate={
            "diffusers": {
                "model": str(folder / model),
                "dtype": "float32",
                "params": {**ENTRIES[model].params, "num_inference_steps": _STEPS},
            }
        },
    )
    store = StoreConfig(uri=(root / "bucket").as_uri())
    assignment = Assignment(
        namespace="bench", job="stop", stage="clip", attempt=1, store=store, units=[unit],
        checkpoint=Cadence(every_seconds=3600),
    )  # fmt: skip
    environment = {
        **os.environ,
        **ONE_THREAD,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CARRYON_ASSIGNMENT": assignment.model_dump_json(by_alias=True),
        "CARRYON_POD_NAME": f"pod-{number}",
        "CARRYON_POD_UID": f"uid-{number}",
        "CARRYON_BIND": "127.0.0.1",
        "CARRYON_PORT": "0",
        "CARRYON_SCRATCH": str(root),
        "CARRYON_TERMINATION_LOG": str(root / "message"),
    }
    calls = root / "calls"
    calls.touch()
    code = forge.run(environment, root / "log", calls, Fate(signal.SIGTERM, at))
    if code != ExitCode.INTERRUPTED:
        raise RuntimeError(f"the worker ended with {code}: {(root / 'log').read_text()[-2000:]}")
    prefix = layout.journal_prefix(layout.unit_prefix("bench", "stop", "clip", "clip", unit.fingerprint))
    if not any(info.key.endswith(".safetensors") for info in open_store(store).list(prefix)):
        raise RuntimeError("the worker has kept nothing")
    return (root / "message").stat().st_mtime - float(calls.with_suffix(".killed").read_text())
