"""Whom the owner's token belongs to, and what others may where there are others."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_standalone.apiserver.access import Attributes, OneToken, User
from status_site import ADMIN, API, EDITOR, JOBS, STRANGER, VIEWER, Site, job

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
OWN = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
CREATE_PODS = {"verb": "create", "resource": "pods", "namespace": "default"}


def test_the_owners_token_is_known_and_no_other(server: Any) -> None:
    known = server.create(TOKENS, {"spec": {"token": "a-token"}})["status"]
    assert known["authenticated"] is True
    assert known["user"] == {"username": "carryon:admin", "groups": ["system:masters", "system:authenticated"]}
    assert known["audiences"] == ["https://kubernetes.default.svc.cluster.local"]
    # As a real server has it: what is false is left out.
    assert server.create(TOKENS, {"spec": {"token": "other"}})["status"] == {
        "user": {},
        "error": "invalid bearer token",
    }


def test_a_token_is_not_good_for_another_audience(server: Any) -> None:
    review = {"spec": {"token": "a-token", "audiences": ["vault"]}}
    assert "authenticated" not in server.create(TOKENS, review)["status"]


@pytest.mark.parametrize("path", [ACCESS, OWN])
def test_the_owner_may_do_everything(server: Any, path: str) -> None:
    spec = {"user": "carryon:admin", "resourceAttributes": CREATE_PODS}
    assert server.create(path, {"spec": spec})["status"] == {"allowed": True}


def test_nobody_else_may_do_anything(server: Any) -> None:
    spec = {"user": "somebody", "groups": ["system:authenticated"], "resourceAttributes": CREATE_PODS}
    assert server.create(ACCESS, {"spec": spec})["status"] == {"allowed": False}
    masters = {"groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    assert server.create(ACCESS, {"spec": masters})["status"] == {"allowed": True}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Site(tmp_path_factory.mktemp("site")) as made:
        made.kube("POST", JOBS, job())
        yield made


def test_a_server_with_several_users_refuses_what_rules_do_not_allow(site: Site) -> None:
    assert site.ask("GET", f"{JOBS}/reel", token=VIEWER).status_code == 200
    refused = site.ask("PATCH", f"{JOBS}/reel", {"spec": {"suspend": True}}, VIEWER)
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'generationjobs.carryon.dev "reel" is forbidden: User "viewer" cannot patch resource "generationjobs" in API'
        ' group "carryon.dev" in the namespace "default"'
    )
    assert site.ask("GET", JOBS, token=STRANGER).status_code == 403
    assert site.ask("DELETE", JOBS, token=EDITOR).status_code == 403
    assert site.ask("GET", JOBS, token="nobody").status_code == 401


def test_one_who_may_impersonate_has_the_rights_of_the_other(site: Site) -> None:
    as_viewer = {"Impersonate-User": VIEWER}
    assert site.ask("GET", f"{JOBS}/reel", None, API, **as_viewer).status_code == 200
    refused = site.ask("PATCH", f"{JOBS}/reel", {"spec": {}}, API, **as_viewer)
    assert 'User "viewer" cannot patch' in refused.json()["message"]
    assert site.ask("GET", f"{JOBS}/reel", None, EDITOR, **{"Impersonate-User": ADMIN}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", JOBS, "list"),
        ("GET", f"{JOBS}?watch=true", "watch"),
        ("GET", f"{JOBS}/reel", "get"),
        ("POST", JOBS, "create"),
        ("PUT", f"{JOBS}/reel", "update"),
        ("PATCH", f"{JOBS}/reel/status", "patch"),
        ("DELETE", JOBS, "deletecollection"),
    ],
)
def test_requests_are_known_by_their_verbs(site: Site, method: str, path: str, verb: str) -> None:
    assert f"cannot {verb} resource" in site.ask(method, path, {}, STRANGER).json()["message"]


def test_the_owners_token_opens_everything() -> None:
    one = OneToken("t")
    assert one.user_of("t") == one.owner
    assert one.user_of("") is None
    assert one.allows(one.owner, Attributes("delete", resource="nodes"))
    assert not one.allows(User("x", ("system:authenticated",)), Attributes("get", resource="pods"))


def test_logs_have_a_right_of_their_own(site: Site) -> None:
    answer = site.ask("GET", "/api/v1/namespaces/elsewhere/pods/x/log", token=EDITOR)
    assert 'cannot get resource "pods/log"' in answer.json()["message"]
