"""Who may ask: whoever has the token, under a name of this machine."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    "authorization", ["", "Bearer wrong", "Bearer", "Basic Y2FycnlvbjphLXRva2Vu", "Digest a-token"]
)
def test_without_the_token_nothing_is_told(server: Any, authorization: str) -> None:
    for path in ("/api", "/apis", "/api/v1/secrets", "/openapi/v3", "/", "/nowhere"):
        answer = server.request("GET", path, Authorization=authorization)
        assert (answer.status, answer.json()["reason"]) == (401, "Unauthorized")
    for path in ("/healthz", "/livez", "/readyz", "/version", "/version/"):
        assert server.request("GET", path, Authorization=authorization).status == 200


def test_a_rebound_host_name_is_refused(server: Any) -> None:
    assert server.request("GET", "/api", Host="evil.example.com").status == 403
    assert server.request("GET", "/healthz", Host="evil.example.com:80").status == 403
    assert server.request("GET", "/api", Host="localhost:1").status == 200
