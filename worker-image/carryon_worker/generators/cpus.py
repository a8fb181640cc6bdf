"""How many CPUs this process may use, which is seldom how many there are."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_V2: Final = Path("/sys/fs/cgroup/cpu.max")
_V1_QUOTA: Final = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_V1_PERIOD: Final = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cpus() -> int:
    """CPUs by affinity and by the container's limit, whichever is less; at least one."""
    affinity = len(os.sched_getaffinity(0))
    limit = _cgroup_limit()
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))


def _cgroup_limit() -> float | None:
    try:
        if _V2.exists():
            quota, period = _V2.read_text().split()
        else:
            quota, period = _V1_QUOTA.read_text(), _V1_PERIOD.read_text()
    except OSError:
        return None
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)
