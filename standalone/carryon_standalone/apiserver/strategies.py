"""What a real server fills in and checks for the built-in kinds that Carryon uses."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from carryon_standalone.apiserver.errors import (
    FieldError,
    forbidden_value,
    invalid_value,
    not_supported,
    required_value,
)
from carryon_standalone.apiserver.resources import Strategy
from carryon_standalone.apiserver.storage import Object

TERMINAL: Final = ("Succeeded", "Failed")
_SECRET_LARGEST: Final = 1024 * 1024


def _prepare_pod(pod: Object) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": _quality(pod.get("spec") or {})}


def _quality(spec: Object) -> str:
    """Guaranteed where every container's requests equal its limits, BestEffort where there are none."""
    resources = [each.get("resources") or {} for each in spec.get("containers") or ()]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(each.get("limits") or {})
        and all(
            (each.get("requests") or each["limits"]).get(name) == each["limits"][name] for name in ("cpu", "memory")
        )
        for each in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _default_pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
        ("preemptionPolicy", "PreemptLowerPriority"),
        ("priority", 0),
    ):
        spec.setdefault(name, value)
    spec.setdefault("securityContext", {})
    service_account = spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    spec.setdefault("serviceAccount", service_account)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        if isinstance(container, dict):
            _default_container(container)
    for volume in spec.get("volumes") or ():
        if isinstance(volume, dict):
            _default_volume(volume)


def _default_container(container: Object) -> None:
    image = container.get("image", "")
    latest = image.endswith(":latest") or (":" not in image.rpartition("/")[2] and "@" not in image)
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for probe in (container.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")):
        if probe:
            for name, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                probe.setdefault(name, value)
            if probe.get("httpGet"):
                probe["httpGet"].setdefault("scheme", "HTTP")
                probe["httpGet"].setdefault("path", "/")


def _default_volume(volume: Object) -> None:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 0o644)


_POD_MUTABLE: Final = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates")


def _validate_pod(pod: Object, old: Object | None) -> list[FieldError]:
    spec = pod["spec"]
    if old is not None:
        return _validate_pod_update(spec, old["spec"], pod)
    errors = []
    if not spec.get("containers"):
        errors.append(required_value("spec.containers"))
    names: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            where = f"spec.{kind}[{index}]"
            if not container.get("name"):
                errors.append(required_value(f"{where}.name"))
            elif container["name"] in names:
                errors.append(
                    FieldError("FieldValueDuplicate", f"{where}.name", f'Duplicate value: "{container["name"]}"')
                )
            names.add(container.get("name", ""))
            if not container.get("image"):
                errors.append(required_value(f"{where}.image"))
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        errors.append(not_supported("spec.restartPolicy", spec["restartPolicy"], "Always", "OnFailure", "Never"))
    return errors


def _validate_pod_update(spec: Object, old: Object, pod: Object) -> list[FieldError]:
    del pod

    def fixed(value: Object) -> Object:
        rest = {key: inner for key, inner in value.items() if key not in _POD_MUTABLE}
        for kind in ("containers", "initContainers"):
            if kind in rest:
                rest[kind] = [{key: inner for key, inner in each.items() if key != "image"} for each in rest[kind]]
        return rest

    before, after = fixed(old), fixed(spec)
    if "nodeName" in before and not before["nodeName"]:
        before.pop("nodeName")
    if before == after:
        return []
    message = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [forbidden_value("spec", message)]


