"""The documentation is true: links lead somewhere, every page is found, tables name what the code names."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

import chart_release
from carryon_core.chart_files import leaves
from carryon_core.status import ConditionType
from documents import ROOT, pages, prose

PAGES = pages()
CODE = [ROOT / "crds", ROOT / "operator", ROOT / "worker-image"]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


def test_every_reason_on_a_page_for_operations_is_explained() -> None:
    explained = [ROOT / "docs/concepts.md", *(ROOT / "docs/reference").glob("*.md")]
    known = "".join(each.read_text(encoding="utf-8") for each in explained)
    for name in ("troubleshooting", "disaster-recovery", "buckets", "kueue", "spot-nodes", "gitops"):
        told = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", prose(ROOT / f"docs/how-to/{name}.md")))
        assert {each for each in told - OTHERS if f"`{each}`" not in known} == set(), name


OTHERS = {"ReadWriteMany", "RuntimeDefault"}
"""Words of Kubernetes' own."""


SCHEMA = json.loads((chart_release.CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((chart_release.CHART / "values.yaml").read_text(encoding="utf-8"))
SETTABLE = {path for path, _, _ in leaves(SCHEMA, DEFAULTS, SCHEMA["$defs"])}
SECTIONS = "|".join(
    key for key, value in DEFAULTS.items() if isinstance(value, dict) and key not in ("image", "worker")
)
"""Those whose names begin nothing else."""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_value_of_the_chart_that_is_named_is_one(page: Path) -> None:
    told = set(re.findall(rf"`((?:{SECTIONS})(?:\.(?!json`)\w+)+)(?::[^`]*)?`", prose(page)))
    assert {each for each in told if not any(f"{path}.".startswith(f"{each}.") for path in SETTABLE)} == set()
