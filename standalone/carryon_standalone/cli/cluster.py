"""What commands ask of a cluster, through the official client."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import kubernetes as _kubernetes
import urllib3
from kubernetes.client import ApiException

from carryon_core import names
from carryon_core.gpus import PRODUCT_LABEL
from carryon_standalone.cli.errors import CommandError
from carryon_standalone.cli.target import Target

Object = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")

# Its annotations say object and model where a custom resource is a dict and a raw answer is asked for.
kubernetes: Any = _kubernetes

MANAGER: Final = "carryon"
_APPLY: Final = "application/apply-patch+yaml"
_TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and between two bytes of an answer."""
_WATCH_SECONDS: Final = 240


class Unreachable(CommandError):
    """The API server does not answer."""


class NotFound(CommandError):
    """There is no such object."""


class Conflict(CommandError):
    """Somebody else changed the object since it was read."""


class Refused(CommandError):
    """The API server said no.

    Attributes:
        causes: What is wrong, one sentence for each.
    """

    def __init__(self, causes: Sequence[str]) -> None:
        super().__init__("\n".join(causes))
        self.causes = tuple(causes)


class Forbidden(Refused):
    """The API server does not let this user do it."""


class Taken(Refused):
    """There is an object of that name already."""


def _explained(call: Callable[P, T]) -> Callable[P, T]:
    """Turn the client's exceptions into ours."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        cluster = args[0]
        assert isinstance(cluster, Cluster)
        try:
            return call(*args, **kwargs)
        except ApiException as error:
            raise cluster.explain(error) from None
        except urllib3.exceptions.HTTPError as error:
            raise cluster.unreachable(error) from None

    return wrapped


class Cluster:
    """GenerationJobs and pods of one namespace."""

    def __init__(self, target: Target) -> None:
        """Read the configuration; nothing is asked yet.

        Raises:
            CommandError: There is none.
        """
        # The client logs each retry of a refused connection, which our own sentence says better.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_kube_config(target.kubeconfig, target.context, configuration, persist_config=False)
            contexts, active = kubernetes.config.list_kube_config_contexts(target.kubeconfig)
        except (kubernetes.config.ConfigException, OSError) as error:
            raise CommandError(f"the kubeconfig can't be used: {error}") from None
        context = next((each for each in contexts if each["name"] == target.context), active)
        self._target = target
        self._host = configuration.host
        self.server: str = configuration.host
        self.namespace: str = target.namespace or context["context"].get("namespace") or "default"
        client = kubernetes.client.ApiClient(configuration)
        self._custom = kubernetes.client.CustomObjectsApi(client)
        self._core = kubernetes.client.CoreV1Api(client)

    @_explained
    def jobs(self, selector: str | None = None, *, everywhere: bool = False) -> list[Object]:
        """Jobs by namespace and name: all of them, or those with the labels; `everywhere` means all namespaces."""
        selected = {"label_selector": selector} if selector else {}
        found = self._list(everywhere, **selected)["items"]
        return sorted(found, key=lambda job: (job["metadata"]["namespace"], job["metadata"]["name"]))

    @_explained
    def job(self, name: str, namespace: str | None = None) -> Object:
        """One job."""
        job: Object = self._custom.get_namespaced_custom_object(*self._path(namespace), name, _request_timeout=_TIMEOUT)
        return job

    @_explained
    def apply(self, job: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply: the file decides about the fields it names, others stay as they are.

        Args:
            job: The job as it should be.
            dry_run: Only let the server check it; the answer is then the job as it was given.
        """
        metadata = job["metadata"]
        self._custom.patch_namespaced_custom_object(
            *self._path(metadata.get("namespace")),
            metadata["name"],
            job,
            field_manager=MANAGER,
            field_validation="Strict",
            force=True,
            _content_type=_APPLY,
            _request_timeout=_TIMEOUT,
            **({"dry_run": "All"} if dry_run else {}),
        )
        if dry_run:
            return job
        # Asked for again, because the client drops the body of a 201.
        return self.job(metadata["name"], metadata.get("namespace"))

    @_explained
    def create(self, job: Object, *, dry_run: bool = False) -> None:
        """Create a job.

        Raises:
            Taken: There is one of that name.
        """
        self._custom.create_namespaced_custom_object(
            *self._path(job["metadata"].get("namespace")),
            job,
            field_manager=MANAGER,
            field_validation="Strict",
            _request_timeout=_TIMEOUT,
            **({"dry_run": "All"} if dry_run else {}),
        )

    @_explained
    def replace(self, job: Object) -> Object:
        """Put a whole job in the place of the one with its resourceVersion.

        Raises:
            Conflict: It has another by now.
        """
        metadata = job["metadata"]
        replaced: Object = self._custom.replace_namespaced_custom_object(
            *self._path(metadata.get("namespace")),
            metadata["name"],
            job,
            field_manager=f"{MANAGER}-edit",
            field_validation="Strict",
            _request_timeout=_TIMEOUT,
        )
        return replaced

    @_explained
    def patch(self, name: str, patch: Object) -> Object:
        """JSON merge patch."""
        patched: Object = self._custom.patch_namespaced_custom_object(
            *self._path(), name, patch, field_manager=f"{MANAGER}-edit", _request_timeout=_TIMEOUT
        )
        return patched

    @_explained
    def delete(self, name: str, namespace: str | None = None) -> None:
        """Delete a job; its pods go with it."""
        self._custom.delete_namespaced_custom_object(*self._path(namespace), name, _request_timeout=_TIMEOUT)

    @_explained
    def pods(self, job: str) -> list[Object]:
        """Pods of a job, by name."""
        answer = self._core.list_namespaced_pod(
            self.namespace, label_selector=f"{names.LABEL_JOB}={job}", _request_timeout=_TIMEOUT, _preload_content=False
        )
        return sorted(json.loads(answer.data)["items"], key=lambda pod: str(pod["metadata"]["name"]))

    @_explained
    def secret(self, name: str) -> Object:
        """Data of a Secret, base64."""
        answer = self._core.read_namespaced_secret(
            name, self.namespace, _request_timeout=_TIMEOUT, _preload_content=False
        )
        data: Object = json.loads(answer.data).get("data") or {}
        return data

    def gpu_products(self) -> frozenset[str] | None:
        """What GPUs its nodes have, as these are labelled; None where that can't be told."""
        try:
            answer = self._core.list_node(_request_timeout=_TIMEOUT, _preload_content=False)
        except (ApiException, urllib3.exceptions.HTTPError):
            return None
        labels = [node["metadata"].get("labels") or {} for node in json.loads(answer.data)["items"]]
        return frozenset(each[PRODUCT_LABEL] for each in labels if PRODUCT_LABEL in each)

    @_explained
    def config_map(self, name: str, namespace: str | None = None) -> Object:
        """Data of a ConfigMap."""
        answer = self._core.read_namespaced_config_map(
            name, namespace or self.namespace, _request_timeout=_TIMEOUT, _preload_content=False
        )
        data: Object = json.loads(answer.data).get("data") or {}
        return data

    @_explained
    def log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """Lines of a pod's log; with `follow` until the pod ends."""
        answer = self._core.read_namespaced_pod_log(
            pod, self.namespace, container=names.CONTAINER, follow=follow, _preload_content=False
        )
        return self._lines(answer)

    @_explained
    def log_tail(self, pod: str, *, lines: int, limit: int) -> str:
        """The last lines of a pod's log, and of those at most so many bytes."""
        answer = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=names.CONTAINER,
            tail_lines=lines,
            limit_bytes=limit,
            _request_timeout=_TIMEOUT,
            _preload_content=False,
        )
        content: bytes = answer.data
        return content.decode(errors="replace")

    @_explained
    def events(self) -> list[Object]:
        """Events of the namespace, the oldest first."""
        answer = self._core.list_namespaced_event(self.namespace, _request_timeout=_TIMEOUT, _preload_content=False)
        found: list[Object] = json.loads(answer.data)["items"]
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))

    @_explained
    def version(self) -> str:
        """Version of Kubernetes."""
        found: str = kubernetes.client.VersionApi(self._core.api_client).get_code(_request_timeout=_TIMEOUT).git_version
        return found

    @_explained
    def installed(self) -> list[Object]:
        """What Carryon is there: its CRD, and its Deployments where there are such."""
        found = self._custom.get_cluster_custom_object(
            "apiextensions.k8s.io", "v1", "customresourcedefinitions", names.CRD_NAME, _request_timeout=_TIMEOUT
        )
        made = [{**found, "kind": "CustomResourceDefinition"}]
        try:
            listed = self._custom.list_cluster_custom_object(
                "apps",
                "v1",
                "deployments",
                label_selector="app.kubernetes.io/part-of=carryon",
                _request_timeout=_TIMEOUT,
            )
        except ApiException as error:
            if error.status != 404:  # a control plane of one machine has none
                raise
            return made
        return made + [{**each, "kind": "Deployment"} for each in listed["items"]]

    def watch(
        self, name: str | None = None, selector: str | None = None, *, everywhere: bool = False
    ) -> Iterator[tuple[str, Object]]:
        """What is there, then every change: ("ADDED" | "MODIFIED" | "DELETED", job), for ever."""
        selected = {"field_selector": f"metadata.name={name}"} if name is not None else {}
        if selector:
            selected["label_selector"] = selector
        seen: dict[str, Object] = {}
        while True:
            listed = self._list(everywhere, **selected)
            present = {str(job["metadata"]["uid"]): job for job in listed["items"]}
            for uid, job in seen.items():
                if uid not in present:
                    yield "DELETED", job
            for uid, job in present.items():
                if seen.get(uid) != job:
                    yield "MODIFIED" if uid in seen else "ADDED", job
            seen = present
            for kind, job in self._events(listed["metadata"]["resourceVersion"], everywhere, **selected):
                uid = str(job["metadata"]["uid"])
                if kind == "DELETED":
                    seen.pop(uid, None)
                else:
                    seen[uid] = job
                yield kind, job

    def _events(self, version: str, everywhere: bool, **selected: str) -> Iterator[tuple[str, Object]]:
        """Changes since a version, until the stream ends, the connection breaks or the version is too old."""
        ask, path = self._listing(everywhere)
        stream = kubernetes.watch.Watch().stream(
            ask,
            *path,
            resource_version=version,
            timeout_seconds=_WATCH_SECONDS,
            **selected,
        )
        try:
            for event in stream:
                yield event["type"], event["object"]
        except ApiException as error:
            if error.status != 410:
                raise self.explain(error) from None
        except urllib3.exceptions.HTTPError:
            return  # listing anew tells whether the server is still there

    @_explained
    def _list(self, everywhere: bool, **selected: str) -> Object:
        ask, path = self._listing(everywhere)
        answer: Object = ask(*path, _request_timeout=_TIMEOUT, **selected)
        return answer

    def _listing(self, everywhere: bool) -> tuple[Callable[..., Any], tuple[str, ...]]:
        """How the jobs of a namespace, or of all, are asked for: the method, and its path."""
        if everywhere:
            return self._custom.list_cluster_custom_object, (names.GROUP, names.VERSION, names.PLURAL)
        return self._custom.list_namespaced_custom_object, self._path()

    def _path(self, namespace: str | None = None) -> tuple[str, str, str, str]:
        return names.GROUP, names.VERSION, namespace or self.namespace, names.PLURAL

    def _lines(self, answer: Any) -> Iterator[str]:
        rest = b""
        try:
            for chunk in answer.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from None
        if rest:
            yield rest.decode(errors="replace")

    def explain(self, error: ApiException) -> CommandError:
        """The sentences of a refusal."""
        try:
            status = json.loads(error.body or "")
        except ValueError:
            status = {}
        if error.status == 404 and not status:
            return CommandError(f"{self._host} knows no GenerationJobs: install Carryon there first")
        message = status.get("message") or f"HTTP {error.status} {error.reason}"
        if error.status == 404:
            return NotFound(f"{message} (namespace {self.namespace})")
        if error.status == 409 and status.get("reason") == "Conflict":
            return Conflict(message)
        if error.status == 401:
            return CommandError(f"{self._host} does not accept the credentials of the kubeconfig")
        causes = (status.get("details") or {}).get("causes") or ()
        kind = Forbidden if error.status == 403 else Taken if status.get("reason") == "AlreadyExists" else Refused
        return kind(
            [f"{cause['field']}: {cause['message']}" if cause.get("field") else cause["message"] for cause in causes]
            or [message]
        )

    def unreachable(self, error: Exception) -> Unreachable:
        """The sentence for a server that does not answer."""
        if self._target.home is not None:
            home = self._target.home
            return Unreachable(
                f"the control plane in {home.root} does not answer: start it with `{home.command('up --detach')}`"
            )
        reason = error.__cause__ or getattr(error, "reason", None) or error
        return Unreachable(f"{self._host} does not answer: {reason}")
