"""Live events, over HTTP, from a real API server: what a page is told, and what it never is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carryon_api import reviews
from carryon_api.live import hub
from event_streams import EventSource
from status_site import ADMIN, EDITOR, JOBS, STRANGER, VIEWER, Rule, Site, job

ELSEWHERE = JOBS.replace("default", "elsewhere")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), replicas=2) as made:
        yield made


@pytest.fixture(autouse=True)
def no_jobs(site: Site) -> Iterator[None]:
    yield
    for path in (JOBS, ELSEWHERE):
        for each in site.kube("GET", path)["items"]:
            site.kube("DELETE", f"{path}/{each['metadata']['name']}")

    def gone() -> bool:
        return all(not list(app.state.cluster.jobs()) for app in site.apps)

    site.until(gone, "no jobs")


def listen(site: Site, token: str = VIEWER, last_id: str = "", replica: int = 0, **query: str) -> EventSource:
    return EventSource(site.http(token, replica), last_id, **query)


def known(site: Site, name: str, namespace: str = "default") -> None:
    """Wait until all replicas know a job."""
    site.until(lambda: all(app.state.cluster.job(namespace, name) for app in site.apps), f"{name} is known")


def test_a_page_is_told_of_all_jobs_and_then_of_every_change(site: Site) -> None:
    site.kube("POST", JOBS, job("first"))
    known(site, "first")
    with listen(site) as page:
        assert [each["name"] for each in page.kind("snapshot").data["jobs"]] == ["first"]
        site.kube("POST", JOBS, job("second"))
        page.job("second", phase="Pending")
        site.status("second", {"phase": "Running", "progress": "1/3"})
        told = page.job("second", phase="Running").data
        assert (told["progress"], told["namespace"]) == ("1/3", "default")
        assert told["actions"]["pause"]["possible"]
        uid = told["uid"]
        site.kube("DELETE", f"{JOBS}/second")
        assert page.kind("deleted").data == {"namespace": "default", "name": "second", "uid": uid}


def test_events_are_the_summaries_that_lists_show(site: Site) -> None:
    site.kube("POST", JOBS, job())
    known(site, "reel")
    with listen(site) as page, site.http(VIEWER) as http:
        assert page.kind("snapshot").data["jobs"] == http.get("/api/v1/jobs").json()["items"]


def test_a_page_hears_nothing_of_namespaces_its_reader_may_not_list(site: Site) -> None:
    site.kube("POST", ELSEWHERE, job("secret-before"))
    known(site, "secret-before", "elsewhere")
    with listen(site) as viewer, listen(site, STRANGER) as stranger, listen(site, ADMIN) as admin:
        viewer.kind("snapshot")
        site.kube("POST", ELSEWHERE, job("secret-after"))
        site.kube("POST", JOBS, job("open"))
        site.kube("DELETE", f"{ELSEWHERE}/secret-before")
        admin.kind("deleted")
        viewer.job("open")
        stranger.job("secret-after")
        stranger.kind("deleted")
        assert viewer.names() == {"open"}
        assert stranger.names() == {"secret-before", "secret-after"}
        assert admin.names() == {"open", "secret-before", "secret-after"}


def test_a_page_may_ask_for_one_namespace_or_one_job(site: Site) -> None:
    for path, name in ((JOBS, "a"), (JOBS, "b"), (ELSEWHERE, "c")):
        site.kube("POST", path, job(name))
    known(site, "b")
    known(site, "c", "elsewhere")
    with listen(site, ADMIN, namespace="elsewhere") as one, listen(site, ADMIN, job="default/a") as closely:
        assert {each["name"] for each in one.kind("snapshot").data["jobs"]} == {"c"}
        assert {each["name"] for each in closely.kind("snapshot").data["jobs"]} == {"a"}
        assert closely.kind("status").data["name"] == "a"
        site.status("b", {"phase": "Running"})
        site.status("a", {"phase": "Running"})
        closely.wait(lambda event: event.kind == "status" and event.data["phase"] == "Running")
        assert closely.names() == {"a"}
        assert one.names() == {"c"}


def test_a_stream_that_is_not_followed_ends_with_what_there_is(site: Site) -> None:
    site.kube("POST", JOBS, job())
    known(site, "reel")
    with site.http(VIEWER) as http:
        everything = http.get("/api/v1/events", params={"follow": "false"}).text
        closely = http.get("/api/v1/events", params={"follow": "false", "job": "default/reel"}).text
    assert everything.count("event: ") == everything.count("event: snapshot") == 1
    assert [line for line in closely.splitlines() if line.startswith("event")] == ["event: snapshot", "event: status"]


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        (None, {}, 401),
        ("expired", {}, 401),
        (STRANGER, {"namespace": "default"}, 403),
        (STRANGER, {"job": "default/reel"}, 403),
        (VIEWER, {"job": "default/nothing"}, 404),
        (VIEWER, {"job": "nothing"}, 422),
    ],
)
def test_a_page_that_may_not_listen_is_told_so(
    site: Site, token: str | None, query: dict[str, str], status: int
) -> None:
    with site.http(token) as http:
        answer = http.get("/api/v1/events", params=query)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_page_goes_on_where_it_was_on_any_replica(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.kube("POST", JOBS, job(name))
    known(site, "c")
    with listen(site) as warm, listen(site, replica=1) as other:
        # Both replicas have seen a change since they listed: they know what was deleted since.
        warm.kind("snapshot")
        other.kind("snapshot")
        site.status("a", {"phase": "Running"})
        warm.job("a", phase="Running")
        other.job("a", phase="Running")
        last = warm.last_id
    site.status("b", {"phase": "Running"})
    site.kube("DELETE", f"{JOBS}/c")
    site.until(lambda: site.apps[1].state.cluster.job("default", "c") is None, "c is gone")
    with listen(site, last_id=last, replica=1) as again:
        again.job("b", phase="Running")
        again.kind("deleted")
        assert not [event for event in again.events if event.kind == "snapshot"]
        assert again.names() <= {"a", "b", "c"}
    with listen(site, EDITOR, last_id=again.last_id) as same_rights:
        site.status("a", {"phase": "Suspended"})
        same_rights.job("a", phase="Suspended")
        assert not [event for event in same_rights.events if event.kind == "snapshot"]


@pytest.mark.parametrize("last_id", ["1", "999999999999-00000000", "nonsense", "-"])
def test_a_page_whose_last_event_nobody_can_place_begins_again(site: Site, last_id: str) -> None:
    site.kube("POST", JOBS, job())
    known(site, "reel")
    with listen(site, last_id=last_id) as page:
        assert page.kind("snapshot").data["jobs"]


def test_an_id_is_worth_nothing_to_a_reader_who_may_see_other_things(site: Site) -> None:
    site.kube("POST", JOBS, job("open"))
    site.kube("POST", ELSEWHERE, job("secret"))
    known(site, "open")
    known(site, "secret", "elsewhere")
    with listen(site) as viewer:
        viewer.kind("snapshot")
        site.status("open", {"phase": "Running"})
        viewer.job("open", phase="Running")
    with listen(site, ADMIN, last_id=viewer.last_id) as admin:
        assert {each["name"] for each in admin.kind("snapshot").data["jobs"]} == {"open", "secret"}


def test_what_is_taken_away_while_a_page_is_open_is_no_longer_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "REVIEW_SECONDS", 0.1)
    monkeypatch.setattr(hub, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(reviews, "ALLOWED_SECONDS", 0.1)
    given = Rule("guest", frozenset({"list", "get"}), ("generationjobs",), ("default",))
    site.rbac.tokens["guest"] = type(site.rbac.tokens[VIEWER])("guest")
    site.rbac.rules = (*site.rbac.rules, given)
    site.kube("POST", JOBS, job("open"))
    known(site, "open")
    with listen(site, "guest") as page:
        assert page.kind("snapshot").data["jobs"]
        site.rbac.rules = tuple(rule for rule in site.rbac.rules if rule is not given)
        page.wait(lambda event: event.kind == "snapshot" and not event.data["jobs"], "snapshot without jobs")
        site.status("open", {"phase": "Running"})
        site.rbac.rules = (*site.rbac.rules, given)
        page.wait(lambda event: event.kind == "snapshot" and [j["phase"] for j in event.data["jobs"]] == ["Running"])
        assert not [event for event in page.events if event.kind == "job"]


def test_a_page_ends_when_its_token_does(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "REVIEW_SECONDS", 0.1)
    monkeypatch.setattr(hub, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(reviews, "KNOWN_SECONDS", 0.1)
    site.rbac.tokens["brief"] = site.rbac.tokens[VIEWER]
    with listen(site, "brief") as page, listen(site) as lasting:
        page.kind("snapshot")
        del site.rbac.tokens["brief"]
        assert "sign in" in page.kind("expired").data["detail"]
        page.until_ended()
        site.kube("POST", JOBS, job())
        lasting.job("reel")


def test_a_quiet_page_hears_a_heartbeat(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_SECONDS", 0.2)
    with listen(site) as page:
        page.wait(lambda event: event.data == "heartbeat", "heartbeat")


def test_a_page_that_went_away_is_forgotten(site: Site) -> None:
    live = site.apps[0].state.live
    with listen(site) as page:
        page.kind("snapshot")
        assert live.hub.pages == 1
    site.until(lambda: live.hub.pages == 0, "the page is forgotten")


def test_every_page_counts_and_too_many_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryon_api.routes.events.STREAMS_OF_ONE", 2)
    with listen(site) as one, listen(site) as two:
        one.kind("snapshot")
        two.kind("snapshot")
        with site.http(VIEWER) as http:
            answer = http.get("/api/v1/events")
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        with listen(site, EDITOR) as other:
            other.kind("snapshot")


def test_streams_end_with_the_replica(tmp_path: Path) -> None:
    with Site(tmp_path) as own:
        page = listen(own).__enter__()
        page.kind("snapshot")
    page.until_ended()
