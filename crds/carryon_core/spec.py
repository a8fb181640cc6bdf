"""`GenerationJob.spec`: what to make, where to put it, how hard to try.

A field stands here when it works, never before. Bounds and CEL rules become part of the CRD, so that `kubectl apply`
refuses bad input with a sentence that says what to change.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from carryon_core import durations, sizes, texts
from carryon_core.hosted import Http
from carryon_core.memory import Memory
from carryon_core.model_sources import HUB_ONLY, Models
from carryon_core.name_fields import ConfigMapName, ItemId, SecretName, StageName
from carryon_core.notifications import HOOKS_MOST, Notify
from carryon_core.pipelines import Diffusers
from carryon_core.schema import Model, PreservedObject, rule, rules, text
from carryon_core.texts import Text

JOB_NAME_LONGEST = 40

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
_TEMPERATURE = rule("self > 0.0", "temperature must be more than 0; for the most likely token write sample: false")


class Item(Model):
    """One thing to make: an id and the values its templates may use."""

    id: ItemId = Field(description="Names the item in templates, status and the bucket; unique in the job.")
    params: PreservedObject = Field(
        default_factory=dict, description="Values for templates, as {{ item.NAME }}; {file: uri} is a file."
    )


SOURCE_ROWS_MOST = 100_000


class ConfigMapKey(Model):
    """One key of a ConfigMap in the job's namespace."""

    name: ConfigMapName = Field(description="Name of the ConfigMap.")
    key: Annotated[
        str,
        text(253, rule("self.matches('^[-._a-zA-Z0-9]+$')", "must be a key of the ConfigMap, such as items.csv")),
    ] = Field(description="Key in it that holds the rows.")


