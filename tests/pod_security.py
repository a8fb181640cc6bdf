"""The Pod Security Standard "restricted", control by control, as kubernetes.io describes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_HOST = ("hostNetwork", "hostPID", "hostIPC")
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    }
)
_SECCOMP = ("RuntimeDefault", "Localhost")
_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def violations(spec: dict[str, Any], annotations: dict[str, str] | None = None) -> list[str]:
    """What an admission controller that enforces "restricted" would refuse in a pod, one sentence each."""
    return [
        *_of_pod(spec, annotations or {}),
        *(
            f"{kind}[{each['name']}] {what}"
            for kind in ("initContainers", "containers", "ephemeralContainers")
            for each in spec.get(kind) or ()
            for what in _of_container(each, spec.get("securityContext") or {})
        ),
    ]


def _of_pod(spec: dict[str, Any], annotations: dict[str, str]) -> Iterator[str]:
    for name in _HOST:
        if spec.get(name):
            yield f"{name} is set"
    for volume in spec.get("volumes") or ():
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    security = spec.get("securityContext") or {}
    for sysctl in security.get("sysctls") or ():
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']} is set"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess is set"
    yield from _options(security)
    for name, value in annotations.items():
        fine = value == "runtime/default" or value.startswith("localhost/")
        if name.startswith("container.apparmor.security.beta.kubernetes.io/") and not fine:
            yield f"AppArmor is {value}"


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    security = container.get("securityContext") or {}
    if security.get("privileged"):
        yield "is privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allows privilege escalation"
    capabilities = security.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "does not drop all capabilities"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"adds capabilities {capabilities['add']}"
    if security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "may run as root"
    if security.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "runs as root"
    if (security.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in _SECCOMP:
        yield "has no seccomp profile"
    if security.get("procMount", "Default") != "Default":
        yield "has an unmasked /proc"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "sets hostProcess"
    yield from _options(security)
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"takes the node's port {port['hostPort']}"
    handlers = [container.get(probe) or {} for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += list((container.get("lifecycle") or {}).values())
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("host"):
                yield f"asks the host {handler[action]['host']}"


def _options(security: dict[str, Any]) -> Iterator[str]:
    """What pods and containers have alike."""
    selinux = security.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"sets SELinux options {selinux}"
    if (security.get("appArmorProfile") or {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "is not confined by AppArmor"
    if (security.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "is not confined by seccomp"
