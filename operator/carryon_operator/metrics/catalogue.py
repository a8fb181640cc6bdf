"""Every series of the operator: its name, what it counts, which question it answers, and all values of its labels.

Labels are closed: names of jobs, units, namespaces or people would be without number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from carryon_core.done import Misfit, Outcome
from carryon_core.phases import Phase
from carryon_core.status import Counters
from carryon_operator.plan.model import DeliveryEnd
from carryon_operator.refusals import REASONS
from carryon_store.observing import OPERATIONS, OUTCOMES

OTHER: Final = "other"
"""Stands for whatever is not among the values of a label."""
FAILED: Final = "failed"
_NEW: Final = "New"


@dataclass(frozen=True, eq=False)
class Series:
    """One metric.

    Attributes:
        name: As it is scraped; of a histogram without `_bucket`, `_sum` and `_count`.
        about: What it counts, in its unit.
        answers: The question it is there for.
        labels: Name of each label -> its values.
        buckets: Upper bounds, of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    answers: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


_QUICK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
VERBS: Final = ("get", "list", "watch", "create", "update", "patch", "delete", OTHER)
RESOURCES: Final = (
    "generationjobs",
    "generationjobs/status",
    "pods",
    "pods/log",
    "events",
    "secrets",
    "configmaps",
    "namespaces",
    "leases",
    OTHER,
)
CODES: Final = (
    *("200", "201", "202", "400", "401", "403", "404", "405", "409", "410", "413", "415", "422", "429"),
    *("500", "502", "503", "504", "none", OTHER),
)
FOLLOWED: Final = ("generationjobs", "pods")
CAUSES: Final = tuple(name for name in Counters.model_fields if name != "round")
FINISHES: Final = (*map(str, Outcome), FAILED)

LEADER: Final = Series(
    "carryon_leader", "gauge", "1 while this replica leads, else 0.", "Is there exactly one leader, and who is it?"
)
BUILD: Final = Series(
    "carryon_build_info",
    "gauge",
    "1; the labels `version` and `python` say what runs.",
    "Which version runs, and since when?",
)

RECONCILES: Final = Series(
    "carryon_reconciles_total",
    "counter",
    "Looks at jobs, by how they ended: `done`; `conflict`: somebody wrote in between; `api`: the API server refused or"
    " did not answer; `bucket`: likewise; `error`: a mistake of ours, with a traceback in the log.",
    "Does reconciling work, and what makes it fail?",
    {"outcome": ("done", "conflict", "api", "bucket", "error")},
)
RECONCILE_SECONDS: Final = Series(
    "carryon_reconcile_duration_seconds",
    "histogram",
    "Seconds that looks at jobs took, with all they waited for.",
    "How long does it take until a change has its effect?",
    buckets=_LONG,
)
QUEUE_DEPTH: Final = Series(
    "carryon_queue_depth", "gauge", "Jobs that wait for a worker.", "Do the workers keep up with what happens?"
)
QUEUE_OLDEST: Final = Series(
    "carryon_queue_oldest_key_seconds",
    "gauge",
    "Seconds that the next job has waited for a worker.",
    "How long does the unluckiest job wait?",
)
QUEUE_RETRIES: Final = Series(
    "carryon_queue_retries_total",
    "counter",
    "Jobs that were put back because looking at them had failed.",
    "How much work is done again?",
)
WORKERS: Final = Series("carryon_workers", "gauge", "Jobs that can be looked at at the same time.", "What is there?")
WORKERS_BUSY: Final = Series(
    "carryon_workers_busy", "gauge", "Jobs that are looked at now.", "Are there enough workers (`--workers`)?"
)
LOOP_LAG: Final = Series(
    "carryon_event_loop_lag_seconds",
    "histogram",
    "Seconds by which a timer rang late; it is set once a second.",
    "Does something hold up everything else?",
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0),
)

