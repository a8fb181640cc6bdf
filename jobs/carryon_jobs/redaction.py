"""What of a job, its pods and its events may be passed on: the fields listed here, in the form listed here.

An allow-list, because what nobody thought of must not get out. What it leaves out of a job is at the same time what
must not stand in logs and messages either: `allowing.dropped` has these texts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from carryon_core import names
from carryon_core.spec import GENERATORS
from carryon_jobs.allowing import (
    CLASS,
    DIGEST,
    DURATION,
    HUB_ID,
    IMAGE,
    NAME,
    RANGES,
    SIZE,
    TEXT,
    TIME,
    UID,
    UNITS,
    VERSION,
    WORD,
    Each,
    Fields,
    Shape,
    count,
    flag,
    form,
    given,
    number,
    quantity,
    scheme,
)

_RESOURCE: Final = re.compile(r"[a-z0-9./-]{1,64}")
_RESOURCES: Final = Fields({each: Each(quantity, _RESOURCE) for each in ("requests", "limits")})
_POD_TEMPLATE: Final = Fields(
    {"spec": Fields({"containers": Each(Fields({"name": NAME, "resources": _RESOURCES})), "restartPolicy": WORD})}
)
_MEMORY: Final[Mapping[str, Shape]] = {
    "offload": WORD,
    "groupOffload": Fields({"level": WORD, "blocksPerGroup": number, "streams": flag}),
    "tiling": flag,
    "slicing": flag,
    "layerwiseCasting": CLASS,
    "compile": WORD,
    "conv3dFloat32": WORD,
}
_OUTPUT: Final = Fields({"fps": number, "codec": CLASS, "crf": number, "image": WORD, "audio": WORD, "previews": flag})
GENERATE: Final = Fields(
    {
        **dict.fromkeys(GENERATORS, given),
        "diffusers": Fields(
            {
                "model": HUB_ID,
                "pipeline": CLASS,
                "dtype": CLASS,
                "scheduler": Fields({"class": CLASS}),
                "adapters": count,
                "memory": Fields(_MEMORY),
                "output": _OUTPUT,
                "extend": Fields({"from": NAME}),
            }
        ),
        "text": Fields({"model": HUB_ID, "dtype": CLASS, "sample": flag, "maxNewTokens": number, "chat": flag}),
    }
)
_STAGE: Final = Fields(
    {
        "name": NAME,
        "after": Each(NAME),
        "each": WORD,
        "success": Fields({"minPercent": number}),
        "approval": WORD,
        "generate": GENERATE,
        "image": IMAGE,
        "resources": _RESOURCES,
        "podTemplate": _POD_TEMPLATE,
    }
)
_SPEC: Final = Fields(
    {
        "suspend": flag,
        "suspendUntil": TIME,
        "cancel": flag,
        "seed": number,
        "priority": number,
        "items": Fields(
            {"list": count, "count": number, "from": Fields({"format": WORD, "uri": scheme, "first": number})}
        ),
        "stages": Each(_STAGE),
        "overrides": Each(Fields({"stage": NAME})),
        "models": given,
        "approved": Each(count, re.compile(r"[a-z0-9-]{1,20}")),
        "parallelism": number,
        "unitsPerPod": number,
        "retry": Fields(
            {
                "perUnit": number,
                "rounds": number,
                "oneAtATime": flag,
                "roundOverrides": Each(Fields({**_MEMORY, "resources": _RESOURCES})),
                "backoff": Fields({"initial": DURATION, "factor": number, "max": DURATION}),
            }
        ),
        "timeouts": Fields({"unit": DURATION, "stall": DURATION, "job": DURATION}),
        "checkpoint": Fields({"policy": WORD, "everySeconds": number, "everyBytes": SIZE, "maxBytes": SIZE}),
        "output": Fields(
            {"uri": scheme, "endpoint": scheme, "onDelete": WORD, "keepOutdated": number, "credentialsSecret": given}
        ),
        "queueName": given,
        "notify": count,
        "limits": Fields({"resumes": number, "gpuSeconds": number}),
        "ttlSecondsAfterFinished": number,
        "podTemplate": _POD_TEMPLATE,
    }
)
_CONDITION: Final = Fields(
    {
        "type": WORD,
        "status": WORD,
        "reason": WORD,
        "message": TEXT,
        "lastTransitionTime": TIME,
        "observedGeneration": number,
    }
)
_COUNTS: Final = Each(number, re.compile(r"[a-zA-Z]{1,32}"))
_ATTEMPTS: Final = Each(RANGES, re.compile(r"[0-9]{1,4}"))
_STATUS: Final = Fields(
    {
        "observedGeneration": number,
        "phase": WORD,
        "progress": form(r"[0-9]+/[0-9]+"),
        "message": TEXT,
        "units": Fields(
            {**dict.fromkeys(("total", "succeeded", "failed", "active", "remaining"), number), "outcomes": _COUNTS}
        ),
        "items": Fields({"count": number, "digest": DIGEST}),
        "stages": Each(
            Fields(
                {
                    "name": NAME,
                    "total": number,
                    **dict.fromkeys(("succeeded", "failed", "skipped", "permanent"), RANGES),
                    "failures": _ATTEMPTS,
                    "fruitless": _ATTEMPTS,
                    "images": Each(RANGES, re.compile(r"(sha256:)?[0-9a-f]{0,64}")),
                    "active": Each(
                        Fields({"pod": NAME, "uid": UID, "units": RANGES, "attempt": number, "since": TIME})
                    ),
                    "started": TIME,
                    "finished": TIME,
                }
            )
        ),
        "counters": _COUNTS,
        "recorded": count,
        "recentFailures": Each(
            Fields({"stage": NAME, "reason": WORD, "message": TEXT, "attempt": number, "time": TIME})
        ),
        "resume": Fields({"possible": flag, "reason": TEXT, "action": TEXT}),
        "gpuSeconds": _COUNTS,
        "time": Fields(
            {**dict.fromkeys(("started", "lastActivity", "finished", "activeSince"), TIME), "activeSeconds": number}
        ),
        "handled": Fields({"resume": TIME, "restart": TIME, "retry": UNITS}),
        "resolved": Fields({"output": scheme}),
        "notifications": Each(
            Fields(
                {
                    **dict.fromkeys(("hook", "attempts"), number),
                    **dict.fromkeys(("condition", "reason", "phase", "state"), WORD),
                    **dict.fromkeys(("time", "attempted", "next"), TIME),
                    "result": TEXT,
                }
            )
        ),
        "conditions": Each(_CONDITION),
    }
)
ANNOTATIONS: Final = Fields(
    {
        names.ANNOTATION_RESUME: TIME,
        names.ANNOTATION_RESTART: TIME,
        names.ANNOTATION_RETRY: UNITS,
        names.ANNOTATION_CONFIRM_ITEMS: DIGEST,
        names.ANNOTATION_ATTEMPT: RANGES,
        names.ANNOTATION_TEMPLATE: DIGEST,
        names.ANNOTATION_PINNED: WORD,
    }
)
LABELS: Final = Fields(
    {names.LABEL_JOB: NAME, names.LABEL_JOB_UID: UID, names.LABEL_STAGE: NAME, names.MANAGED_BY: NAME}
)
_METADATA: Final = Fields(
    {
        "name": NAME,
        "namespace": NAME,
        "uid": UID,
        "generation": number,
        "resourceVersion": RANGES,
        "creationTimestamp": TIME,
        "deletionTimestamp": TIME,
        "deletionGracePeriodSeconds": number,
        "annotations": ANNOTATIONS,
        "labels": LABELS,
    }
)
_NAMED: Final[Mapping[str, Shape]] = {"apiVersion": form(r"[a-z0-9./]{1,64}"), "kind": WORD, "metadata": _METADATA}
JOB: Final = Fields({**_NAMED, "spec": _SPEC, "status": _STATUS})

_REPORT: Final = Fields(
    {
        "index": number,
        "outcome": WORD,
        "reason": WORD,
        "message": TEXT,
        "permanent": flag,
        "durable": flag,
        **dict.fromkeys(("lost", "saved", "waited"), number),
        "refused": TEXT,
        "misfit": WORD,
        "ended": TEXT,
    }
)
TERMINATION: Final = Fields({"reason": WORD, "message": TEXT, "units": Each(_REPORT)})
"""A worker's last words."""
_ENDED: Final = {"exitCode": number, "signal": number, "reason": WORD, "startedAt": TIME, "finishedAt": TIME}
_STATES: Final = Fields(
    {
        "waiting": Fields({"reason": WORD, "message": TEXT}),
        "running": Fields({"startedAt": TIME}),
        "terminated": Fields({**_ENDED, "message": TEXT}),
    }
)
_CONTAINERS: Final = Each(
    Fields(
        {
            "name": NAME,
            "ready": flag,
            "started": flag,
            "restartCount": number,
            "image": IMAGE,
            "imageID": IMAGE,
            "state": _STATES,
            "lastState": _STATES,
        }
    )
)
POD: Final = Fields(
    {
        "metadata": _METADATA,
        "spec": Fields(
            {
                "nodeName": NAME,
                "restartPolicy": WORD,
                "terminationGracePeriodSeconds": number,
                "priority": number,
                "containers": Each(Fields({"name": NAME, "image": IMAGE, "resources": _RESOURCES})),
            }
        ),
        "status": Fields(
            {
                "phase": WORD,
                "reason": WORD,
                "message": TEXT,
                "startTime": TIME,
                "conditions": Each(
                    Fields({"type": WORD, "status": WORD, "reason": WORD, "message": TEXT, "lastTransitionTime": TIME})
                ),
                "containerStatuses": _CONTAINERS,
                "initContainerStatuses": _CONTAINERS,
            }
        ),
    }
)
EVENT: Final = Fields(
    {
        "type": WORD,
        "reason": WORD,
        "message": TEXT,
        "count": number,
        "firstTimestamp": TIME,
        "lastTimestamp": TIME,
        "eventTime": TIME,
        "involvedObject": Fields({"kind": WORD, "name": NAME, "uid": UID}),
        "reportingComponent": NAME,
    }
)
OPERATOR: Final = Fields(
    {
        "kind": WORD,
        "metadata": Fields({"name": NAME, "namespace": NAME, "generation": number, "creationTimestamp": TIME}),
        "status": Fields(
            {
                **dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "observedGeneration"), number),
                "conditions": Each(_CONDITION),
                "storedVersions": Each(WORD),
            }
        ),
    }
)
"""What the operator is: its Deployment, and the CRD."""
VERSIONS: Final = Each(VERSION, re.compile(r"[A-Za-z0-9 ._-]{1,64}"))