def _pod_fields(pod: Object) -> dict[str, str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return {
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.restartPolicy": spec.get("restartPolicy") or "",
        "spec.schedulerName": spec.get("schedulerName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "",
        "status.phase": status.get("phase") or "",
        "status.podIP": status.get("podIP") or "",
    }


def _default_secret(secret: Object) -> None:
    given = secret.pop("stringData", None) or {}
    if given:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in given.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}
    secret.setdefault("type", "Opaque")


def _validate_secret(secret: Object, old: Object | None) -> list[FieldError]:
    errors = []
    size = 0
    for key, value in (secret.get("data") or {}).items():
        try:
            size += len(base64.b64decode(value or "", validate=True))
        except (binascii.Error, ValueError, TypeError):
            errors.append(invalid_value(f"data[{key}]", value, "must be base64; use stringData for plain text"))
    if size > _SECRET_LARGEST:
        errors.append(
            FieldError("FieldValueTooLong", "data", f"Too long: may not be more than {_SECRET_LARGEST} bytes")
        )
    if old is not None:
        if secret["type"] != old.get("type"):
            errors.append(invalid_value("type", secret["type"], "field is immutable"))
        errors += _immutable(secret, old)
    return errors


def _immutable(value: Object, old: Object) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    changed = [name for name in ("data", "binaryData") if value.get(name) != old.get(name)]
    if not value.get("immutable"):
        changed.append("immutable")
    return [forbidden_value(name, "field is immutable when `immutable` is set") for name in changed]


def _validate_config_map(value: Object, old: Object | None) -> list[FieldError]:
    return _immutable(value, old) if old is not None else []


def _prepare_namespace(namespace: Object) -> None:
    namespace["spec"] = {**(namespace.get("spec") or {}), "finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]


def _default_event(event: Object) -> None:
    event.setdefault("source", {})
    for name, value in (_TIMELESS | _NAMELESS).items():
        event.setdefault(name, value)


def _event_fields(event: Object) -> dict[str, str]:
    involved = event.get("involvedObject") or {}
    source = event.get("source") or {}
    found = {
        f"involvedObject.{name}": str(involved.get(name) or "")
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    return {
        **found,
        "reason": event.get("reason") or "",
        "type": event.get("type") or "",
        "source": source.get("component") or "",
        "reportingComponent": event.get("reportingComponent") or "",
    }


def _validate_event(event: Object, old: Object | None) -> list[FieldError]:
    del old
    given = (event.get("involvedObject") or {}).get("namespace", "")
    # Events about cluster-scoped objects lie in the default namespace.
    if given == event["metadata"].get("namespace") or (not given and event["metadata"].get("namespace") == "default"):
        return []
    return [invalid_value("involvedObject.namespace", given, "does not match event.namespace")]


def _node_fields(node: Object) -> dict[str, str]:
    return {"spec.unschedulable": str(bool((node.get("spec") or {}).get("unschedulable"))).lower()}


def _namespace_fields(namespace: Object) -> dict[str, str]:
    return {"status.phase": (namespace.get("status") or {}).get("phase") or "", "name": namespace["metadata"]["name"]}


def _secret_fields(secret: Object) -> dict[str, str]:
    return {"type": secret.get("type") or ""}


_NAMELESS: Final = dict.fromkeys(("reportingComponent", "reportingInstance"), "")
_TIMELESS: Final = dict.fromkeys(("firstTimestamp", "lastTimestamp", "eventTime"))

POD: Final = Strategy(
    prepare=_prepare_pod,
    default=_default_pod,
    validate=_validate_pod,
    fields=_pod_fields,
    empty={"spec": {"containers": None}},
)
SECRET: Final = Strategy(default=_default_secret, validate=_validate_secret, fields=_secret_fields)
CONFIG_MAP: Final = Strategy(validate=_validate_config_map)
NAMESPACE: Final = Strategy(
    prepare=_prepare_namespace, fields=_namespace_fields, empty={"spec": {"finalizers": ["kubernetes"]}}
)
EVENT: Final = Strategy(
    default=_default_event,
    validate=_validate_event,
    fields=_event_fields,
    empty={"involvedObject": {}, "source": {}, **_TIMELESS, **_NAMELESS},
)
NODE: Final = Strategy(fields=_node_fields, empty={"spec": {}})
LEASE: Final = Strategy(empty={"spec": {}})
REVIEW: Final = Strategy(empty={"spec": {}})
