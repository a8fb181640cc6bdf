"""Images have the programs that they are for, and no scripts of parts that are not in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.mark.parametrize(
    ("dockerfile", "programs"),
    [("Dockerfile", {"carryon-operator", "carryon-api"}), ("worker-image/Dockerfile", {"carryon-worker"})],
)
def test_every_script_of_the_package_is_a_program_of_the_image_or_taken_out(
    dockerfile: str, programs: set[str]
) -> None:
    (removed,) = re.findall(r"&& rm ((?:[^&]|\n)*)", (ROOT / dockerfile).read_text())
    assert set(re.findall(r"/opt/carryon/bin/(\S+)", removed)) == SCRIPTS - programs