REQUESTS: Final = Series(
    "carryon_kube_requests_total",
    "counter",
    "Requests to the API server, each repetition by itself and kopf's included; `none`: no answer came.",
    "What does the operator cost the API server, and how does that answer?",
    {"verb": VERBS, "resource": RESOURCES, "code": CODES},
)
REQUEST_SECONDS: Final = Series(
    "carryon_kube_request_duration_seconds",
    "histogram",
    "Seconds until the answer to a request began, watches left out.",
    "Is the API server slow?",
    {"verb": VERBS, "resource": RESOURCES},
    _QUICK,
)
THROTTLED: Final = Series(
    "carryon_kube_throttled_seconds_total",
    "counter",
    "Seconds that writes have waited for their turn, all together.",
    "Is `--qps` what slows us down?",
)
WATCHES: Final = Series(
    "carryon_kube_watch_starts_total",
    "counter",
    "Watches that were asked for, the first ones and those in vain included.",
    "Do watches break? Servers end each after some five minutes.",
    {"resource": FOLLOWED},
)
LISTS: Final = Series(
    "carryon_kube_list_starts_total",
    "counter",
    "Lists that were begun; jobs are listed every ten minutes in any case.",
    "Does the API server forget what we have seen (410), so that all is read anew?",
    {"resource": FOLLOWED},
)
SILENCE: Final = Series(
    "carryon_watch_silence_seconds",
    "gauge",
    "Seconds since the API server was last heard on a watch; it says something every minute.",
    "Is what the operator knows up to date?",
    {"resource": ("pods",)},
)

BUCKETS: Final = Series(
    "carryon_bucket_operations_total",
    "counter",
    "Operations on buckets, by how they ended: `not_found`, `conflict` and `changed` are answers, what is neither these"
    " nor `ok` is an error. A listing is one, however many pages it has.",
    "Do the buckets work, and what do we ask of them?",
    {"operation": OPERATIONS, "outcome": OUTCOMES},
)
BUCKET_SECONDS: Final = Series(
    "carryon_bucket_operation_duration_seconds",
    "histogram",
    "Seconds that operations on buckets took.",
    "Are the buckets slow?",
    {"operation": OPERATIONS},
    _LONG,
)
VERIFICATION: Final = Series(
    "carryon_verification_duration_seconds",
    "histogram",
    "Seconds that it took to find out what is done: `sweep`: all of a job; `settle`: the units of pods that ended;"
    " `late`: what a job that is over has made.",
    "What does it cost that the bucket is the truth?",
    {"look": ("sweep", "settle", "late")},
    _LONG,
)
THREADS_BUSY: Final = Series(
    "carryon_bucket_threads_busy",
    "gauge",
    "Threads that are at work in buckets, or hang there.",
    "Does a bucket that hangs hold up others?",
)
PUT_OFF: Final = Series(
    "carryon_bucket_put_off_total",
    "counter",
    "Looks at jobs that were put off because others were at their bucket.",
    "Would more threads help, or does one bucket hang?",
)

JOBS: Final = Series(
    "carryon_jobs",
    "gauge",
    "Jobs by phase; `New`: not looked at yet.",
    "What is there to do, and what waits for a person?",
    {"phase": (_NEW, *map(str, Phase))},
)
JOBS_UNREACHABLE: Final = Series(
    "carryon_jobs_bucket_unreachable",
    "gauge",
    "Jobs whose bucket gives no verdict now (`Progressing` is False, `BucketUnreachable`).",
    "Whom does an outage of a bucket hold up?",
)
JOBS_WAITING: Final = Series(
    "carryon_jobs_waiting_for_slots",
    "gauge",
    "Jobs that would have more pods, but for the caps of this operator.",
    "Do caps hold up work?",
)
UNITS: Final = Series(
    "carryon_units",
    "gauge",
    "Units of all jobs by where they stand; `active`: a pod has them; `waiting`: none has yet.",
    "How much is left?",
    {"state": ("succeeded", "failed", "active", "waiting")},
)
UNITS_FINISHED: Final = Series(
    "carryon_units_finished_total",
    "counter",
    "Units that came to an end, as status writes say; those that a job had from its first look on are left out.",
    "How fast is work done, and how much of it fails for good?",
    {"outcome": FINISHES},
)
PODS: Final = Series(
    "carryon_pods",
    "gauge",
    "Pods of jobs by phase; at work are `Pending` and `Running`.",
    "How much runs now?",
    {"phase": ("Pending", "Running", "Succeeded", "Failed", OTHER)},
)
PODS_CREATED: Final = Series(
    "carryon_pods_created_total", "counter", "Pods that were created.", "How fast are slots filled?"
)
PODS_DELETED: Final = Series(
    "carryon_pods_deleted_total",
    "counter",
    "Pods whose deletion was asked for, those that had ended included.",
    "Are pods cleared away?",
)
PODS_REFUSED: Final = Series(
    "carryon_pods_refused_total",
    "counter",
    "Pods that the API server would not take, by the reason that `Stalled` has too.",
    "Do quotas or policies keep jobs from running?",
    {"reason": (*REASONS, OTHER)},
)
INTERRUPTIONS: Final = Series(
    "carryon_interruptions_total",
    "counter",
    "What ended work before its time or took it up again, by the counters of these names in `status.counters`.",
    "Why are units tried again: nodes, workers, or people?",
    {"cause": CAUSES},
)

