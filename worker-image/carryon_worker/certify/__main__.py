"""Certification as a program: one question on stdin, the answer on stdout, what is done meanwhile on stderr.

    {"model": "/models/wan", "pipeline": null, "dtype": "bfloat16", "cuts": 3,
     "schedulers": [{"name": "EulerDiscreteScheduler", "params": {"use_karras_sigmas": true}}],
     "params": {"prompt": "dunes", "image": {"file": "/pictures/dunes.png"}}, "memory": {"offload": "model"}}

    {"verdicts": [{"pipeline": "WanPipeline", ..., "certified": true}], "markdown": "| pipeline | ..."}

Of a question, everything but the model may be left out.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carryon_worker.certify import certify, lifeline
from carryon_worker.certify.certification import CUTS
from carryon_worker.certify.report import markdown
from carryon_worker.certify.verdicts import SchedulerChoice

_UNREADABLE: Final = 2
_INTERRUPTED: Final = 130


class Choice(BaseModel):
    """A scheduler that is to be tried."""

    model_config = ConfigDict(extra="forbid")
    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Question(BaseModel):
    """What is read."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1)
    pipeline: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    cuts: int = Field(default=CUTS, ge=1)
    schedulers: list[Choice] = Field(default_factory=list)
    params: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict)


def main(source: IO[str], target: IO[str]) -> int:
    """Answer a question; exit code 0 whatever is found, 2 where it could not be read."""
    try:
        asked = Question.model_validate_json(source.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        print(f"the question can't be read: {'.'.join(map(str, first['loc']))}: {first['msg']}", file=sys.stderr)
        return _UNREADABLE
    # Nothing is to be left behind: no workers, no gigabytes of journals.
    lifeline.interrupt_once()
    lifeline.end_with_parent(signal.SIGTERM)
    try:
        verdicts = certify(
            asked.model,
            pipeline=asked.pipeline,
            schedulers=[SchedulerChoice(each.name, each.params) for each in asked.schedulers],
            params=_with_paths(asked.params),
            dtype=asked.dtype,
            cuts=asked.cuts,
            memory=asked.memory,
            tell=lambda what: print(what, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    said = [{**asdict(verdict), "certified": verdict.certified} for verdict in verdicts]
    json.dump({"verdicts": said, "markdown": markdown(verdicts)}, target)
    target.write("\n")
    return 0


def _with_paths(value: Any) -> Any:
    match value:
        case {"file": str(uri)} if len(value) == 1:
            return Path(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri)
        case Mapping():
            return {key: _with_paths(inner) for key, inner in value.items()}
        case list():
            return [_with_paths(inner) for inner in value]
    return value


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
