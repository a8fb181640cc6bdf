"""The reference of the fields says what the CRD says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carryon_core import crd, reference

ROOT = Path(__file__).parents[2]
SPEC = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
TEXT = reference.render()


def objects(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object whose fields are known, with its path."""
    yield path, schema
    for name, field in schema["properties"].items():
        inner = field.get("items", field)
        if "properties" in inner:
            yield from objects(f"{path}.{name}", inner)


def rules(schema: Any) -> Iterator[str]:
    """Messages of all rules in a schema."""
    if isinstance(schema, dict):
        yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
        for inner in schema.values():
            yield from rules(inner)


def section(path: str) -> str:
    """Text of one object's section."""
    return TEXT.split(f"\n## {path}\n")[1].split("\n## ")[0]


def test_the_written_reference_is_what_the_types_say() -> None:
    assert (ROOT / "docs/reference/spec.md").read_text(encoding="utf-8") == TEXT


def test_every_field_has_a_row_in_the_section_of_its_object() -> None:
    for path, schema in objects("spec", SPEC):
        rows = [line.split("|")[1].strip() for line in section(path).splitlines() if line.startswith("| `")]
        assert rows == [f"`{name}`" for name in schema["properties"]], path


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{path}.{name}"
        for path, schema in objects("spec", SPEC)
        for name, field in schema["properties"].items()
        if not field.get("description") and not field.get("items", {}).get("description")
    ]
    assert silent == []


def test_what_a_rule_says_is_said() -> None:
    messages = list(rules(SPEC))
    assert messages
    assert [message for message in messages if f": {message}\n" not in TEXT] == []


def test_a_row_tells_type_default_bounds_and_meaning() -> None:
    assert "| `parallelism` | integer | `1` | 0 to 10,000 | Pods at work at the same time; 0 waits. |" in section(
        "spec"
    )
    assert "| `suspend` | true or false | `false` |" in section("spec")
    assert "| `stages` | list of [object](#specstages) | required | 1 to 16 elements |" in section("spec")
    assert "| `dtype` | `float32` or `float16` or `bfloat16` | `bfloat16` |" in section(
        "spec.stages.generate.diffusers"
    )
    assert '| `value` | text | `""` | at most 8,192 characters |' in section("spec.stages.generate.command.env")
    assert "| `limits` | map of text to quantity |  | at most 32 keys |" in section("spec.stages.resources")


def test_every_link_inside_it_leads_to_a_section() -> None:
    headings = {line[3:].lower().replace(".", "") for line in TEXT.splitlines() if line.startswith("## ")}
    links = {part.split(")")[0] for part in TEXT.split("](#")[1:]}
    assert links
    assert links <= headings