class ItemsFrom(Model):
    """Items from data: one row an item, looked at again every minute."""

    uri: (
        Annotated[
            str,
            text(
                1024,
                rule(
                    "self.matches('^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+|file:///.+)$')",
                    "items.from.uri must be s3://bucket/key or file:///absolute/path",
                ),
                rule(
                    r"!self.matches('(?i)(/|%2f)([.]|%2e){2}(/|%2f|$)')",
                    "items.from.uri must not contain ..: write the path out",
                ),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="s3://bucket/key, or file:///absolute/path where the operator allows folders; read with the keys"
        " of spec.output.",
        json_schema_extra={"nullable": False},
    )
    config_map_key_ref: ConfigMapKey | None = Field(
        default=None,
        description="A key of a ConfigMap in the job's namespace, instead of a uri.",
        json_schema_extra={"nullable": False},
    )
    format: Literal["csv", "jsonl"] = Field(
        description="csv: a header line, then one item a row; jsonl: one JSON object a line."
    )
    id_column: Annotated[str, text(128)] = Field(
        default="id", description="Column, or key, that holds the item's id; the others become its params."
    )
    first: int | None = Field(
        default=None, ge=1, le=SOURCE_ROWS_MOST, description="Take only so many rows from the top; null takes all."
    )


class Items(Model):
    """What to make the stages' units of: exactly one of `list`, `count` and `from`."""

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
    from_: ItemsFrom | None = Field(
        default=None,
        alias="from",
        description="Items from a CSV or JSONL file in a bucket, or from a ConfigMap; at most 100,000 rows.",
        json_schema_extra=rules(
            rule(
                "has(self.uri) != has(self.configMapKeyRef)",
                "items.from takes exactly one of uri and configMapKeyRef: give one of them",
            ),
            nullable=False,
        ),
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


class Generate(Model):
    """What makes a unit: exactly one generator."""

    command: Command | None = Field(default=None, json_schema_extra={"nullable": False})
    diffusers: Diffusers | None = Field(default=None, json_schema_extra=rules(HUB_ONLY, nullable=False))
    text: Text | None = Field(default=None, json_schema_extra=rules(*texts.RULES, nullable=False))
    http: Http | None = Field(
        default=None,
        json_schema_extra=rules(
            rule(
                "has(self.secret) || !has(self.headers) || !self.headers.exists(h, h.value.contains('{secret}'))",
                "a header takes {secret}: give `secret` the name and key of a Secret",
            ),
            nullable=False,
        ),
    )


GENERATORS = tuple(Generate.model_fields)


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


class Success(Model):
    """When a stage counts as succeeded although units of it failed for good."""

    min_percent: int = Field(
        default=100, ge=0, le=100, description="Share of the stage's units, in percent, that must be done."
    )


class Stage(Model):
    """One step of the work: one unit for each item, or one for the whole job."""

    name: StageName = Field(description="Names the stage in `after`, templates, status and the bucket; never changes.")
    after: Annotated[list[StageName], Field(max_length=15, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(
            default_factory=list,
            description="Stages that inputs come from, item by item: a unit starts as soon as its own are done.",
        )
    )
    each: Literal["item", "job"] = Field(
        default="item",
        description="item: one unit for each item. job: one unit that gathers; it starts when every unit of the stages"
        " in `after` is done or failed for good and their success policies hold.",
    )
    success: Success = Field(default_factory=Success)
    approval: Literal["Required"] | None = Field(
        default=None,
        description="Required: units of this stage wait until spec.approved names their items.",
    )
    generate: Generate = Field(
        json_schema_extra=rules(
            rule(
                " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in GENERATORS) + " == 1",
                f"generate takes exactly one of {', '.join(GENERATORS[:-1])} and {GENERATORS[-1]}: give one of them",
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
    pod_template: PreservedObject | None = Field(
        default=None,
        description="Partial PodTemplateSpec of this stage, merged over the job's podTemplate; the same may be set.",
    )


class UnitOverride(Model):
    """Values for one unit, whatever its item comes from."""

    stage: StageName = Field(description="Stage of the unit.")
    item: ItemId = Field(description='Item of the unit; "job" where the stage gathers.')
    params: PreservedObject = Field(
        description="Replace the item's params of these names in this stage's templates; `seed`, a whole number, is"
        " the unit's seed."
    )


class Backoff(Model):
    """Delays between the attempts of one unit."""

    initial: DurationText = Field(default="10s", description="Delay before the second attempt.")
    factor: int = Field(default=2, ge=1, le=10, description="How much longer each delay is than the one before.")
    max_: DurationText = Field(default="10m", alias="max", description="Longest delay.")


class RoundOverride(Memory):
    """What pods get in a round, instead of what their stage says; nothing that is part of what a unit is."""

    resources: Resources | None = Field(
        default=None, description="Requests and limits, each name instead of the stage's of that name."
    )
    node_selector: Annotated[dict[str, Annotated[str, text(63, shortest=0)]], Field(max_length=32)] | None = Field(
        default=None, description="Labels that a node must have, instead of the stage's."
    )
    tolerations: (
        Annotated[list[Toleration], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})] | None
    ) = Field(default=None, description="Taints that pods may run on, instead of the stage's.")


class Retry(Model):
    """How often a unit that failed is tried again. Disruptions are free."""

    per_unit: int = Field(default=3, ge=1, le=100, description="Attempts a unit has: 3 means two retries.")
    rounds: int = Field(
        default=2,
        ge=0,
        le=20,
        description="Rounds over what is still missing once everything else is done; each gives one more attempt.",
    )
    one_at_a_time: bool = Field(default=True, description="In rounds, one pod at a time instead of parallelism.")
    round_overrides: Annotated[
        list[RoundOverride], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(
        default_factory=list,
        description="What pods get in the first round, the second and so on; the last one holds for all that follow.",
    )
    backoff: Backoff = Field(default_factory=Backoff)


class Timeouts(Model):
    """When a worker gives up on an attempt, and the operator on a job."""

    unit: LimitText | None = Field(
        default=None, description="Longest time of one attempt in one unit, without model load; null means no limit."
    )
    stall: LimitText | None = Field(
        default="5m",
        description="Longest time without movement (a step, bytes loaded, a heartbeat); null switches the watch off.",
    )
    job: LimitText | None = Field(
        default=None, description="Longest time of the whole job, without the time it was suspended; null: no limit."
    )


SizeText = Annotated[str, text(20, rule(f"self.matches('{sizes.PATTERN}')", "must be a size such as 500M or 2Gi"))]


class Checkpoint(Model):
    """How much of a half-made unit is kept, so that a killed worker's replacement goes on after it."""

    policy: Literal["Off", "Low", "Medium", "High"] = Field(
        default="Medium",
        description="Work that may be lost to a worker killed without a word: 60 s (Low), 15 s (Medium), 5 s (High)."
        " Off keeps nothing of a unit that is not done.",
    )
    every_seconds: int | None = Field(
        default=None, ge=1, le=86_400, description="An exact number of seconds instead of the policy's."
    )
    every_bytes: SizeText | None = Field(
        default=None,
        description="Size of what may wait to be written, whatever its age; null: 64Mi.",
    )
    max_bytes: SizeText | None = Field(
        default=None,
        description="Size that what is kept of one unit may have; what comes after is not kept. null: any size.",
    )


class Limits(Model):
    """What a job may use up before a person is asked."""

    resumes: int | None = Field(
        default=None, ge=0, le=1_000_000, description="Resume requests that are granted; null means no limit."
    )
    gpu_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**53 - 1,
        description="Seconds of pods times their GPUs (at least one) after which nothing runs; null means no limit.",
    )


class SecretRef(Model):
    """A Secret in the job's namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_SESSION_TOKEN."""

    name: SecretName = Field(description="Name of the Secret.")


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
    on_delete: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What becomes of everything below uri/namespace/job when the job is deleted."
    )
    keep_outdated: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Earlier versions of a unit whose artifacts stay when it is made anew after an edit.",
    )


def _time(text: str) -> str:
    """An RFC 3339 time with its zone, in upper case: the server takes either."""
    if datetime.fromisoformat(text.upper()).tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-12-01T06:00:00Z")
    return text.upper()


class JobSpec(Model):
    """What a GenerationJob asks for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.approved) || self.approved.all(name, self.stages.exists(s, s.name == name))",
                "approved names a stage that is not in this job: use the names under spec.stages",
                field=".approved",
            ),
            rule(
                "!has(self.overrides) || self.overrides.all(o, self.stages.exists(s, s.name == o.stage))",
                "an override names a stage that is not in this job: use the names under spec.stages",
                field=".overrides",
            ),
        )
    )

    suspend: bool = Field(default=False, description="true: stop the pods and free the GPUs; false: carry on.")
    suspend_until: (
        Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"}), AfterValidator(_time)] | None
    ) = Field(default=None, description="Suspended until this time too, such as 2026-12-01T06:00:00Z.")
    cancel: bool = Field(
        default=False,
        description="true: stop at once, without waiting for checkpoints; the job is Finished until it is false again.",
    )
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="Units draw their seeds from this, stage and item id.")
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Where the operator has caps of its own: jobs of a higher one launch first, those of one share.",
    )
    items: Items = Field(
        json_schema_extra=rules(
            rule(
                "[has(self.list), has(self.count), has(self.from)].filter(given, given).size() == 1",
                "items takes exactly one of list, count and from: give one of them",
            )
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
                rule(
                    "self.all(s, !has(s.each) || s.each != 'job' || (has(s.after) && s.after.size() > 0))",
                    "a stage with each: job gathers what the stages in its after made: name at least one there",
                ),
                rule(
                    "self.all(s, !has(s.generate.diffusers) || !has(s.generate.diffusers.extend)"
                    " || (has(s.after) && s.generate.diffusers.extend.from in s.after))",
                    "extend.from must name a stage in this stage's own after: add it there",
                ),
                rule(
                    "self.all(s, !has(s.generate.diffusers) || !has(s.generate.diffusers.extend)"
                    " || !has(s.each) || s.each != 'job')",
                    "extend goes on from one clip: a stage with each: job gathers many, so extend them in a stage"
                    " before it",
                ),
                rule(
                    "self.all(s, s.name != 'previous')",
                    "a stage must not be named previous, because inputs.previous is the item before: choose another",
                ),
                **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ),
    ] = Field(description="Steps of the work: each makes one unit of each item, or one of the whole job.")
    overrides: Annotated[
        list[UnitOverride],
        Field(
            max_length=1000,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stage", "item"]},
        ),
    ] = Field(default_factory=list, description="Values for single units, such as a new seed for one clip.")
    approved: Annotated[
        dict[
            str,
            Annotated[
                list[Annotated[str, text(128)]],
                # Not a set: the server would write every id down once more, in managedFields.
                Field(max_length=1000, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
            ],
        ],
        Field(max_length=16),
    ] = Field(
        default_factory=dict,
        description='Stage with approval -> ids of the items that may enter it; "*" means all.',
    )
    parallelism: int = Field(default=1, ge=0, le=10_000, description="Pods at work at the same time; 0 waits.")
    units_per_pod: int = Field(
        default=1, ge=1, le=200, description="Units one pod makes in a row, so that one model load serves several."
    )
    retry: Retry = Field(default_factory=Retry)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
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
    queue_name: (
        Annotated[
            str,
            text(
                63,
                rule(
                    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                    "must be the name of a Kueue LocalQueue: lower-case letters, digits and dashes",
                ),
            ),
        ]
        | None
    ) = Field(default=None, description="Kueue LocalQueue that every pod is queued in.")
    notify: Annotated[
        list[Notify],
        Field(
            max_length=HOOKS_MOST,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["url"]},
        ),
    ] = Field(
        default_factory=list, description="Webhooks that are told what becomes of the job; no part of what a unit is."
    )
    models: Models = Field(default_factory=Models)
    limits: Limits = Field(default_factory=Limits)
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Seconds after its end when the job is deleted; null keeps it."
    )
    pod_template: PreservedObject | None = Field(
        default=None,
        description=(
            "Partial PodTemplateSpec under the operator's own. metadata: labels, annotations. spec: nodeSelector,"
            " tolerations, affinity, topologySpreadConstraints, priorityClassName, schedulerName, runtimeClassName,"
            " serviceAccountName, imagePullSecrets, volumes (no hostPath), terminationGracePeriodSeconds, dnsPolicy,"
            " dnsConfig, hostAliases, and containers with only `worker`: env, envFrom, volumeMounts, resources."
            " What the operator sets itself, such as securityContext, restartPolicy and the image, is ignored with a"
            " warning; all else is refused."
        ),
    )


class GenerationJob(Model):
    """A whole resource, as far as validation goes."""

    api_version: str
    kind: str
    metadata: dict[str, Any]
    spec: JobSpec
    status: dict[str, Any] | None = None
