"""PodDisruptionBudgets: how many pods may be evicted now, after Kubernetes' disruption controller and eviction handler.

Sources: k8s.io/kubernetes, pkg/controller/disruption and pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from carryon_standalone.apiserver.conditions import condition, readiness
from carryon_standalone.apiserver.errors import ApiError, FieldError, invalid_value, not_supported
from carryon_standalone.apiserver.resources import Strategy
from carryon_standalone.apiserver.storage import Object

DISRUPTION_TIMEOUT: Final = timedelta(minutes=2)
"""How long an evicted pod counts as gone although nobody has seen its deletion."""
_CAUSE: Final = "DisruptionBudget"
_ALLOWED: Final = "DisruptionAllowed"
_REFUSED: Final = "Cannot evict pod as it would violate the pod's disruption budget."
_UNSEEN: Final = {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}


class SyncFailed(Exception):
    """The number of pods that there should be can't be told."""


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a budget's `LabelSelector` means pods with these labels: an empty one all, none at all none."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
    return key not in labels  # DoesNotExist: others are refused


def status_of(budget: Object, pods: Iterable[Object], now: datetime) -> Object:
    """The status of a budget.

    Args:
        budget: As it is stored.
        pods: Those that it selects.
        now: Time of what changes.
    """
    pods = list(pods)
    before = budget.get("status") or {}
    disrupted = _still_disrupted(before.get("disruptedPods") or {}, pods, now)
    healthy = sum(
        readiness(pod) == "True"
        and "deletionTimestamp" not in pod["metadata"]
        and pod["metadata"]["name"] not in disrupted
        for pod in pods
    )
    try:
        expected, desired = _wanted(budget["spec"], pods)
    except SyncFailed as error:
        failed = _condition(budget, "SyncFailed", str(error), now)
        return {**_UNSEEN, **before, "disruptionsAllowed": 0, "conditions": [failed]}
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation", 1),
        "conditions": [_condition(budget, "SufficientPods" if allowed else "InsufficientPods", "", now)],
    }
    return status | ({"disruptedPods": disrupted} if disrupted else {})


def _wanted(spec: Object, pods: list[Object]) -> tuple[int, int]:
    """Pods that there should be, and how many of them healthy."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if isinstance(least, int):
        return len(pods), least
    if least is None and most is None:
        return 0, 0
    # Shares of a whole need to know the whole. A cluster asks the pods' controllers, and counts no pod that has none.
    owners = [
        owner for pod in pods for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")
    ]
    if owners:
        group = str(owners[0].get("apiVersion", "")).rpartition("/")[0]
        kind = f"{str(owners[0].get('kind', '')).lower()}s" + (f".{group}" if group else "")
        raise SyncFailed(f"{kind} does not implement the scale subresource")
    return 0, 0


def _still_disrupted(known: Mapping[str, str], pods: Iterable[Object], now: datetime) -> dict[str, str]:
    """Evicted pods whose deletion nobody has seen yet."""
    here = {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
    oldest = now - DISRUPTION_TIMEOUT
    return {name: time for name, time in known.items() if name in here and datetime.fromisoformat(time) > oldest}


def _condition(budget: Object, reason: str, message: str, now: datetime) -> Object:
    holds = "True" if reason == "SufficientPods" else "False"
    before = condition(budget, _ALLOWED)
    since = before.get("lastTransitionTime") if before.get("status") == holds else None
    return {
        "type": _ALLOWED,
        "status": holds,
        "reason": reason,
        "message": message,
        "observedGeneration": budget["metadata"].get("generation", 1),
        "lastTransitionTime": since or _time(now),
    }


def is_unguarded(pod: Object) -> bool:
    """Whether a pod may be evicted whatever budgets say: it does not run, or is on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


def take(pod: Object, budgets: list[Object], now: datetime) -> Object | None:
    """Let a pod go under the budgets that select it; the budget as it is to be stored, None where it stays.

    Raises:
        ApiError: 429 where a budget does not allow it now, 500 where there are several.
    """
    if not budgets or is_unguarded(pod):
        return None
    if len(budgets) > 1:
        several = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "", several)
    budget = budgets[0]
    status, name = budget.get("status") or {}, budget["metadata"]["name"]
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if readiness(pod) != "True":
        policy = budget["spec"].get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
        if policy == "AlwaysAllow" or healthy >= desired > 0:
            return None
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", 10)
    if not status.get("disruptionsAllowed"):
        allowed = condition(budget, _ALLOWED)
        if allowed.get("reason") == "SyncFailed":
            why = f"does not allow evicting pods currently because it failed sync: {allowed.get('message')}"
        else:
            why = f"needs {desired} healthy pods and has {healthy} currently"
        raise _too_many(f"The disruption budget {name} {why}")
    left = status["disruptionsAllowed"] - 1
    taken = {
        **status,
        "disruptionsAllowed": left,
        "disruptedPods": {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: _time(now)},
    }
    if not left:
        taken["conditions"] = [_condition(budget, "InsufficientPods", "", now)]
    return {**budget, "status": taken}


def _too_many(cause: str, seconds: int = 0) -> ApiError:
    details: Object = {"causes": [{"reason": _CAUSE, "message": cause}]}
    if not seconds:
        return ApiError(429, "TooManyRequests", _REFUSED, details)
    headers = {"Retry-After": str(seconds)}
    return ApiError(429, "TooManyRequests", _REFUSED, {**details, "retryAfterSeconds": seconds}, headers)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _prepare(budget: Object) -> None:
    budget["status"] = dict(_UNSEEN)


def _validate(budget: Object, old: Object | None) -> list[FieldError]:
    del old
    spec = budget.get("spec") or {}
    errors = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        errors.append(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec and (why := _no_amount(spec[name])):
            errors.append(invalid_value(f"spec.{name}", spec[name], why))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "AlwaysAllow", "IfHealthyBudget"):
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, "AlwaysAllow", "IfHealthyBudget"))
    for index, each in enumerate((spec.get("selector") or {}).get("matchExpressions") or ()):
        if each.get("operator") not in ("In", "NotIn", "Exists", "DoesNotExist"):
            where = f"spec.selector.matchExpressions[{index}].operator"
            errors.append(invalid_value(where, each.get("operator", ""), "not a valid selector operator"))
    return errors


def _no_amount(value: int | str) -> str:
    """What is wrong with a number of pods or a percentage."""
    if isinstance(value, int):
        return "" if value >= 0 else "must be greater than or equal to 0"
    if not (value.endswith("%") and value[:-1].isdecimal()):
        return "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%')"
    return "" if int(value[:-1]) <= 100 else "must not be greater than 100%"


BUDGET: Final = Strategy(prepare=_prepare, validate=_validate)
