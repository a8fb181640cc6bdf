"""Signing in: by token, by cookie, by a proxy; and what another site can't make a browser do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from carryon_api.reviews import Access, Remembered
from status_site import API, EDITOR, EXPIRED, JOBS, VIEWER, Site, job

PAGE = {"X-Carryon": "1", "Sec-Fetch-Site": "same-origin"}
PAUSE = "/api/v1/namespaces/default/jobs/reel/pause"


@pytest.fixture(autouse=True)
def reel(site: Site) -> None:
    if site.ask("GET", f"{JOBS}/reel").status_code == 404:
        site.kube("POST", JOBS, job("reel"))


def sign_in(http: httpx.Client, token: str = EDITOR, **headers: str) -> httpx.Response:
    return http.post("/api/v1/session", json={"token": token}, headers={**PAGE, **headers})


def test_a_token_becomes_a_cookie_that_no_script_can_read(site: Site) -> None:
    with site.http() as http:
        answer = sign_in(http, Origin=site.url)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        port = site.url.rpartition(":")[2]
        assert cookie == f"carryon-session-{port}={EDITOR}; HttpOnly; Path=/; SameSite=strict"
        assert http.get("/api/v1/session").json()["user"] == EDITOR
        assert http.post(PAUSE, headers={**PAGE, "Origin": site.url}).status_code == 202
        assert http.delete("/api/v1/session", headers=PAGE).status_code == 204
        assert http.get("/api/v1/session").status_code == 401


def test_under_https_the_cookie_is_held_to_host_and_https(site: Site) -> None:
    """The browser says so itself: whatever ends TLS in between, the Origin of the page is what it sees."""
    with site.http() as http:
        host = site.url.removeprefix("http://")
        answer = sign_in(http, Origin=f"https://{host}")
    assert answer.headers["set-cookie"] == f"__Host-carryon-session={EDITOR}; HttpOnly; Path=/; SameSite=strict; Secure"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Carryon": "1"},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Carryon": "1", "Sec-Fetch-Site": "cross-site"},
        {"X-Carryon": "1", "Sec-Fetch-Site": "same-site"},
        {"X-Carryon": "1", "Origin": "https://evil.example.com"},
        {"X-Carryon": "1", "Origin": "null"},
        {"X-Carryon": "1", "Origin": "http://["},
        {"X-Carryon": "1", "Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:1"},
    ],
)
def test_another_site_can_change_nothing_by_the_cookie(site: Site, headers: dict[str, str]) -> None:
    with site.http() as http:
        sign_in(http)
        refused = http.post(PAUSE, headers=headers)
        assert refused.status_code == 403
        assert refused.json()["type"].endswith("/cross-site")
        assert http.get("/api/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_site_can_neither_sign_somebody_in_nor_out(site: Site, method: str) -> None:
    with site.http() as http:
        answer = http.request(method, "/api/v1/session", json={"token": EDITOR}, headers={"Origin": "https://evil"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_bearer_token_needs_no_more_than_itself(site: Site) -> None:
    with site.http(EDITOR, Origin="https://elsewhere.example.com") as http:
        assert http.post(PAUSE).status_code == 202


@pytest.mark.parametrize("token", [EXPIRED, "never known", "", "a\nb", "x" * 20_000])
def test_a_token_that_is_none_signs_nobody_in(site: Site, token: str) -> None:
    with site.http() as http:
        answer = sign_in(http, token)
    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers


def test_a_token_too_long_for_a_cookie_is_refused_with_a_reason(site: Site) -> None:
    site.rbac.tokens["y" * 5000] = site.rbac.tokens[EDITOR]
    with site.http() as http:
        answer = sign_in(http, "y" * 5000)
    assert answer.status_code == 422
    assert "too long for a cookie" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer a b", "bearer é".encode("latin-1")])
def test_credentials_of_another_form_are_refused(site: Site, header: Any) -> None:
    with site.http() as http:
        assert http.get("/api/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_a_token_that_ends_during_a_session_changes_nothing_any_more(site: Site) -> None:
    site.rbac.tokens["short-lived"] = site.rbac.tokens[EDITOR]
    with site.http("short-lived") as http:
        assert http.get("/api/v1/session").status_code == 200
        del site.rbac.tokens["short-lived"]
        # The API remembers it for a minute; Kubernetes does not, and that is where changes go.
        refused = http.post("/api/v1/namespaces/default/jobs", json=job("late"))
    assert refused.status_code == 401
    assert refused.json()["detail"] == "Kubernetes does not accept this token any more: sign in again"


PROXY = {"proxies": "127.0.0.1/32", "user_header": "x-forwarded-user", "groups_header": "x-forwarded-groups"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from carryon_api import config

    arguments = ["--trusted-proxies", "127.0.0.1", "--user-header", "X-Forwarded-User", "--groups-header", "X-Groups"]
    read = config.parse(arguments, {})
    names = ("proxies", "user_header", "groups_header")
    with Site(tmp_path_factory.mktemp("proxied"), **{name: getattr(read, name) for name in names}) as made:
        made.kube("POST", JOBS, job("reel"))
        yield made


def test_a_trusted_proxy_signs_its_users_in_with_their_own_rights(proxied: Site) -> None:
    with proxied.http(**{"X-Forwarded-User": VIEWER, "X-Groups": "artists, people"}, **PAGE) as http:
        assert http.get("/api/v1/session").json()["user"] == VIEWER
        assert http.post(PAUSE).status_code == 403
    with proxied.http(**{"X-Forwarded-User": EDITOR}, **PAGE) as http:
        assert http.post(PAUSE).json()["message"] == "Paused: 0 kept"
    with proxied.http(**{"X-Forwarded-User": EDITOR}) as http:
        assert http.post(PAUSE).status_code == 403, "a proxy's session is sent by browsers by themselves, too"


def test_a_proxy_can_not_make_anybody_a_part_of_kubernetes(proxied: Site) -> None:
    for headers in ({"X-Forwarded-User": "system:admin"}, {"X-Forwarded-User": "x", "X-Groups": "system:masters"}):
        with proxied.http(**headers) as http:
            assert http.get("/api/v1/session").status_code == 401


def test_without_a_trusted_proxy_its_header_means_nothing(site: Site) -> None:
    with site.http(**{"X-Forwarded-User": EDITOR}, **PAGE) as http:
        assert http.get("/api/v1/session").status_code == 401


def test_no_token_is_ever_logged_or_answered(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    token = "very-secret-token"
    with caplog.at_level(0), site.http(token) as http:
        answers = [http.get(path).text for path in ("/api/v1/session", "/api/v1/jobs", "/nothing")]
    assert token not in caplog.text
    assert not any(token in text or API in text for text in answers)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_is_asked_for_once_and_holds_for_its_time() -> None:
    clock, asked = Clock(), []
    kept: Remembered[str] = Remembered(clock)

    async def ask() -> str:
        asked.append(clock.now)
        return f"answer {len(asked)}"

    async def get(holds: Callable[[str], float] = lambda _: 10.0) -> str:
        return await kept.get("key", ask, holds)

    import asyncio

    assert await asyncio.gather(get(), get()) == ["answer 1", "answer 1"]
    clock.now = 9.9
    assert await get() == "answer 1"
    clock.now = 10.0
    assert await get() == "answer 2"


async def test_a_question_that_failed_is_asked_again() -> None:
    kept: Remembered[str] = Remembered(Clock())

    async def fail() -> str:
        raise ConnectionError

    async def ask() -> str:
        return "yes"

    with pytest.raises(ConnectionError):
        await kept.get("key", fail, lambda _: 10.0)
    assert await kept.get("key", ask, lambda _: 10.0) == "yes"


def test_access_is_told_in_the_words_of_roles() -> None:
    assert str(Access("patch", "art")) == 'patch generationjobs.carryon.dev in namespace "art"'
    assert str(Access("get", "art", "pods", "log")) == 'get pods/log in namespace "art"'
    assert str(Access("list", None)) == "list generationjobs.carryon.dev in any namespace"
