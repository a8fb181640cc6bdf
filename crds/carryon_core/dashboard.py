"""The chart's Grafana dashboard: what people ask, each question a row, and the series that answer it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_WIDTH: Final = 24
_HEIGHT: Final = 8
_STAT_WIDTH: Final = 4
_STAT_HEIGHT: Final = 4
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_LOOKS: Final = "sum by (le) (rate(carryon_reconcile_duration_seconds_bucket{$in}[$__rate_interval]))"
_SCOPE: Final = 'namespace=~"$namespace"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: Of it.
        queries: What each line is called -> PromQL, with `$in` where the chosen installations are meant.
        unit: As Grafana names it.
        kind: timeseries, or stat for a single number.
        stacked: Whether lines add up to a whole.
        width: Of 24.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    stacked: bool = False
    width: int = 8


def _stat(title: str, query: str, unit: str = "short") -> Panel:
    return Panel(title, (("", query),), unit=unit, kind="stat", width=_STAT_WIDTH)


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Is anything stuck?",
        (
            _stat("Waiting for a person", 'max(carryon_jobs{phase="Stalled",$in})'),
            _stat("Bucket away", "max(carryon_jobs_bucket_unreachable{$in})"),
            _stat("Units left", 'sum(max by (state) (carryon_units{state=~"waiting|active",$in}))'),
            _stat("Leaders", "sum(carryon_leader{$in})"),
            _stat("Longest wait for the operator", "max(carryon_queue_oldest_key_seconds{$in})", "s"),
            _stat("API server last heard", "max(carryon_watch_silence_seconds{$in})", "s"),
            Panel("Jobs by phase", (("{{phase}}", "max by (phase) (carryon_jobs{$in})"),), stacked=True),
            Panel("Pods by phase", (("{{phase}}", "max by (phase) (carryon_pods{$in})"),), stacked=True),
            Panel(
                "Units finished, a minute",
                (("{{outcome}}", "sum by (outcome) (rate(carryon_units_finished_total{$in}[$__rate_interval])) * 60"),),
                stacked=True,
            ),
        ),
    ),
    (
        "Why?",
        (
            Panel(
                "What interrupts work, an hour",
                (("{{cause}}", "sum by (cause) (rate(carryon_interruptions_total{$in}[1h])) * 3600"),),
            ),
            Panel(
                "Pods that are refused, an hour",
                (("{{reason}}", "sum by (reason) (rate(carryon_pods_refused_total{$in}[1h])) * 3600"),),
            ),
            Panel(
                "Journals that do not fit, an hour",
                (("{{misfit}}", "sum by (misfit) (rate(carryon_journals_refused_total{$in}[1h])) * 3600"),),
            ),
        ),
    ),
    (
        "What did failures cost, and how much did resuming save?",
        (
            Panel(
                "GPU hours by use, a day",
                (("{{use}}", "sum by (use) (rate(carryon_gpu_seconds_by_use_total{$in}[6h])) * 24"),),
                unit="h",
                width=12,
            ),
            _stat(
                "Lost, of all GPU time",
                'sum(increase(carryon_gpu_seconds_by_use_total{use="lost",$in}[$__range]))'
                " / sum(increase(carryon_gpu_seconds_total{$in}[$__range]))",
                "percentunit",
            ),
            Panel(
                "Lost, and saved by resuming",
                (
                    ("lost", 'sum(increase(carryon_gpu_seconds_by_use_total{use="lost",$in}[$__range]))'),
                    ("saved", 'sum(increase(carryon_gpu_seconds_by_use_total{use="saved",$in}[$__range]))'),
                ),
                unit="s",
                kind="stat",
                width=_STAT_WIDTH,
            ),
            _stat(
                "Attempts that went on inside a unit", "sum(increase(carryon_attempts_resumed_total{$in}[$__range]))"
            ),
        ),
    ),
    (
        "Does the operator keep up?",
        (
            Panel(
                "A look at a job takes",
                tuple(
                    (name, f"histogram_quantile({share}, {_LOOKS})")
                    for name, share in (("median", "0.5"), ("99 %", "0.99"))
                ),
                unit="s",
            ),
            Panel("Jobs in the queue", (("", "max(carryon_queue_depth{$in})"),)),
            Panel(
                "Requests to the API server",
                (
                    (
                        "{{verb}} {{resource}}",
                        "sum by (verb, resource) (rate(carryon_kube_requests_total{$in}[$__rate_interval]))",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Operations on buckets",
                (
                    (
                        "{{operation}} {{outcome}}",
                        "sum by (operation, outcome) (rate(carryon_bucket_operations_total{$in}[$__rate_interval]))",
                    ),
                ),
                unit="ops",
            ),
            Panel("In journals", (("", "max(carryon_journal_bytes{$in})"),), unit="bytes"),
            Panel(
                "Requests to the page's API",
                (("{{status}}", "sum by (status) (rate(carryon_api_requests_total{$in}[$__rate_interval]))"),),
                unit="reqps",
            ),
        ),
    ),
)


def build() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "title": "Carryon",
        "uid": "carryon",
        "tags": ["carryon"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "namespace",
                    "label": "Installation",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": {"query": "label_values(carryon_leader, namespace)", "refId": "namespace"},
                    "refresh": 2,
                    "includeAll": True,
                    # Also where nothing has that label.
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for question, panels in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": question,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }
        top, left, tallest = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > _WIDTH:
                top, left, tallest = top + tallest, 0, 0
            height = _STAT_HEIGHT if panel.kind == "stat" else _HEIGHT
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression.replace("$in", _SCOPE),
                "legendFormat": name or "__auto",
            }
            for index, (name, expression) in enumerate(panel.queries)
        ],
    }


def render() -> str:
    """The file's text."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"
