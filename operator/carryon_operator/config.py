"""Settings of the operator: each a flag and an environment variable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from carryon_core import durations
from carryon_core.messages import StoreConfig
from carryon_core.settings import Settings, count, default_store, folder, listed, rate, true_or_false
from carryon_operator.kube.election import Terms
from carryon_operator.notify.addresses import Allowed
from carryon_operator.notify.addresses import parse as parse_allowed
from carryon_operator.plan.shares import Caps

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Election:
    """How replicas agree on one that acts.

    Attributes:
        name: Of the Lease, and `namespace`.
        terms: How long things last.
    """

    namespace: str
    name: str = "carryon-operator"
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True)
class Config:
    """How this operator works.

    Attributes:
        kubeconfig: Path of the kubeconfig; None: the pod's service account, or else ~/.kube/config.
        namespaces: Where it looks for jobs; empty means everywhere.
        workers: Jobs reconciled at the same time.
        qps: Writes a second to the API server, and `burst` at once.
        caps: Pods at work at the same time.
        worker_image: Image of worker pods where a stage names none.
        default_store: Where artifacts of jobs go that name no output; None refuses such jobs.
        default_store_secret: Name of the Secret with its keys, in each namespace of jobs; None: operator and workers
            are somebody by themselves.
        file_root: Folder that file:// outputs must lie in; None refuses them, as is right on a cluster. Where it is
            set the operator is one person's own, with nobody to keep apart.
        ambient_credentials: Whether jobs that name no Secret may name any bucket, which operator and worker then open
            with what their environment offers; otherwise only what lies below the default store.
        default_resources: Resources of workers that load models (diffusers, text) where a stage names none.
        health: Where /livez, /readyz and /metrics are answered; None serves none.
        verify_interval: Seconds between two looks at the whole bucket of a running job.
        ended_verify_interval: Seconds between two looks at the bucket of a job that is over.
        items_interval: Seconds between two looks at the source of a job's items.
        journal_grace: Seconds that what nobody goes on from any more stays in the bucket.
        notify_allow: Where webhooks may lead besides the internet.
        notify_proxy: HTTP proxy that webhooks are sent through; None sends them straight. It then decides what names
            lead to.
        page_url: Where people see jobs; webhooks are told of it.
        election: Of a leader among replicas; None: this is the only one.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    workers: int = 16
    qps: float = 50.0
    burst: int = 100
    caps: Caps = field(default_factory=Caps)
    worker_image: str = "carryon-worker"
    default_store: StoreConfig | None = None
    default_store_secret: str | None = None
    file_root: PurePosixPath | None = None
    ambient_credentials: bool = False
    default_resources: Mapping[str, Any] = field(default_factory=dict)
    health: Address | None = None
    verify_interval: float = 600.0
    ended_verify_interval: float = 86400.0
    items_interval: float = 60.0
    journal_grace: float = 86400.0
    notify_allow: Allowed = field(default_factory=Allowed)
    notify_proxy: str | None = None
    page_url: str | None = None
    election: Election | None = None


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Read the settings; a flag goes before its variable, and one that is empty counts as not given.

    Raises:
        SystemExit: Status 2, after a sentence that says which setting is wrong and what it should be.
    """
    settings = Settings("carryon-operator", "Carries out GenerationJobs.", SETTINGS, arguments, environ)
    default = Config()
    return Config(
        kubeconfig=settings.get("--kubeconfig", str, None),
        namespaces=settings.get("--namespaces", listed, default.namespaces),
        workers=settings.get("--workers", count, default.workers),
        qps=settings.get("--qps", rate, default.qps),
        burst=settings.get("--burst", count, default.burst),
        caps=Caps(settings.get("--max-pods", count, None), settings.get("--max-pods-per-job", count, None)),
        worker_image=settings.get("--worker-image", str, default.worker_image),
        default_store=default_store(settings),
        default_store_secret=settings.get("--default-store-secret", str, None),
        file_root=settings.get("--file-root", folder, None),
        ambient_credentials=settings.get("--ambient-credentials", true_or_false, default.ambient_credentials),
        default_resources=settings.get("--default-resources", _object, default.default_resources),
        health=settings.get("--health", _address, None),
        verify_interval=settings.get("--verify-interval", _interval, default.verify_interval),
        ended_verify_interval=settings.get("--ended-verify-interval", _interval, default.ended_verify_interval),
        items_interval=settings.get("--items-interval", _interval, default.items_interval),
        journal_grace=settings.get("--journal-grace", _interval, default.journal_grace),
        notify_allow=settings.get("--notify-allow", _allowed, default.notify_allow),
        notify_proxy=settings.get("--notify-proxy", _http_url, None),
        page_url=settings.get("--page-url", _http_url, None),
        election=_election(settings) if settings.get("--leader-elect", true_or_false, False) else None,
    )


SETTINGS: Final = (
    ("--kubeconfig", "KUBECONFIG", "kubeconfig file; without it the service account of the pod, or ~/.kube/config"),
    ("--namespaces", "CARRYON_NAMESPACES", "namespaces to look for jobs in, with commas between; all if empty"),
    ("--workers", "CARRYON_WORKERS", "jobs that are reconciled at the same time; 16"),
    ("--qps", "CARRYON_QPS", "writes a second to the API server, in fair turns between jobs; 50"),
    ("--burst", "CARRYON_BURST", "writes to the API server that may follow each other at once; 100"),
    ("--max-pods", "CARRYON_MAX_PODS", "pods of all jobs at work at the same time; as many as the jobs want if empty"),
    (
        "--max-pods-per-job",
        "CARRYON_MAX_PODS_PER_JOB",
        "pods of one job at work at the same time, whatever its spec.parallelism; likewise",
    ),
    ("--worker-image", "CARRYON_WORKER_IMAGE", "image of worker pods whose stage names none; carryon-worker"),
    (
        "--default-store",
        "CARRYON_DEFAULT_STORE",
        "where jobs put their artifacts that name no output: s3:// or file://",
    ),
    ("--default-store-endpoint", "CARRYON_DEFAULT_STORE_ENDPOINT", "S3 endpoint of the default store"),
    ("--default-store-region", "CARRYON_DEFAULT_STORE_REGION", "region of the default store"),
    (
        "--default-store-secret",
        "CARRYON_DEFAULT_STORE_SECRET",
        "Secret with its keys, in each namespace of jobs; what operator and workers are by themselves if empty",
    ),
    ("--file-root", "CARRYON_FILE_ROOT", "folder that file:// outputs must lie in; such outputs are refused if empty"),
    (
        "--ambient-credentials",
        "CARRYON_AMBIENT_CREDENTIALS",
        "true: jobs without a Secret may name any bucket that operator and workers can open; false",
    ),
    (
        "--default-resources",
        "CARRYON_DEFAULT_RESOURCES",
        'resources of diffusers and text stages that name none, as JSON: {"limits": {"nvidia.com/gpu": "1"}}; none',
    ),
    (
        "--health",
        "CARRYON_HEALTH",
        "address of /livez, /readyz and /metrics, such as 0.0.0.0:8081; not served if empty",
    ),
    ("--verify-interval", "CARRYON_VERIFY_INTERVAL", "time between two looks at a running job's whole bucket; 10m"),
    (
        "--ended-verify-interval",
        "CARRYON_ENDED_VERIFY_INTERVAL",
        "time between two looks at the bucket of a job that is over; 24h",
    ),
    ("--items-interval", "CARRYON_ITEMS_INTERVAL", "time between two looks at the source of a job's items; 1m"),
    (
        "--journal-grace",
        "CARRYON_JOURNAL_GRACE",
        "time that journals stay which no unit goes on from any more, while their job runs; 24h",
    ),
    (
        "--notify-allow",
        "CARRYON_NOTIFY_ALLOW",
        "networks and hosts that webhooks may lead to although they are private, with commas between: 10.0.0.0/8,"
        " relay.studio.svc; none",
    ),
    ("--notify-proxy", "CARRYON_NOTIFY_PROXY", "HTTP proxy that webhooks are sent through; none if empty"),
    ("--page-url", "CARRYON_PAGE_URL", "where people see jobs, for the link in webhooks; no link if empty"),
    ("--leader-elect", "CARRYON_LEADER_ELECT", "true: of several replicas only the one acts that holds a Lease; false"),
    ("--lease-name", "CARRYON_LEASE_NAME", "the Lease that replicas agree on; carryon-operator"),
    ("--lease-namespace", "CARRYON_LEASE_NAMESPACE", "its namespace; the pod's own"),
    ("--lease-duration", "CARRYON_LEASE_DURATION", "time until a Lease that is not renewed may be taken; 15s"),
    (
        "--renew-deadline",
        "CARRYON_RENEW_DEADLINE",
        "time after a renewal until its holder begins nothing any more, and ends; 10s",
    ),
    ("--retry-period", "CARRYON_RETRY_PERIOD", "time between two renewals, and two looks of those who wait; 2s"),
)
"""Flag, variable, and what it means with its default."""


def _election(settings: Settings) -> Election:
    usual = Terms()
    terms = Terms(
        duration=settings.get("--lease-duration", _interval, usual.duration),
        renew=settings.get("--renew-deadline", _interval, usual.renew),
        retry=settings.get("--retry-period", _short_interval, usual.retry),
    )
    if (wrong := _wrong_with(terms)) is not None:
        settings.refuse(wrong)
    namespace = settings.get("--lease-namespace", str, None) or own_namespace()
    if namespace is None:
        settings.refuse("--lease-namespace (CARRYON_LEASE_NAMESPACE) is not set: outside a cluster it must be")
    return Election(namespace, settings.get("--lease-name", str, Election.name), terms)


def own_namespace(file: Path = NAMESPACE_FILE) -> str | None:
    """The namespace of the pod that this runs in, None where it runs in none."""
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def _wrong_with(terms: Terms) -> str | None:
    """What is wrong with the times of an election, None where nothing is."""
    if terms.duration != int(terms.duration):
        return f"--lease-duration (CARRYON_LEASE_DURATION) is {terms.duration:g} s: it must be whole seconds"
    if terms.renew >= terms.duration:
        return (
            f"--renew-deadline (CARRYON_RENEW_DEADLINE) is {terms.renew:g} s: it must be shorter than --lease-duration,"
            f" {terms.duration:g} s, for what is left of that is for requests under way"
        )
    if 2 * terms.retry > terms.renew:
        return (
            f"--retry-period (CARRYON_RETRY_PERIOD) is {terms.retry:g} s: it must be at most half of --renew-deadline,"
            f" {terms.renew:g} s, or one lost request costs the Lease"
        )
    return None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")
    return value


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError("it must be an address and a port, such as 0.0.0.0:8081")
    return Address(host.strip("[]") or "0.0.0.0", int(port))


def _allowed(text: str) -> Allowed:
    return parse_allowed(listed(text))


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be a url such as https://carryon.example")
    return text


def _interval(text: str) -> float:
    interval = durations.seconds(text)
    if interval < 1:
        raise ValueError("it must be 1s or more")
    return interval


def _short_interval(text: str) -> float:
    interval = durations.seconds(text)
    if interval < 0.1:
        raise ValueError("it must be 100ms or more")
    return interval
