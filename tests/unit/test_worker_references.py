"""Which file of an upstream unit a template means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carryon_worker import references
from carryon_worker.failures import BadRequest
from carryon_worker.generators import HISTORY, InputFile
from carryon_worker.inputs import Inputs, Source


def files(*names: str) -> Source:
    return Source("dunes", tuple(InputFile(name, Path(name), "") for name in names))


def resolve(source: Any, name: str | None = None) -> Any:
    reference = {"$input": {"stage": "clip", "name": name}}
    return references.resolve(reference, Inputs({"clip": source}, {}), lambda file: file.name)


def test_a_history_beside_a_clip_is_meant_only_by_its_name() -> None:
    made = files("clip.mp4", HISTORY)
    assert resolve(made) == "clip.mp4"
    assert resolve(made, HISTORY) == HISTORY
    assert resolve([made, made]) == ["clip.mp4", "clip.mp4"]
    assert resolve([made], HISTORY) == [HISTORY]


def test_several_files_without_a_name_are_refused_with_what_there_is() -> None:
    with pytest.raises(BadRequest, match=r"has 2 artifacts \(a.png, b.png, history.safetensors\): name one"):
        resolve(files("a.png", "b.png", HISTORY))
