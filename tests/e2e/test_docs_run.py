"""What our pages show is done as they show it: the tutorial by a shell, and every job of plain programs on a plane."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_core import names
from documents import ROOT, Block, blocks, commands_of
from plane import Plane, needs_kubectl, succeeded
from reels import versions

TUTORIAL = ROOT / "docs/tutorial.md"
INTERPRETERS = {"sh", "python3"}
SHORTER = {"patience": ("600", "3")}
"""Jobs that take long on purpose: what is written there, and what is tried."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with nothing but our commands on PATH; their control plane is stopped in the end."""
    scripts = str(Path(sys.executable).parent)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CARRYON_", "KUBE"))}
    environment = {**kept, "HOME": str(tmp_path), "PATH": f"{scripts}:{os.environ['PATH']}"}
    yield environment
    subprocess.run([f"{scripts}/carryon", "down"], env=environment, check=False, timeout=120)


def on_this_machine() -> list[Block]:
    """The tutorial's blocks before it goes to a cluster, without the demo, which is tried elsewhere."""
    text = TUTORIAL.read_text(encoding="utf-8")
    cluster = text.count("\n", 0, text.index("## On a cluster")) + 1
    here = [each for each in blocks() if each.page == TUTORIAL and each.line < cluster and each.language == "sh"]
    return [each for each in here if [command.words for command in commands_of(each)] != [("make", "demo")]]


@needs_kubectl
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_ends_where_it_says(home: dict[str, str], tmp_path: Path) -> None:
    (letters,) = [each.text for each in blocks() if each.page == TUTORIAL and each.text.startswith("# letters.yaml")]
    (tmp_path / "letters.yaml").write_text(letters)
    for block in on_this_machine():
        script = f"set -eux\n{block.text}"
        ran = subprocess.run(
            ["bash"], input=script, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, f"{block.name}:\n{ran.stdout}\n{ran.stderr}"
    made = versions(tmp_path / ".carryon/output/default/letters")
    # Paused, cut off and edited: what was not edited was made once.
    assert {unit: len(each) for unit, each in made.items()} == {
        "letter/ada": 2,
        "letter/alan": 1,
        "letter/grace": 1,
        "book/job": 2,
    }
    assert all(each.text.count("\n") == 5 for unit in made if unit != "book/job" for each in made[unit])
    book = made["book/job"][-1].text
    assert [line for line in book.split("\n") if line.startswith("Dear")] == [
        "Dear Ada Lovelace,",
        "Dear Alan,",
        "Dear Grace,",
    ]


def runnable() -> Iterator[Any]:
    """Every job on our pages that takes nothing but a shell or Python."""
    for block in blocks():
        if block.language != "yaml":
            continue
        for document in yaml.safe_load_all(block.text):
            if not isinstance(document, dict) or document.get("kind") != names.KIND:
                continue
            spec = document["spec"]
            programs = [(each["generate"].get("command") or {}).get("args", [""])[0] for each in spec["stages"]]
            if set(programs) <= INTERPRETERS and "from" not in spec["items"]:
                yield pytest.param(document, id=f"{block.name}-{document['metadata']['name']}")


def on_a_machine(job: dict[str, Any]) -> dict[str, Any]:
    """The job without what lies beyond this machine: its bucket, its namespace, and whom it tells."""
    made = copy.deepcopy(job)
    made["spec"].pop("output", None)
    made["spec"].pop("notify", None)
    made["metadata"].pop("namespace", None)
    long, short = SHORTER.get(made["metadata"]["name"], ("", ""))
    if long:
        text = json.dumps(made)
        assert long in text
        made = json.loads(text.replace(long, short))
    return dict(made)


@pytest.mark.slow
@pytest.mark.parametrize("job", [*runnable()])
def test_every_job_of_plain_programs_that_is_shown_is_made(plane: Plane, job: dict[str, Any]) -> None:
    name = job["metadata"]["name"]
    shutil.rmtree(plane.job_folder(name), ignore_errors=True)
    plane.apply(on_a_machine(job))
    approved = {each["name"]: ["*"] for each in job["spec"]["stages"] if each.get("approval")}
    if approved:
        plane.patch(name, {"spec": {"approved": approved}})
    done = plane.wait_for(name, succeeded, 120)
    made = versions(plane.job_folder(name))
    assert len(made) == done["status"]["units"]["total"]
    assert all(content for each in made.values() for version in each for content in version.contents.values())


def test_there_are_jobs_to_try() -> None:
    assert {"letters", "tones", "stories", "recital", "patience", "noise", "hello"} <= {
        each.values[0]["metadata"]["name"] for each in runnable()
    }
    assert len(on_this_machine()) >= 5
