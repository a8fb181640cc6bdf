"""Who may do what: every route of the application, asked by everybody there is."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from carryon_api import app as application
from carryon_api.config import Config
from status_site import ADMIN, API, EDITOR, EXPIRED, JOBS, STRANGER, VIEWER, Site, job


class Needs(Enum):
    """What a route takes."""

    NOTHING = "may be asked by anybody"
    SIGN_IN = "shows each what they may see"
    READ = "takes the right to read jobs of the namespace"
    WRITE = "takes the right to change jobs of the namespace"
    CLUSTER = "takes a right that is not of a namespace"


J = "/api/v1/namespaces/{namespace}/jobs/{name}"
# Without an entry a new route fails the test below: nobody forgets to say who may use it.
ROUTES: dict[tuple[str, str], tuple[Needs, Any]] = {
    ("GET", "/livez"): (Needs.NOTHING, None),
    ("GET", "/readyz"): (Needs.NOTHING, None),
    ("GET", "/openapi.json"): (Needs.NOTHING, None),
    ("GET", "/metrics"): (Needs.CLUSTER, None),
    ("GET", "/api/v1/session"): (Needs.SIGN_IN, None),
    ("DELETE", "/api/v1/session"): (Needs.NOTHING, None),
    ("GET", "/api/v1/jobs"): (Needs.SIGN_IN, None),
    ("GET", "/api/v1/analytics"): (Needs.SIGN_IN, None),
    ("POST", "/api/v1/validate"): (Needs.SIGN_IN, job("new")),
    ("POST", "/api/v1/batch"): (
        Needs.READ,  # and for each job what the action takes: see test_a_batch_does_for_each_job_what_its_route_would
        {"action": "pause", "namespace": "default", "names": ["reel"]},
    ),
    ("POST", "/api/v1/namespaces/{namespace}/jobs"): (Needs.WRITE, job("new")),
    ("GET", J): (Needs.READ, None),
    ("PUT", J): (Needs.WRITE, job("reel")),
    ("DELETE", J): (Needs.WRITE, None),
    ("GET", f"{J}/process-status"): (Needs.READ, None),
    ("GET", f"{J}/resume-status"): (Needs.READ, None),
    ("GET", "/api/v1/events"): (Needs.SIGN_IN, None),
    ("GET", f"{J}/items"): (Needs.READ, None),
    ("GET", f"{J}/units"): (Needs.READ, None),
    ("GET", f"{J}/units/{{stage}}/{{item}}"): (Needs.READ, None),
    ("GET", f"{J}/units/{{stage}}/{{item}}/log"): (Needs.READ, None),
    ("GET", f"{J}/units/{{stage}}/{{item}}/artifacts/{{artifact:path}}"): (Needs.READ, None),
    ("GET", f"{J}/units/{{stage}}/{{item}}/previews/{{preview}}"): (Needs.READ, None),
    ("POST", f"{J}/pause"): (Needs.WRITE, {}),
    ("POST", f"{J}/resume"): (Needs.WRITE, {}),
    ("POST", f"{J}/restart"): (Needs.WRITE, None),
    ("POST", f"{J}/cancel"): (Needs.WRITE, None),
    ("POST", f"{J}/retry"): (Needs.WRITE, {}),
    ("POST", f"{J}/redo"): (Needs.WRITE, {"unit": "clip/0"}),
    ("POST", f"{J}/approve"): (Needs.WRITE, {"stage": "clip", "all": True}),
    ("GET", f"{J}/archive"): (Needs.READ, None),
    ("GET", f"{J}/download"): (Needs.READ, None),
    ("GET", f"{J}/support"): (Needs.READ, None),
    ("PUT", f"{J}/inputs/{{path:path}}"): (Needs.WRITE, {}),
    ("POST", "/api/v1/archives/inspect"): (Needs.SIGN_IN, {}),
    ("POST", "/api/v1/namespaces/{namespace}/archives"): (Needs.WRITE, {}),
}
# Signing in is how one becomes somebody: what it takes is a good token, and test_api_sessions shows that.
SIGNING_IN = ("POST", "/api/v1/session")
MAY = {
    Needs.NOTHING: (None, EXPIRED, STRANGER, VIEWER, EDITOR),
    Needs.SIGN_IN: (STRANGER, VIEWER, EDITOR),
    Needs.READ: (VIEWER, EDITOR),
    Needs.WRITE: (EDITOR,),
    Needs.CLUSTER: (),
}
CALLERS = (None, EXPIRED, STRANGER, VIEWER, EDITOR)


def routes_of() -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(application.create(Config()).routes):
        if isinstance(route.original_route, Mount):
            assert route.original_route.name == "page", f"who may see what is mounted at {route.path}?"
        else:
            for method in (route.methods or set()) - {"HEAD"}:
                yield method, route.path or ""


def test_every_route_says_who_may_use_it() -> None:
    assert set(routes_of()) - {SIGNING_IN} == set(ROUTES)


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller or "anonymous")
@pytest.mark.parametrize(("method", "path"), list(ROUTES), ids=lambda part: part.removeprefix("/api/v1/"))
def test_a_route_answers_those_who_may_use_it_and_nobody_else(
    site: Site, method: str, path: str, caller: str | None
) -> None:
    needs, body = ROUTES[method, path]
    _there(site)
    # An expired session signs out like any other; but without the header of the page nobody is signed out.
    headers = {"X-Carryon": "1", "Sec-Fetch-Site": "same-origin"} if needs is Needs.NOTHING else {}
    with site.http(caller, **headers) as http:
        named = path.replace(":path", "").format(namespace="default", name="reel", **_PARTS)
        answer = http.request(method, named, json=body, params=_QUERIES.get(path))
    if caller in MAY[needs]:
        assert answer.status_code not in (401, 403), answer.text
        assert answer.status_code < 500, answer.text
    else:
        assert answer.status_code == (401 if caller in (None, EXPIRED) else 403), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")


_PARTS: dict[str, str] = {
    "stage": "clip",
    "item": "0",
    "artifact": "clip.mp4",
    "preview": "000.0123456789ab.mp4",
    "path": "a.png",
}
_QUERIES: dict[str, dict[str, str]] = {"/api/v1/events": {"follow": "false"}}


def _there(site: Site) -> None:
    """A job, whatever was done to the last one."""
    if site.ask("GET", f"{JOBS}/reel").status_code == 404:
        site.kube("POST", JOBS, job("reel"))
    site.ask("DELETE", f"{JOBS}/new")


def test_whether_a_job_exists_is_not_told_to_those_who_may_not_read_it(site: Site) -> None:
    _there(site)
    with site.http(STRANGER) as http:
        there, absent = (http.get(f"/api/v1/namespaces/default/jobs/{name}") for name in ("reel", "none"))
    assert there.status_code == absent.status_code == 403
    assert there.json()["detail"] == absent.json()["detail"]


def test_lists_show_each_caller_only_what_they_may_list(site: Site) -> None:
    _there(site)
    elsewhere = JOBS.replace("default", "elsewhere")
    site.kube("POST", elsewhere, job("secret-film"))

    def names(token: str) -> set[str]:
        with site.http(token) as http:
            return {each["name"] for each in http.get("/api/v1/jobs").json()["items"]}

    site.until(lambda: names(ADMIN) >= {"reel", "secret-film"}, "both are known")
    assert names(STRANGER) == {"secret-film"}
    assert "secret-film" not in names(VIEWER)
    with site.http(STRANGER) as http:
        assert http.get("/api/v1/analytics").json()["jobs"]["total"] == 1
        assert http.get("/api/v1/session").json()["namespaces"] == ["elsewhere"]


def test_a_batch_does_for_each_job_what_its_route_would(site: Site) -> None:
    _there(site)
    body = {"action": "pause", "namespace": "default", "names": ["reel", "none"]}
    with site.http(VIEWER) as http:
        results = http.post("/api/v1/batch", json=body).json()["results"]
    assert [each["outcome"] for each in results] == ["forbidden", "forbidden"]


def test_the_api_itself_may_not_change_a_job(site: Site) -> None:
    """So that nothing it does for a caller could go beyond that caller's rights."""
    assert site.ask("PATCH", f"{JOBS}/reel", {"spec": {"suspend": True}}, API).status_code == 403


def test_what_kubernetes_refuses_to_the_api_is_not_blamed_on_the_caller(tmp_path: Any) -> None:
    with Site(tmp_path) as own:
        own.rbac.rules = tuple(rule for rule in own.rbac.rules if "tokenreviews" not in rule.resources)
        with own.http(EDITOR) as http:
            answer = http.get("/api/v1/jobs")
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith("its service account needs the right to create tokenreviews")


def test_jobs_outside_of_the_namespaces_that_are_shown_are_out_of_reach(tmp_path: Any) -> None:
    with Site(tmp_path, namespaces=("elsewhere",)) as own:
        own.kube("POST", JOBS, job("reel"))
        with own.http(ADMIN) as http:
            path = "/api/v1/namespaces/default/jobs"
            assert http.get(f"{path}/reel").status_code == 404
            assert http.post(f"{path}/reel/pause").status_code == 404
            assert http.post(path, json=job("new")).status_code == 404
            assert http.get("/api/v1/session").json()["namespaces"] == ["elsewhere"]
