"""Reviews: answers and refusals as Kubernetes gives them."""

from __future__ import annotations

from typing import Any

import pytest

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
OWN = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
OWN_RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
MYSELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
LOCAL = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
CREATE_PODS = {"verb": "create", "resource": "pods", "namespace": "default"}


def test_a_token_review_without_token_is_refused(server: Any) -> None:
    answer = server.request("POST", TOKENS, {"spec": {}})
    assert (answer.status, answer.message) == (400, "token is required for TokenReview in authentication")


@pytest.mark.parametrize(
    ("path", "spec", "message"),
    [
        (OWN, {}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (ACCESS, {"resourceAttributes": CREATE_PODS}, "at least one of user or group must be specified"),
        (
            ACCESS,
            {"user": "x", "resourceAttributes": CREATE_PODS, "nonResourceAttributes": {"path": "/", "verb": "get"}},
            "cannot be specified in combination with resourceAttributes",
        ),
        (
            LOCAL,
            {"user": "x", "resourceAttributes": {**CREATE_PODS, "namespace": "other"}},
            "must match metadata.namespace",
        ),
        (LOCAL, {"user": "x", "nonResourceAttributes": {"path": "/"}}, "disallowed on this kind of request"),
    ],
)
def test_a_review_that_can_not_be_answered_is_refused(server: Any, path: str, spec: Any, message: str) -> None:
    answer = server.request("POST", path, {"spec": spec})
    assert answer.status == 422
    assert message in answer.message


def test_nonsense_is_no_failure_of_the_server(server: Any) -> None:
    for path in (TOKENS, ACCESS, OWN):
        for spec in ({"token": 7}, {"user": []}, {"resourceAttributes": "x"}, {"groups": {"a": 1}}, 3):
            answer = server.request("POST", path, {"spec": spec})
            assert answer.status in (400, 422), answer.body


def test_whoever_asks_learns_who_they_are_and_what_they_may(server: Any) -> None:
    assert server.create(MYSELF, {})["status"]["userInfo"]["username"]
    rules = server.create(OWN_RULES, {"spec": {"namespace": "default"}})["status"]
    assert {"resourceRules", "nonResourceRules", "incomplete"} <= set(rules)
    refused = server.request("POST", OWN_RULES, {"spec": {}})
    assert (refused.status, refused.message) == (400, "no namespace on request")
