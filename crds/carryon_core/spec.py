"""`GenerationJob.spec`: what to make, where to put it, how hard to try.

A field stands here when it works, never before. Bounds and CEL rules become part of the CRD, so that `kubectl apply`
refuses bad input with a sentence that says what to change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from carryon_core import durations
from carryon_core.schema import Model, PreservedObject, rule, rules, text

JOB_NAME_LONGEST = 40
STAGE_NAME_LONGEST = 20

DURATION_RULE = rule(
    rf"self.matches('{durations.PATTERN}')",
    "must be a duration such as 30s, 5m or 1h30m",
)
DurationText = Annotated[str, text(30, DURATION_RULE)]
LimitText = Annotated[
    str,
    text(
        30,
        DURATION_RULE,
        rule("!self.matches('^(0+[a-z]+)+$')", "must be longer than zero; null means no limit"),
    ),
]
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


class Item(Model):
    """One thing to make: an id and the values its templates may use."""

    id: ItemId = Field(description="Names the item in templates, status and the bucket; unique in the job.")
    params: PreservedObject = Field(default_factory=dict, description="Values for templates, as {{ item.NAME }}.")


class Items(Model):
    """What to make the stages' units of: exactly one of `list` and `count`."""

    list_: Annotated[list[Item], Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        alias="list",
        description="Items one by one, at most 1,000; ids are unique.",
        json_schema_extra={"nullable": False, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description='Number of items without parameters; their ids are "0", "1", ...',
        json_schema_extra={"nullable": False},
    )


class EnvVar(Model):
    """One variable of a program's environment."""

    name: Annotated[
        str,
        text(
            128,
            rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "a variable's name must be letters, digits and underscores, not beginning with a digit",
            ),
            rule(
                "!self.startsWith('CARRYON_')", "names that begin with CARRYON_ are set by the worker: choose another"
            ),
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, text(8192, shortest=0)] = Field(default="", description="Its value; may be a template.")


class Command(Model):
    """Any program: it reads its inputs from a folder and leaves its artifacts in another."""

    args: Annotated[
        list[Annotated[str, text(8192, shortest=0)]],
        Field(min_length=1, max_length=256, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(description="Program and arguments; each may be a template.")
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list, description="Environment of the program; values may be templates.")


class DiffusersOutput(Model):
    """How results are written."""

    fps: int = Field(default=8, ge=1, le=240, description="Frames per second of clips.")


class Diffusers(Model):
    """A diffusers pipeline: loaded by `DiffusionPipeline.from_pretrained`, called once a unit."""

    model: Annotated[
        str,
        text(1024, rule(r"!self.matches('^\\s|\\s$')", "model must not begin or end in spaces")),
    ] = Field(description="Folder, file:// or s3:// uri of a saved pipeline, or an id on a model hub.")
    pipeline: (
        Annotated[
            str,
            text(
                128,
                rule(
                    "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                    "pipeline must be the name of a diffusers class, such as WanPipeline",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="Pipeline class, where it is not the one the model names.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(default="bfloat16", description="Type of the weights.")
    params: PreservedObject = Field(
        default_factory=dict, description="Arguments of the pipeline's call; values may be templates."
    )
    output: DiffusersOutput = Field(default_factory=DiffusersOutput)


class Generate(Model):
    """What makes a unit: exactly one generator."""

    command: Command | None = Field(default=None, json_schema_extra={"nullable": False})
    diffusers: Diffusers | None = Field(default=None, json_schema_extra={"nullable": False})


class Toleration(Model):
    """A taint that pods of this stage may run on, as in a pod."""

    key: Annotated[str, text(317, shortest=0)] | None = Field(
        default=None, description="Key of the taint; with operator Exists, none means every taint."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists: any value of the key; Equal, as without one: this value."
    )
    value: Annotated[str, text(63, shortest=0)] | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; none means every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How long pods stay after a NoExecute taint; none means for ever."
    )


Quantity = Annotated[
    str | int,
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
Quantities = Annotated[dict[str, Quantity], Field(max_length=32)]


class Resources(Model):
    """Requests and limits of the worker's container, as in a pod."""

    requests: Quantities | None = Field(default=None, description="What the node must have free.")
    limits: Quantities | None = Field(default=None, description="What the worker may use at most, GPUs among it.")


class Stage(Model):
    """One step of the work: one unit for each item."""

    name: StageName = Field(description="Names the stage in `after`, templates, status and the bucket; never changes.")
    after: Annotated[list[StageName], Field(max_length=15, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(
            default_factory=list,
            description="Stages that inputs come from, item by item: a unit starts as soon as its own are done.",
        )
    )
    generate: Generate = Field(
        json_schema_extra=rules(
            rule(
                "has(self.command) != has(self.diffusers)",
                "generate takes exactly one of command and diffusers: give one of them",
            )
        ),
    )
    revision: Annotated[str, text(128)] | None = Field(
        default=None, description="Any text: another one makes the stage's units anew."
    )
    image: Annotated[str, text(512)] | None = Field(
        default=None, description="Worker image of this stage, instead of the operator's."
    )
    resources: Resources | None = Field(
        default=None, description="Requests and limits of the worker's container, instead of the operator's default."
    )
    node_selector: Annotated[dict[str, Annotated[str, text(63, shortest=0)]], Field(max_length=32)] | None = Field(
        default=None, description="Labels that a node must have to run this stage's pods."
    )
    tolerations: (
        Annotated[list[Toleration], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})] | None
    ) = Field(default=None, description="Taints that this stage's pods may run on, instead of podTemplate's.")


class Backoff(Model):
    """Delays between the attempts of one unit."""

    initial: DurationText = Field(default="10s", description="Delay before the second attempt.")
    factor: int = Field(default=2, ge=1, le=10, description="How much longer each delay is than the one before.")
    max_: DurationText = Field(default="10m", alias="max", description="Longest delay.")


class Retry(Model):
    """How often a unit that failed is tried again. Disruptions are free."""

    per_unit: int = Field(default=3, ge=1, le=100, description="Attempts a unit has: 3 means two retries.")
    backoff: Backoff = Field(default_factory=Backoff)


class Timeouts(Model):
    """When a worker gives up on an attempt."""

    unit: LimitText | None = Field(
        default=None, description="Longest time of one attempt in one unit, without model load; null means no limit."
    )
    stall: LimitText | None = Field(
        default="5m",
        description="Longest time without movement (a step, bytes loaded, a heartbeat); null switches the watch off.",
    )


class SecretRef(Model):
    """A Secret in the job's namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_SESSION_TOKEN."""

    name: Annotated[
        str,
        text(
            253,
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
                "must be the name of a Secret: lower-case letters, digits, dashes and dots",
            ),
        ),
    ] = Field(description="Name of the Secret.")


class Output(Model):
    """Where artifacts go: below uri/namespace/job."""

    uri: Annotated[
        str,
        text(
            1024,
            rule(
                "self.matches('^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|file:///.*)$')",
                "output.uri must be s3://bucket/prefix or file:///absolute/path",
            ),
            # Percent-encoded too, because folders are decoded before they are opened.
            rule(
                r"!self.matches('(?i)(/|%2f)([.]|%2e){2}(/|%2f|$)')",
                "output.uri must not contain ..: write the path out",
            ),
        ),
    ] = Field(description="s3://bucket/prefix, or file:///absolute/path where the operator allows folders.")
    endpoint: (
        Annotated[
            str,
            text(
                512,
                rule(
                    "self.matches('^https?://[^/@?#]+/?$')",
                    "output.endpoint must be the http:// or https:// address of an S3 service, without a path",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="Address of the S3 service, where it is not AWS: https://minio.example:9000.")
    region: (
        Annotated[
            str,
            text(
                64, rule("self.matches('^[a-z0-9-]+$')", "output.region must be a region's name, such as eu-central-1")
            ),
        ]
        | None
    ) = Field(default=None, description="Region of the bucket, where the service has regions.")
    credentials_secret: SecretRef | None = Field(
        default=None,
        description=(
            "Secret in the job's namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps"
            " AWS_SESSION_TOKEN; without it only what lies below the operator's default store may be named."
        ),
    )


class JobSpec(Model):
    """What a GenerationJob asks for."""

    suspend: bool = Field(default=False, description="true: stop the pods and free the GPUs; false: carry on.")
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="Units draw their seeds from this, stage and item id.")
    items: Items = Field(
        json_schema_extra=rules(
            rule("has(self.list) != has(self.count)", "items takes exactly one of list and count: give one of them")
        ),
    )
    stages: Annotated[
        list[Stage],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=rules(
                rule(
                    "self.all(s, !has(s.after) || s.after.all(a, self.exists(t, t.name == a)))",
                    "after names a stage that is not in this job: use the names under spec.stages",
                ),
                rule(
                    "self.all(s, !has(s.after) || s.after.all(a, a != s.name))",
                    "a stage must not name itself in after: take its name out",
                ),
                **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ),
    ] = Field(description="Steps of the work: each makes one unit of each item.")
    parallelism: int = Field(default=1, ge=0, le=10_000, description="Pods at work at the same time; 0 waits.")
    units_per_pod: int = Field(
        default=1, ge=1, le=200, description="Units one pod makes in a row, so that one model load serves several."
    )
    retry: Retry = Field(default_factory=Retry)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    output: Output | None = Field(
        default=None,
        description="Where artifacts go; may be left out where the operator has a default store.",
        json_schema_extra=rules(
            rule(
                "!self.uri.startsWith('file:') || (!has(self.endpoint) && !has(self.credentialsSecret))",
                "endpoint and credentialsSecret belong to s3:// outputs: leave them out with file://",
            )
        ),
    )
    pod_template: PreservedObject | None = Field(
        default=None,
        description=(
            "Partial PodTemplateSpec under the operator's own. metadata: labels, annotations. spec: nodeSelector,"
            " tolerations, affinity, topologySpreadConstraints, priorityClassName, schedulerName, runtimeClassName,"
            " serviceAccountName, imagePullSecrets, volumes (no hostPath), terminationGracePeriodSeconds, dnsPolicy,"
            " dnsConfig, hostAliases, and containers with only `worker`: env, envFrom, volumeMounts, resources."
        ),
    )


class GenerationJob(Model):
    """A whole resource, as far as validation goes."""

    api_version: str
    kind: str
    metadata: dict[str, Any]
    spec: JobSpec
    status: dict[str, Any] | None = None
