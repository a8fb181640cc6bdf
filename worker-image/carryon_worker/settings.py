"""What the environment of a worker says, read once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carryon_core import names

ENV_PORT: Final = "CARRYON_PORT"
ENV_CHECKPOINT_SECONDS: Final = "CARRYON_CHECKPOINT_SECONDS"
"""Seconds between looks whether a unit has something new to keep."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a worker listens, writes and keeps temporary files.

    Attributes:
        stop_seconds: Time that something asked to stop may take: a third of the grace period, so that what must
            still be written afterwards is written well inside it.
        flush_seconds: Time that saving resume state may take after that.
        checkpoint_seconds: Time between savings of it while a unit is being made.
    """

    assignment: str
    pod: str
    pod_uid: str
    image: str
    bind: str
    port: int
    scratch: Path
    model_cache: Path
    model_cache_bytes: int | None
    termination_log: Path
    stop_seconds: float
    flush_seconds: float
    checkpoint_seconds: float

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in an environment; what is absent has the value that fits a pod on a cluster."""
        scratch = Path(environment.get(names.ENV_SCRATCH) or tempfile.gettempdir())
        grace = float(environment.get(names.ENV_GRACE_SECONDS) or 30.0)
        return cls(
            assignment=environment.get(names.ENV_ASSIGNMENT, ""),
            pod=environment.get(names.ENV_POD_NAME, ""),
            pod_uid=environment.get(names.ENV_POD_UID, ""),
            image=environment.get(names.ENV_IMAGE, ""),
            bind=environment.get(names.ENV_BIND) or "0.0.0.0",
            port=int(environment.get(ENV_PORT) or names.WORKER_PORT),
            scratch=scratch,
            model_cache=Path(environment.get(names.ENV_MODEL_CACHE) or scratch / "models"),
            model_cache_bytes=int(limit) if (limit := environment.get(names.ENV_MODEL_CACHE_BYTES)) else None,
            termination_log=Path(environment.get(names.ENV_TERMINATION_LOG) or "/dev/termination-log"),
            stop_seconds=grace / 3,
            flush_seconds=grace / 2,
            checkpoint_seconds=float(environment.get(ENV_CHECKPOINT_SECONDS) or 60.0),
        )
