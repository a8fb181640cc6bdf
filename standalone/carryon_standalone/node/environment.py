"""A container's environment: what Kubernetes would give it, and as little of the node's own as works."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from carryon_core.names import ENV_MODEL_CACHE, ENV_TERMINATION_LOG
from carryon_standalone.node import quantity
from carryon_standalone.node.pods import GPU, Object, container_requests
from carryon_standalone.node.processes import ENV_MARKER

INHERITED: Final = frozenset(
    {
        "LANG", "LC_ALL", "TZ",
        # Where programs and libraries are: a process has no image that would say so.
        "PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
        # How many threads a library may start on this machine.
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
        # Where models are had and kept, so that they aren't downloaded for every pod.
        ENV_MODEL_CACHE, "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
        "TORCH_HOME",
    }
)  # fmt: skip
"""Variables of the node that containers see; everything else, credentials above all, stays with the node."""

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")
_IMAGE: Final = re.compile(
    # Registry, path, tag, digest: the grammar of distribution/reference.
    r"([a-zA-Z0-9.-]+(:[0-9]+)?/)?"
    r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?"
)
_FIELD_MAP: Final = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class ConfigError(Exception):
    """A container can't be started as it is written; the sentence becomes its waiting message."""


@dataclass(frozen=True)
class Sources:
    """Secrets and ConfigMaps as the API server has them; None stands for one that does not exist."""

    objects: Mapping[tuple[str, str], Object | None]

    def values(self, kind: str, name: str, namespace: str, optional: bool) -> dict[str, bytes]:
        """The entries of one Secret or ConfigMap.

        Raises:
            ConfigError: It does not exist and is not optional.
        """
        found = self.objects.get((kind, name))
        if found is None:
            if optional:
                return {}
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        data = found.get("data") or {}
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in data.items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in data.items()} | binary


@dataclass(frozen=True)
class Placement:
    """Where a pod runs; `allocatable` is what the node has for all its pods, as quantities."""

    node: str
    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str] = field(default_factory=dict)


def base(inherited: Mapping[str, str], home: Path, temporary: Path, models: Path) -> dict[str, str]:
    """The environment that an image would bring: search path, locale, the pod's own home and temporary folder.

    Besides, the folder in which all pods of this machine keep models.
    """
    defaults = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    kept = {name: value for name, value in inherited.items() if name in INHERITED}
    return {ENV_MODEL_CACHE: str(models), **defaults, **kept, "HOME": str(home), "TMPDIR": str(temporary)}


def variables(container: Object, pod: Object, placement: Placement, sources: Sources) -> dict[str, str]:
    """The variables of `env` and `envFrom`, in Kubernetes' order of precedence.

    Raises:
        ConfigError: A Secret, ConfigMap or key that is not optional is missing, or a field is not offered.
    """
    namespace = pod["metadata"]["namespace"]
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source:
                reference = source[key]
                values = sources.values(kind, reference["name"], namespace, bool(reference.get("optional")))
                prefix = source.get("prefix", "")
                result |= {prefix + name: value.decode(errors="replace") for name, value in values.items()}
    for variable in container.get("env") or ():
        name = variable["name"]
        if "valueFrom" not in variable:
            result[name] = expand(variable.get("value", ""), result)
        elif (value := _value_from(variable["valueFrom"], container, pod, placement, sources)) is not None:
            result[name] = value
    return result


def _value_from(
    value_from: Mapping[str, Any], container: Object, pod: Object, placement: Placement, sources: Sources
) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in value_from:
        return _field(value_from["fieldRef"]["fieldPath"], pod, placement)
    if "resourceFieldRef" in value_from:
        return _resource(value_from["resourceFieldRef"], container, pod, placement)
    for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if key in value_from:
            reference = value_from[key]
            optional = bool(reference.get("optional"))
            values = sources.values(kind, reference["name"], namespace, optional)
            if reference["key"] in values:
                return values[reference["key"]].decode(errors="replace")
            if optional:
                return None
            raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
    offered = "fieldRef, resourceFieldRef, secretKeyRef and configMapKeyRef"
    raise ConfigError(f"env valueFrom {', '.join(value_from)} is not offered on this machine: use {offered}")


def _field(path: str, pod: Object, placement: Placement) -> str:
    meta = pod["metadata"]
    if match := _FIELD_MAP.fullmatch(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    fields = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": placement.node,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.hostIP": placement.host_ip,
        "status.hostIPs": placement.host_ip,
        "status.podIP": placement.pod_ip,
        "status.podIPs": placement.pod_ip,
    }
    if path not in fields:
        raise ConfigError(f'fieldPath "{path}" is not offered: use one of {", ".join(sorted(fields))}')
    return str(fields[path])


def _resource(reference: Mapping[str, Any], container: Object, pod: Object, placement: Placement) -> str:
    """A request or limit of a container as a number of divisors, rounded up; without a limit, what the node has."""
    named = reference.get("containerName") or container["name"]
    spec = pod["spec"]
    everybody = [container, *spec["containers"], *(spec.get("initContainers") or ())]
    found = next((each for each in everybody if each["name"] == named), None)
    if found is None:
        raise ConfigError(f'resourceFieldRef names container "{named}", which the pod does not have')
    kind, _, name = reference["resource"].partition(".")
    offered = name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-")
    if kind not in ("limits", "requests") or not offered:
        raise ConfigError(f'resourceFieldRef "{reference["resource"]}" is not offered: use one such as limits.memory')
    resources = found.get("resources") or {}
    amount = (resources.get(kind) or {}).get(name)
    if amount is None and kind == "limits":
        amount = placement.allocatable.get(name)
    try:
        divisor = quantity.parse(reference.get("divisor") or 1) or 1  # zero means one
        return str(math.ceil(quantity.parse(amount or 0) / divisor))
    except ValueError as error:
        raise ConfigError(f"resourceFieldRef: {error}") from error


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by what is known, as Kubernetes does: `$$` is a dollar sign, unknown names stay as written."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def own(container: Object, marker: str, termination_file: Path, devices: Iterable[str]) -> dict[str, str]:
    """Variables that the node sets, whatever the pod says: a pod sees the GPUs it was given, and no other."""
    wants_gpu = container_requests(container).get(GPU, 0) > 0
    return {
        ENV_MARKER: marker,
        ENV_TERMINATION_LOG: str(termination_file),
        "CUDA_VISIBLE_DEVICES": ",".join(devices) if wants_gpu else "",
    }


def command(container: Object, images: Mapping[str, Sequence[str]], known: Mapping[str, str]) -> list[str] | None:
    """The command line of a container; None when only an image, which this machine does not have, would know it."""
    program = container.get("command") or images.get(container.get("image", ""))
    if not program:
        return None
    return [expand(part, known) for part in (*program, *(container.get("args") or ()))]


def is_image(name: str) -> bool:
    """Whether a name can be that of an image; a kubelet tries no pull where it can't."""
    return _IMAGE.fullmatch(name) is not None
