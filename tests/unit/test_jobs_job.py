"""A job as its own commands and the API see it."""

from __future__ import annotations

import base64

import pytest

from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import Job

NAMED = {
    "metadata": {"name": "reel", "namespace": "film"},
    "spec": {
        "items": {"count": 1},
        "stages": [{"name": "clip", "generate": {"command": {"args": ["true"]}}}],
        "output": {"uri": "s3://bucket/clips", "credentialsSecret": {"name": "s3"}},
    },
}


@pytest.mark.parametrize("key", [b"key\n", b"\xff\xfe", b""])
def test_keys_that_are_none_are_one_sentence(key: bytes) -> None:
    secret = {"AWS_ACCESS_KEY_ID": base64.b64encode(key).decode(), "AWS_SECRET_ACCESS_KEY": "a2V5"}
    with pytest.raises(OutOfReach, match=r'^(AWS_ACCESS_KEY_ID in )?Secret "s3" .*(set it again|add it)'):
        _ = Job(NAMED, lambda _: secret).keys
