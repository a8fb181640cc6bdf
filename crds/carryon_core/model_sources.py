"""Where models come from besides their name: revisions, adapters, a hub's token, the cache that pods share."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from carryon_core import sizes
from carryon_core.name_fields import ClaimName, SecretName, TokenKey
from carryon_core.schema import Model, rule, rules, text

ADAPTERS_MOST = 8

NO_SPACES = rule(r"!self.matches('^\\s|\\s$')", "model must not begin or end in spaces")
HUB_ONLY = rule(
    "!has(self.revision) || !self.model.matches('^([a-z0-9]+:|/|[.]|~)')",
    "revision is a commit, tag or branch on a hub: leave it out where model is a folder or a bucket",
)

REVISION = (
    "Commit, tag or branch on the hub; what a tag or branch (main, without one) names when the job first asks holds for"
    " all its units."
)
Revision = Annotated[
    str,
    text(
        128,
        rule(
            "self.matches('^[A-Za-z0-9_][A-Za-z0-9_./-]*$') && !self.contains('..')",
            "revision must be a commit, tag or branch on a hub, such as v1.2 or the 40 digits of a commit",
        ),
    ),
]


class Adapter(Model):
    """A LoRA adapter: safetensors, loaded on top of the pipeline's weights."""

    model_config = ConfigDict(json_schema_extra=rules(HUB_ONLY))

    model: Annotated[str, text(1024, NO_SPACES)] = Field(
        description="Folder or .safetensors file, as path, file:// or s3:// uri, or an id on a model hub."
    )
    weight_name: (
        Annotated[
            str,
            text(
                255,
                rule(
                    "self.matches('^[^/].*[.]safetensors$') && !self.contains('..')",
                    "weightName must be the path of a .safetensors file below model: nothing is unpickled",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="File in it, where there are several.")
    revision: Revision | None = Field(default=None, description="Commit, tag or branch on the hub.")
    name: (
        Annotated[
            str,
            text(
                64,
                rule(
                    "self.matches('^[A-Za-z][A-Za-z0-9_-]*$')",
                    "an adapter's name must be letters, digits, dashes and underscores, and begin with a letter",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="Names it in logs, done.json and the worker fingerprint; unique in the list.")
    scale: float = Field(default=1.0, ge=-100, le=100, description="How much it counts; 0 loads it without effect.")


class TokenSecret(Model):
    """A Secret in the job's namespace that holds a hub's token."""

    name: SecretName = Field(description="Name of the Secret.")
    key: TokenKey = Field(default="token", description="Key in it.")


class ModelCache(Model):
    """Where downloaded models are kept: without a claim in the pod's scratch folder, standalone on the machine."""

    claim_name: ClaimName | None = Field(
        default=None, description="PersistentVolumeClaim that pods share, so that a model is downloaded once."
    )
    max_bytes: (
        Annotated[str, text(20, rule(f"self.matches('{sizes.PATTERN}')", "must be a size such as 500M or 2Gi"))] | None
    ) = Field(
        default=None,
        description="Size from which the models that were used longest ago go; null: only when the volume is full.",
    )


class Models(Model):
    """How models are had; not part of any unit's fingerprint."""

    token_secret: TokenSecret | None = Field(
        default=None, description="Token for private and gated models of a hub; only the pods that load models get it."
    )
    cache: ModelCache = Field(default_factory=ModelCache)
