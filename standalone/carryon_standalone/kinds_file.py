"""Makes `apiserver/kinds.json`: Kubernetes' own OpenAPI definitions of the kinds that the API server serves.

They come from the package kubernetes-validate (a development dependency), which ships what Kubernetes publishes.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

VERSION: Final = "v1.36.0"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_ROOTS: Final = (
    *(
        f"io.k8s.api.core.v1.{kind}"
        for kind in ("Binding", "ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret", "Service", "ServiceAccount")
    ),
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    *(
        f"io.k8s.api.authorization.v1.{kind}"
        for kind in (
            "LocalSubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "SubjectAccessReview",
        )
    ),
    *(f"io.k8s.api.authentication.v1.{kind}" for kind in ("SelfSubjectReview", "TokenReview")),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    *(f"{_META}.{kind}" for kind in ("DeleteOptions", "ListMeta", "Patch", "Status")),
)
_REFERENCE: Final = re.compile(r'"\$ref": "[^"]*/([^"/]+)"')


def build(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions of our kinds and all they refer to, as OpenAPI v3 has them."""
    found: dict[str, Any] = {}
    wanted = list(_ROOTS)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _converted(definitions[name])
            wanted += _REFERENCE.findall(json.dumps(definitions[name]))
    return {name: found[name] for name in sorted(found)}


def _converted(schema: Any) -> Any:
    """JSON Schema writes what may be absent as a type or null; OpenAPI does not."""
    if isinstance(schema, list):
        return [_converted(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _converted(inner) for name, inner in schema.items()}
    if isinstance(made.get("type"), list):
        made["type"] = next(each for each in made["type"] if each != "null")
    if isinstance(made.get("$ref"), str):
        made["$ref"] = f"#/components/schemas/{made['$ref'].rpartition('/')[2]}"
        if len(made) > 1:
            made["allOf"] = [{"$ref": made.pop("$ref")}]
    for name in ("apiVersion", "kind"):
        # Narrowed by the package to what the file is about.
        if isinstance(made.get("properties"), dict) and name in made["properties"]:
            made["properties"][name].pop("enum", None)
    return made


def main() -> None:
    """Write the file, one definition a line."""
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"{VERSION}-local"
    source = json.loads((folder / "_definitions.json").read_text())["$defs"]
    lines = [f"{json.dumps(name)}: {json.dumps(inner)}" for name, inner in build(source).items()]
    (Path(__file__).parent / "apiserver" / "kinds.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
