"""The documentation is true: links lead somewhere, jobs shown are jobs, tables name what the code names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_core import crd, names
from carryon_core.done import Done
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_core.status import ConditionType
from carryon_standalone.apiserver.schema import Structural

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [ROOT / "crds", ROOT / "operator", ROOT / "worker-image"]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[Any]:
    """Code blocks of a language, each a test parameter named by page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield pytest.param(match[1], id=f"{named(page)}:{text.count(chr(10), 0, match.start()) + 1}")


def jobs() -> Iterator[Any]:
    for block in blocks("yaml"):
        for document in yaml.safe_load_all(block.values[0]):
            if isinstance(document, dict) and document.get("kind") == names.KIND:
                yield pytest.param(document, id=f"{block.id}-{document['metadata']['name']}")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)\)", prose(index))}
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - linked == {index}


@pytest.mark.parametrize("job", [*jobs()])
def test_every_job_that_is_shown_would_be_accepted(job: dict[str, Any]) -> None:
    structural, _ = Structural.compile(crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "schema")
    assert structural is not None
    assert structural.prune(job) == []
    structural.default(job)
    assert structural.validate(job) == []
    spec = JobSpec.model_validate(job["spec"])
    # What the rows of a job's data hold, its page says in words.
    if spec.items.from_ is None:
        assert resolve("default", job["metadata"]["name"], spec).warnings == ()


@pytest.mark.parametrize("text", [*blocks("json")])
def test_every_done_json_that_is_shown_is_one(text: str) -> None:
    shown = json.loads(text)
    read = Done.model_validate(shown).model_dump(by_alias=True, mode="json")
    assert {**read, **shown} == read


def reasons(call: str, position: int) -> set[str]:
    """Texts that the code gives as an argument of a call: `SpecError("NoOutput", ...)` -> NoOutput."""
    found = set()
    for folder in CODE:
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == call:
                    match node.args[position : position + 1]:
                        case [ast.Constant(value=str(reason))]:
                            found.add(reason)
    return found


@pytest.mark.parametrize(("call", "position"), [("SpecError", 0), ("UnitFailure", 0), ("Event", 1)])
def test_every_reason_that_people_meet_is_explained(call: str, position: int) -> None:
    made = reasons(call, position)
    assert made
    explained = set(re.findall(r"`(\w+)`", prose(ROOT / "docs/reference/status.md")))
    assert made - explained == set()


def test_every_condition_is_explained() -> None:
    text = prose(ROOT / "docs/reference/status.md")
    assert [kind for kind in ConditionType if f"| `{kind}` |" not in text] == []
