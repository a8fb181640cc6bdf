"""Why the API server takes no pod, told from what it says: a reason, and a sentence with what to do.

The texts are those of Kubernetes' admission plugins (kubernetes/plugin/pkg/admission) and of its validation; what none
of them fits is told as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from carryon_kube.errors import ApiError

REFUSAL: Final = "PodRefused"
INVALID: Final = "InvalidPod"
NAME_TAKEN: Final = "PodNameTaken"
_STATUSES: Final = (400, 403, 413, 422)
"""Statuses of a create that fails again until somebody changes something: the job, a quota, a policy, a right."""
_SUBJECT: Final = re.compile(r'^pods? "[^"]*" is (forbidden|invalid): ', re.IGNORECASE)
"""Names of pods differ; what is wrong with all of them is told once."""
_QUOTED: Final = re.compile(r",? error found in #\d+ byte of .*", re.DOTALL)
"""Some servers quote the pod around what they can't decode: prompts are nobody's business but the worker's."""
_LONGEST: Final = 600


class PodRefused(Exception):
    """A pod that can't be created until somebody changes something: a sentence for people.

    Attributes:
        reason: CamelCase.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the server says, what that is called here, and what to do."""

    says: re.Pattern[str]
    reason: str
    advice: str


def _rule(says: str, reason: str, advice: str) -> _Rule:
    return _Rule(re.compile(says, re.IGNORECASE), reason, advice)


_RULES: Final = (
    _rule(
        r"exceeded quota: ",
        "QuotaExceeded",
        "wait until other pods of the namespace end, lower spec.parallelism, or have the ResourceQuota raised",
    ),
    _rule(
        r"failed quota: .*must specify",
        "ResourcesMissing",
        "name these amounts in spec.stages[].resources, because a ResourceQuota of the namespace counts them",
    ),
    _rule(
        r"(maximum|minimum) .* usage per |limit to request ratio",
        "LimitRangeExceeded",
        "change spec.stages[].resources so that they fit, or have the LimitRange of the namespace changed",
    ),
    _rule(
        r"violates PodSecurity ",
        "PodSecurityViolated",
        "take what it names out of spec.podTemplate, or have the namespace's Pod Security level changed",
    ),
    _rule(
        r"looking up service account|serviceaccount \"[^\"]*\" not found",
        "ServiceAccountNotFound",
        "create the ServiceAccount, or name another in spec.podTemplate.spec.serviceAccountName",
    ),
    _rule(
        r"no PriorityClass with name",
        "PriorityClassNotFound",
        "create the PriorityClass, or name another in spec.podTemplate.spec.priorityClassName",
    ),
    _rule(
        r"RuntimeClass .*not found",
        "RuntimeClassNotFound",
        "create the RuntimeClass, or name another in spec.podTemplate.spec.runtimeClassName",
    ),
    _rule(r"because it is being terminated", "NamespaceTerminating", "the namespace is being deleted"),
    _rule(
        r"cannot create resource \"pods\"|cannot set blockOwnerDeletion",
        "NotPermitted",
        "give the operator's ServiceAccount this right: the Helm chart has the roles that it needs",
    ),
    _rule(
        r"admission webhook .* denied|ValidatingAdmissionPolicy",
        "AdmissionDenied",
        "change what the policy names in spec.podTemplate or spec.stages, or ask whoever runs the policy",
    ),
    _rule(r"request entity too large|too long: may not be more than", "PodTooLarge", "lower spec.unitsPerPod"),
)


REASONS: Final = tuple(sorted({REFUSAL, INVALID, NAME_TAKEN, *(rule.reason for rule in _RULES)}))
"""All reasons that there are."""


def is_final(error: ApiError) -> bool:
    """Whether the next attempt would end the same."""
    return error.status in _STATUSES


def explain(error: ApiError, stage: str) -> PodRefused:
    """What the refusal of a pod of a stage comes to."""
    said = _QUOTED.sub("", _SUBJECT.sub("", error.message))[:_LONGEST].rstrip(". ")
    for rule in _RULES:
        if rule.says.search(error.message):
            return PodRefused(rule.reason, f'stage "{stage}": {said}; {rule.advice}')
    if error.status in (400, 422):
        return PodRefused(INVALID, f'stage "{stage}": {said}; correct {_origin(error, stage)}')
    return PodRefused(REFUSAL, f'stage "{stage}": {said}')


def _origin(error: ApiError, stage: str) -> str:
    """The part of the spec that a field of the pod comes from."""
    fields = [str(cause.get("field", "")) for cause in error.details.get("causes") or ()]
    text = " ".join(fields) or error.message
    at = f"spec.stages[{stage}]"
    if ".resources" in text or "quantit" in text:
        return f"{at}.resources, spec.retry.roundOverrides or the resources in spec.podTemplate"
    if "nodeSelector" in text or "tolerations" in text:
        key = "nodeSelector" if "nodeSelector" in text else "tolerations"
        return f"{at}.{key}, spec.retry.roundOverrides or {key} in spec.podTemplate"
    if ".image" in text and "imagePull" not in text:
        return f"{at}.image"
    return f"spec.podTemplate, or podTemplate of {at}"
