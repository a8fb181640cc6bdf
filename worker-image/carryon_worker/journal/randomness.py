"""The state of everything that a pipeline may draw random numbers from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def state(generator: torch.Generator | None, device: torch.device) -> dict[str, Any]:
    """Tensors and plain values, all copies.

    Args:
        generator: The unit's own, on the CPU.
        device: Where the pipeline draws besides.
    """
    version, words, gauss = random.getstate()
    numbers: Any = np.random.get_state(legacy=False)
    inner = numbers["state"]
    return {
        "unit": None if generator is None else generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "words": torch.from_numpy(inner["key"].astype(np.int64)),
            "position": int(inner["pos"]),
            "has_gauss": int(numbers["has_gauss"]),
            "gauss": float(numbers["gauss"]),
        },
    }


def put_back(saved: Mapping[str, Any], generator: torch.Generator | None, device: torch.device) -> None:
    """Let everything draw what it drew after `state` was called.

    Args:
        saved: What `state` returned; its tensors may lie on any device.
        generator: The unit's own.
        device: As it was then.
    """
    if generator is not None:
        generator.set_state(saved["unit"].cpu())
    torch.set_rng_state(saved["torch"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"].cpu(), device)
    python, numbers = saved["python"], saved["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": numbers["words"].cpu().numpy().astype(np.uint32), "pos": numbers["position"]},
            "has_gauss": numbers["has_gauss"],
            "gauss": numbers["gauss"],
        }
    )
