"""What is made for the Helm chart (its copy of the CRD, its dashboard), and from it: docs/reference/values.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from carryon_core import crd, dashboard

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "carryon"
_INTRO: Final = """\
# Values of the chart

Made from `charts/carryon/values.schema.json` and `values.yaml`; do not edit. What is not here is refused by
`helm install`. How to begin: [install on a cluster](../how-to/install-on-a-cluster.md).
"""

Schema = Mapping[str, Any]


def leaves(schema: Schema, values: Any, definitions: Schema, path: str = "") -> Iterator[tuple[str, Schema, Any]]:
    """Path, schema and default of every value, in the order of the schema; objects with fields are taken apart.

    Args:
        schema: Of the object at `path`.
        values: Defaults below it; None where there are none.
        definitions: What `$ref` leads to.
        path: Of the object, with dots.
    """
    for name, found in schema["properties"].items():
        inner = {**definitions[found["$ref"].rpartition("/")[2]], **found} if "$ref" in found else found
        below = f"{path}.{name}" if path else name
        default = values.get(name) if isinstance(values, Mapping) else None
        # Amounts are of any name: what is in them is a default of the whole.
        if "properties" in inner and not below.endswith("resources"):
            yield from leaves(inner, default, definitions, below)
        else:
            yield below, inner, default


def page() -> str:
    """The page as Markdown: a section for each top-level object, the single values first."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    definitions = schema["$defs"]
    sections: dict[str, list[str]] = {"": []}
    for path, inner, default in leaves(schema, values, definitions):
        group = path.partition(".")[0] if "." in path else ""
        sections.setdefault(group, []).append(f"| `{path}` | {_shown(default)} | {_cell(inner['description'])} |")
    made = [_INTRO]
    for group, rows in sections.items():
        heading = [f"## {group}\n", f"{schema['properties'][group]['description']}\n"] if group else []
        made.append("\n".join([*heading, "| value | default | |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(made)


def _shown(default: Any) -> str:
    return "" if default is None or default == "" else f"`{json.dumps(default, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the files."""
    (CHART / "files" / "crd.yaml").write_text(crd.render(), encoding="utf-8")
    (CHART / "files" / "dashboard.json").write_text(dashboard.render(), encoding="utf-8")
    (ROOT / "docs" / "reference" / "values.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