GPU_SECONDS: Final = Series(
    "carryon_gpu_seconds_total",
    "counter",
    "Seconds of pods that ended, times their GPUs, at least one each.",
    "What do jobs cost?",
)
GPU_SECONDS_BY_USE: Final = Series(
    "carryon_gpu_seconds_by_use_total",
    "counter",
    "Seconds times GPUs that made units, that steps waited for journals, that were lost, and that a restart saved; as"
    " in [status](status.md#gpu-seconds).",
    "What of it was worth something?",
    {"use": ("useful", "checkpointing", "lost", "saved")},
)
RESUMED: Final = Series(
    "carryon_attempts_resumed_total",
    "counter",
    "Attempts that went on from a journal.",
    "Do checkpoints pay?",
)
REFUSED: Final = Series(
    "carryon_journals_refused_total",
    "counter",
    "Attempts that started over because a journal did not fit, by what did not.",
    "Does a deploy, or another kind of node, cost steps?",
    {"misfit": tuple(map(str, Misfit))},
)
JOURNALS_ENDED: Final = Series(
    "carryon_journals_ended_total",
    "counter",
    "Attempts whose journal was not kept any more from some point on.",
    "Are journals too large for `maxBytes`, or buckets too slow?",
)
JOURNAL_BYTES: Final = Series(
    "carryon_journal_bytes",
    "gauge",
    "Bytes that journals hold in the buckets of jobs that are not over, as each was last looked at"
    " (`--verify-interval`).",
    "What do checkpoints take up?",
)
NOTIFIED: Final = Series(
    "carryon_notification_attempts_total",
    "counter",
    "Attempts at [webhooks](../how-to/notifications.md); `failed` is tried again.",
    "Do webhooks arrive?",
    {"outcome": tuple(map(str, DeliveryEnd))},
)
NOTIFICATIONS: Final = Series(
    "carryon_notifications_waiting",
    "gauge",
    "Notifications that are being sent, or are due and wait for their turn.",
    "Do receivers that hang hold up others?",
)
EVENTS_DROPPED: Final = Series(
    "carryon_events_dropped_total",
    "counter",
    "Kubernetes Events that were not sent because too many waited.",
    "Does `kubectl describe` show everything?",
)

SECTIONS: Final[Mapping[str, tuple[Series, ...]]] = {
    "The operator itself": (
        *(LEADER, BUILD, RECONCILES, RECONCILE_SECONDS, QUEUE_DEPTH, QUEUE_OLDEST, QUEUE_RETRIES),
        *(WORKERS, WORKERS_BUSY, LOOP_LAG),
    ),
    "The API server": (REQUESTS, REQUEST_SECONDS, THROTTLED, WATCHES, LISTS, SILENCE, EVENTS_DROPPED),
    "Buckets": (BUCKETS, BUCKET_SECONDS, VERIFICATION, THREADS_BUSY, PUT_OFF, JOURNAL_BYTES),
    "Jobs and their pods": (
        *(JOBS, JOBS_UNREACHABLE, JOBS_WAITING, UNITS, UNITS_FINISHED, PODS, PODS_CREATED, PODS_DELETED, PODS_REFUSED),
        *(INTERRUPTIONS, GPU_SECONDS, GPU_SECONDS_BY_USE, RESUMED, REFUSED, JOURNALS_ENDED),
        *(NOTIFIED, NOTIFICATIONS),
    ),
}
"""All of them, as the documentation shows them."""
SERIES: Final = tuple(series for section in SECTIONS.values() for series in section)


def phase_of(told: object) -> str:
    """Value of the label `phase` of a job, by `status.phase`; what this version does not know is not looked at yet."""
    return str(told) if told in JOBS.labels["phase"] else _NEW
