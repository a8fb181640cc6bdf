"""How long the rest of a list is kept for whoever asks for it."""

from __future__ import annotations

import base64
import json
from typing import Any

from carryon_standalone.apiserver.errors import ApiError
from carryon_standalone.apiserver.pages import KEPT_SECONDS, LISTS_MOST, Pages


def test_lists_are_kept_for_a_while_and_never_too_many() -> None:
    now = 0.0
    pages = Pages(clock=lambda: now)
    found: Any = list("abc")
    tokens = [pages.first(("maps",), found, 7, 1).token for _ in range(LISTS_MOST + 1)]

    def expired(token: str) -> bool:
        try:
            pages.next(("maps",), token, 1)
        except ApiError as error:
            return (error.code, error.reason) == (410, "Expired")
        return False

    assert [token for token in tokens if expired(token)] == tokens[:1]
    now = KEPT_SECONDS
    assert all(map(expired, tokens))
    assert json.loads(base64.urlsafe_b64decode(tokens[0] + "=="))["rv"] == 7
