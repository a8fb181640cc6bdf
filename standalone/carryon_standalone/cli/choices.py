"""Words that options take."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How to print jobs."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class DataType(StrEnum):
    """Type of a model's weights."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class State(StrEnum):
    """How a unit may stand."""

    DONE = "done"
    SKIPPED = "skipped"
    FILTERED = "filtered"
    FAILED = "failed"
    ACTIVE = "active"
    WAITING = "waiting"
    WAITING_FOR_APPROVAL = "waiting for approval"
