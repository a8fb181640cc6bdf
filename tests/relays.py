"""examples/relay.py as a module: what people are given to receive webhooks with."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

RELAY = Path(__file__).parents[1] / "examples" / "relay.py"


@lru_cache
def relay() -> Any:
    """The module."""
    spec = importlib.util.spec_from_file_location("relay", RELAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
