"""Names as fields of the spec: of stages and items, and of other objects in the job's namespace."""

from __future__ import annotations

from typing import Annotated, Final

from carryon_core.schema import Schema, rule, text

STAGE_NAME_LONGEST: Final = 20
_LONGEST: Final = 253

StageName = Annotated[
    str,
    text(
        STAGE_NAME_LONGEST,
        rule(
            "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "a stage's name must be lower-case letters, digits and dashes, begin with a letter and not end in a dash,"
            " such as image or upscale-2",
        ),
    ),
]
ItemId = Annotated[
    str,
    text(
        128,
        rule(
            # Control characters would break logs, tables and object keys; everything else is percent-encoded.
            r"!self.matches('[\\x00-\\x1f\\x7f]')",
            "an item's id must not contain control characters such as tabs or line breaks",
        ),
    ),
]


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
