"""What `spec.podTemplate` may set: where pods run and what they see, never what they are allowed to do.

A list of what is allowed, because a list of what is dangerous is never complete. Whether a value is right in itself
(a quantity, an affinity) is the API server's to say when it is given the pod.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from carryon_core import names
from carryon_core.errors import SpecError

GRACE_LONGEST: Final = 3600
"""Seconds a pod may take to end: so long would a suspended job hold its GPUs."""

_Check = Callable[[str, Any], None]
"""Raises SpecError if a value is not what may stand at a path."""

_RESERVED_ENV: Final = ("CARRYON_", "AWS_")
_RESERVED_DOMAINS: Final = (
    names.GROUP,
    # Annotations that loosen AppArmor and seccomp from outside the securityContext.
    "security.alpha.kubernetes.io",
    "security.beta.kubernetes.io",
)
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def check_template(template: Mapping[str, Any]) -> None:
    """Look whether a podTemplate sets only what it may.

    Raises:
        SpecError: It does not: InvalidPodTemplate, with the path and what to change.
    """
    _TEMPLATE("spec.podTemplate", template)


def _refuse(path: str, why: str) -> SpecError:
    return SpecError("InvalidPodTemplate", f"{path} {why}")


def _object(path: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise _refuse(path, "must be an object: write it as one, or take it out")


def _text(path: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _refuse(path, "must be text: put it in quotes, or take it out")


def _name(path: str, value: Any) -> None:
    if not isinstance(value, str) or not _OBJECT_NAME.fullmatch(value):
        raise _refuse(path, "must be a name: lower-case letters, digits, dashes and dots")


def _seconds(path: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= GRACE_LONGEST:
        raise _refuse(path, f"must be a whole number of seconds from 1 to {GRACE_LONGEST}")


def _flag(path: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _refuse(path, "must be true or false")


def _map_of(check: _Check) -> _Check:
    def checked(path: str, value: Any) -> None:
        _object(path, value)
        for key, inner in value.items():
            check(f"{path}.{key}", inner)

    return checked


def _list_of(check: _Check) -> _Check:
    def checked(path: str, value: Any) -> None:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise _refuse(path, "must be a list: write it as one, or take it out")
        for index, inner in enumerate(value):
            check(f"{path}[{index}]", inner)

    return checked


def _only(fields: Mapping[str, _Check], *, required: str | None = None) -> _Check:
    """An object with these fields and no others."""

    def checked(path: str, value: Any) -> None:
        _object(path, value)
        for key, inner in value.items():
            if key not in fields:
                raise _refuse(f"{path}.{key}", f"is not allowed: take it out; {path} may have {', '.join(fields)}")
            fields[key](f"{path}.{key}", inner)
        if required is not None and required not in value:
            raise _refuse(path, f"has no {required}: add it")

    return checked


def _marks(path: str, value: Any) -> None:
    """Labels or annotations."""
    _map_of(_text)(path, value)
    for key in value:
        domain = key.rpartition("/")[0]
        if key == names.MANAGED_BY or any(domain == ours or domain.endswith(f".{ours}") for ours in _RESERVED_DOMAINS):
            raise _refuse(path, f"must not set {key}, which is the operator's own: take it out")


def _variable(path: str, value: Any) -> None:
    _text(path, value)
    if value.startswith(_RESERVED_ENV):
        raise _refuse(
            path,
            f"is {value}, but names that begin with {' or '.join(_RESERVED_ENV)} are the operator's own: take it out",
        )


def _volume_name(path: str, value: Any) -> None:
    _name(path, value)
    if value == names.VOLUME_SCRATCH:
        raise _refuse(path, f"is {value}, which is the worker's own volume: choose another name")


def _mount_path(path: str, value: Any) -> None:
    _text(path, value)
    if PurePosixPath(value) == PurePosixPath(names.SCRATCH):
        raise _refuse(path, f"is {value}, where the worker has its own volume: choose another folder")


def _containers(path: str, value: Any) -> None:
    _list_of(_object)(path, value)
    if [each.get("name") for each in value] != [names.CONTAINER]:
        raise _refuse(path, f'must hold only the container named "{names.CONTAINER}": pods have no other')
    _CONTAINER(f"{path}[0]", value[0])


_OBJECTS: Final = _list_of(_object)

_CONTAINER: Final = _only(
    {
        "name": _text,
        "env": _list_of(_only({"name": _variable, "value": _text, "valueFrom": _object}, required="name")),
        "envFrom": _OBJECTS,
        "volumeMounts": _list_of(
            _only(
                {
                    "name": _name,
                    "mountPath": _mount_path,
                    "subPath": _text,
                    "subPathExpr": _text,
                    "readOnly": _flag,
                    "recursiveReadOnly": _text,
                },
                required="mountPath",
            )
        ),
        "resources": _only({"requests": _object, "limits": _object}),
    }
)

_VOLUME: Final = _only(
    # The kinds that Pod Security "restricted" knows; no token of a service account, because workers have none.
    {
        "name": _volume_name,
        "configMap": _object,
        "csi": _object,
        "downwardAPI": _object,
        "emptyDir": _object,
        "ephemeral": _object,
        "persistentVolumeClaim": _object,
        "projected": _only(
            {"sources": _list_of(_only({"configMap": _object, "downwardAPI": _object, "secret": _object}))}
        ),
        "secret": _object,
    },
    required="name",
)

_TEMPLATE: Final = _only(
    {
        "metadata": _only({"labels": _marks, "annotations": _marks}),
        "spec": _only(
            {
                "nodeSelector": _map_of(_text),
                "tolerations": _OBJECTS,
                "affinity": _object,
                "topologySpreadConstraints": _OBJECTS,
                "priorityClassName": _name,
                "schedulerName": _name,
                "runtimeClassName": _name,
                "serviceAccountName": _name,
                "imagePullSecrets": _OBJECTS,
                "volumes": _list_of(_VOLUME),
                "terminationGracePeriodSeconds": _seconds,
                "dnsPolicy": _text,
                "dnsConfig": _object,
                "hostAliases": _OBJECTS,
                "containers": _containers,
            }
        ),
    }
)
