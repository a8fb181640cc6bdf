"""Alerts and dashboard of the chart ask for series that there are, and every alert says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from carryon_core import dashboard
from chart_release import CHART, manifests, of_kind

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
RUNBOOK = (ROOT / "docs/reference/alerts.md").read_text()
ENABLED = {"rules": {"enabled": True, "runbook": "https://docs.example.com/alerts"}, "dashboard": {"enabled": True}}


def series() -> dict[str, set[str]]:
    """Name of each series in docs/reference/metrics.md, which is made from the code -> its labels."""
    text = (ROOT / "docs/reference/metrics.md").read_text()
    return {
        name: set((labels or "").split(",")) - {""}
        for name, labels in re.findall(r"`(carryon_\w+)(?:\{([\w,]+)\})?`", text)
    }


@dataclass
class Asked:
    """What an expression asks for.

    Attributes:
        series: Name of each series, and the labels that it is narrowed by.
        by: Labels that are kept or left out.
    """

    series: list[tuple[str, set[str]]] = field(default_factory=list)
    by: set[str] = field(default_factory=set)


def asked(expression: str) -> Asked:
    """What an expression of PromQL asks for; a ValueError where it is none."""
    # Grafana puts durations in their place.
    text = re.sub(r"\$__(range|rate_interval)", "5m", expression)
    found = Asked()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.series.append(
                (re.sub(r"_bucket$", "", node.name or ""), {each.name for each in node.matchers.matchers})
            )
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.by.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(text), visit)
    return found


def expressions() -> Iterator[Any]:
    for rule in RULES:
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in dashboard.build()["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=panel["title"])


@pytest.mark.parametrize("expression", [*expressions()])
def test_what_is_asked_for_is_there(expression: str) -> None:
    known, found = series(), asked(expression)
    assert found.series
    assert [name for name, _ in found.series if name not in known] == []
    # Prometheus adds the namespace that a target is in.
    assert [(name, labels) for name, labels in found.series if not labels <= known[name] | {"namespace"}] == []
    assert found.by - {"namespace", "le"} <= set().union(*(known[name] for name, _ in found.series))


def test_a_name_that_nobody_counts_is_found_out() -> None:
    known = series()
    assert len(known) > 40
    assert known["carryon_jobs"] == {"phase"}
    assert asked('sum by (job) (carryon_jbos{phase="x"})') == Asked([("carryon_jbos", {"phase"})], {"job"})
    assert "carryon_jbos" not in known
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        asked("sum(carryon_jobs")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_a_section_that_says_what_to_do(rule: dict[str, Any]) -> None:
    (section,) = re.findall(rf"^## {rule['alert']}\n\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert len(section.split()) > 20
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"]


def test_every_section_is_of_an_alert() -> None:
    assert re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_chart_hands_out_both_with_links() -> None:
    found = manifests({"metrics": ENABLED})
    (rules,) = of_kind(found, "PrometheusRule")
    sent = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    for ours, theirs in zip(RULES, sent, strict=True):
        link = f"https://docs.example.com/alerts#{ours['alert'].lower()}"
        assert theirs == {**ours, "annotations": {**ours["annotations"], "runbook_url": link}}
    (config,) = of_kind(found, "ConfigMap")
    assert json.loads(config["data"]["carryon.json"]) == dashboard.build()


def test_panels_lie_beside_each_other_and_not_over() -> None:
    cells: set[tuple[int, int]] = set()
    panels = dashboard.build()["panels"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in panels}) == len(panels)
