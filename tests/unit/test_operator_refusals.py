"""Why the API server takes no pod: a reason to act on and a sentence that says how, for each thing that refuses."""

from __future__ import annotations

import pytest

from carryon_kube.errors import from_status
from carryon_operator.refusals import PodRefused, explain, is_final

FORBIDDEN = 'pods "reel-0123456789-1" is forbidden: '
INVALID = 'Pod "reel-0123456789-1" is invalid: '


def refused(message: str, code: int = 403, *fields: str) -> PodRefused:
    causes = {"causes": [{"reason": "FieldValueInvalid", "field": field} for field in fields]}
    return explain(from_status({"code": code, "message": message, "details": causes}), "clip")


@pytest.mark.parametrize(
    ("message", "reason", "advice"),
    [
        (
            "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=4, limited:"
            " requests.nvidia.com/gpu=4",
            "QuotaExceeded",
            "lower spec.parallelism",
        ),
        (
            "failed quota: gpus: must specify limits.cpu for: worker; limits.memory for: worker",
            "ResourcesMissing",
            "spec.stages[].resources",
        ),
        (
            "[maximum cpu usage per Container is 2, but limit is 4, minimum memory usage per Pod is 1Gi]",
            "LimitRangeExceeded",
            "spec.stages[].resources",
        ),
        (
            "memory max limit to request ratio per Pod is 1, but provided ratio is 2.0",
            "LimitRangeExceeded",
            "spec.stages[].resources",
        ),
        (
            'violates PodSecurity "restricted:latest": restricted volume types (volume "models" uses restricted volume'
            ' type "nfs")',
            "PodSecurityViolated",
            "spec.podTemplate",
        ),
        (
            'error looking up service account default/writer: serviceaccount "writer" not found',
            "ServiceAccountNotFound",
            "spec.podTemplate.spec.serviceAccountName",
        ),
        ("no PriorityClass with name low was found", "PriorityClassNotFound", "priorityClassName"),
        ('pod rejected: RuntimeClass "nvidia" not found', "RuntimeClassNotFound", "runtimeClassName"),
        (
            "unable to create new content in namespace default because it is being terminated",
            "NamespaceTerminating",
            "being deleted",
        ),
        (
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on",
            "NotPermitted",
            "ServiceAccount",
        ),
    ],
)
def test_what_admission_refuses_has_its_own_reason_and_what_to_do(message: str, reason: str, advice: str) -> None:
    refusal = refused(FORBIDDEN + message)
    assert refusal.reason == reason
    assert str(refusal).startswith(f'stage "clip": {message}; ')
    assert advice in str(refusal).removeprefix(f'stage "clip": {message}; ')


def test_the_operators_own_missing_right_is_told_as_that() -> None:
    account = "system:serviceaccount:carryon:operator"
    message = f'pods is forbidden: User "{account}" cannot create resource "pods" in API group "" in the namespace "a"'
    assert refused(message).reason == "NotPermitted"


def test_a_webhook_that_denies_is_named() -> None:
    message = 'admission webhook "policy.example.com" denied the request: images must come from our registry'
    for code in (400, 403):
        refusal = refused(message, code)
        assert refusal.reason == "AdmissionDenied"
        assert message in str(refusal)


@pytest.mark.parametrize(
    ("field", "origin"),
    [
        ("spec.containers[0].resources.limits[memory]", "spec.stages[clip].resources"),
        ("spec.tolerations[0].effect", "spec.stages[clip].tolerations"),
        ("spec.nodeSelector", "spec.stages[clip].nodeSelector"),
        ("spec.containers[0].image", "spec.stages[clip].image"),
        ("spec.volumes[0].persistentVolumeClaim.claimName", "spec.podTemplate"),
        ("metadata.labels", "spec.podTemplate"),
    ],
)
def test_a_field_that_is_wrong_is_traced_back_to_the_spec(field: str, origin: str) -> None:
    refusal = refused(f'{INVALID}{field}: Invalid value: "x"', 422, field)
    assert refusal.reason == "InvalidPod"
    assert str(refusal).startswith(f'stage "clip": {field}: Invalid value: "x"; correct {origin}')


def test_what_a_server_quotes_of_a_pod_is_not_told() -> None:
    message = (
        'Pod in version "v1" cannot be handled as a Pod: v1.Toleration.Key: ReadString: expects " or n, but found 1,'
        ' error found in #10 byte of ...|"value":"{prompt: a castle}"|..., bigger context ...|more of it|...'
    )
    assert "castle" not in str(refused(message, 400))
    assert "v1.Toleration.Key" in str(refused(message, 400))


def test_refusals_of_many_pods_are_one_sentence() -> None:
    both = {str(refused(f'pods "reel-{each}" is forbidden: exceeded quota: gpus')) for each in ("a-1", "b-7")}
    assert len(both) == 1


def test_a_refusal_that_nobody_foresaw_is_told_as_it_came() -> None:
    refusal = refused("something new " * 200)
    assert refusal.reason == "PodRefused"
    assert 'stage "clip": something new' in str(refusal)
    assert len(str(refusal)) < 1000


def test_a_pod_that_is_too_large_says_what_makes_it_so() -> None:
    assert refused("Request entity too large: limit is 3145728", 413).reason == "PodTooLarge"


@pytest.mark.parametrize(("code", "final"), [(400, True), (403, True), (413, True), (422, True), (409, False)])
def test_only_what_fails_again_is_a_refusal(code: int, final: bool) -> None:
    assert is_final(from_status({"code": code})) == final
