"""Names of other objects in the job's namespace, as fields of the spec."""

from __future__ import annotations

from typing import Annotated, Final

from carryon_core.schema import Schema, rule, text

_LONGEST: Final = 253


def of_a(kind: str) -> Schema:
    """What the name of an object of this kind must be."""
    return rule(
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        f"must be the name of a {kind}: lower-case letters, digits, dashes and dots",
    )


ConfigMapName = Annotated[str, text(_LONGEST, of_a("ConfigMap"))]
SecretName = Annotated[str, text(_LONGEST, of_a("Secret"))]
ClaimName = Annotated[str, text(_LONGEST, of_a("PersistentVolumeClaim"))]
TokenKey = Annotated[
    str, text(_LONGEST, rule("self.matches('^[-._a-zA-Z0-9]+$')", "must be a key of the Secret, such as token"))
]
"""Key of a Secret that holds a service's or a hub's token."""
