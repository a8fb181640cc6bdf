"""docs/reference/spec.md, made from the schema of the CRD: what an API server checks is what people read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carryon_core import crd, names
from carryon_core.schema import Schema

_INTRO: Final = f"""\
# Fields of a {names.KIND}

<!-- Made from carryon_core by `make generate`; change the types, not this file. -->

`kubectl explain gj.spec --recursive` shows the same on a running cluster. A field that is left out has its default.
A list below a table says what an API server checks besides types and bounds, in the words of its errors.
"""


def render() -> str:
    """The reference as Markdown: a section for each object, with a table of its fields and the rules they keep."""
    root = crd.build(defaults_in_lists=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules = _rules("metadata", root)
    return "\n".join([_INTRO, "\n".join(rules) + "\n", *_sections("spec", root["properties"]["spec"])])


def _sections(path: str, schema: Schema) -> Iterator[str]:
    """The section of an object, then those of the objects in it, depth first."""
    required = schema.get("required", ())
    fields: dict[str, Schema] = schema["properties"]
    rows = [
        "| field | type | default | bounds | |",
        "|---|---|---|---|---|",
        *(_row(path, name, field, required=name in required) for name, field in fields.items()),
    ]
    rules = _rules(path.rpartition(".")[2], schema)
    for name, field in fields.items():
        rules += [
            line for part in (field, field.get("items", {})) if "properties" not in part for line in _rules(name, part)
        ]
    parts = [f"## {path}", schema.get("description", ""), "\n".join(rows), "\n".join(rules)]
    yield "\n\n".join(filter(None, parts)) + "\n"
    for name, field in fields.items():
        inner = field.get("items", field)
        if "properties" in inner:
            yield from _sections(f"{path}.{name}", inner)


def _rules(name: str, schema: Schema) -> list[str]:
    return [f"- `{name}`: {rule['message']}" for rule in schema.get("x-kubernetes-validations", ())]


def _row(path: str, name: str, schema: Schema, *, required: bool) -> str:
    default = "required" if required else f"`{_literal(schema['default'])}`" if "default" in schema else ""
    meaning = schema.get("description") or schema.get("items", {}).get("description", "")
    cells = (f"`{name}`", _type(f"{path}.{name}", schema), default, _bounds(schema), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(path: str, schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in schema:
        return " or ".join(f"`{_literal(value)}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(path, schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of text to {_type(path, schema['additionalProperties'])}"
    if "properties" in schema:
        return f"[object]({_anchor(path)})"
    kind: str = schema["type"]
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)


def _bounds(schema: Schema) -> str:
    """Sizes and ranges in words, the elements' own after those of the list or map."""
    said = [
        _range(schema, "minimum", "maximum", ""),
        _range(schema, "minLength", "maxLength", " characters"),
        _range(schema, "minItems", "maxItems", " elements"),
        _range(schema, "minProperties", "maxProperties", " keys"),
    ]
    inner = schema.get("items") or schema.get("additionalProperties") or {}
    each = _range(inner, "minLength", "maxLength", " characters each")
    return ", ".join(filter(None, (*said, each)))


def _range(schema: Schema, low: str, high: str, unit: str) -> str:
    if high not in schema:
        return f"at least {schema[low]:,}{unit}" if low in schema else ""
    if not schema.get(low) and (unit or low not in schema):
        return f"at most {schema[high]:,}{unit}"
    return f"{schema[low]:,} to {schema[high]:,}{unit}"


def _anchor(path: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return "#" + path.lower().replace(".", "")


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def main() -> None:
    """Write the reference."""
    path = Path(__file__).resolve().parents[2] / "docs" / "reference" / "spec.md"
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
