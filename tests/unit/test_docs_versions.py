"""Pages tell the versions that the code writes, and what they have people keep can be brought back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from carryon_core import names
from carryon_worker.journal.segments import FORMAT as JOURNAL
from documents import ROOT


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_format_of_journals_on_their_page_is_that_which_is_written() -> None:
    assert f"`format` ({JOURNAL})" in page("reference/checkpoints.md")


@pytest.mark.skipif(shutil.which("jq") is None, reason="install jq for it")
def test_the_copy_of_jobs_that_the_page_has_people_keep_can_be_applied_again() -> None:
    (line,) = re.findall(r"jq '(.*?)' > jobs.json", page("how-to/disaster-recovery.md"))
    (hello,) = yaml.safe_load_all((ROOT / "examples/hello.yaml").read_text())
    of_the_server: dict[str, Any] = {"uid": "1", "resourceVersion": "7", "generation": 3, "managedFields": [{}]}
    of_the_server["annotations"] = {names.ANNOTATION_RESUME: "yesterday"}
    kept = {"namespace": "film", "name": "hello", "labels": {"a": "b"}}
    job: dict[str, Any] = {
        **hello,
        "metadata": {**of_the_server, **kept},
        "status": {"phase": "Running"},
    }
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [job], "metadata": {"resourceVersion": ""}})
    ran = subprocess.run(["jq", line], input=listed, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ran.stdout)["items"] == [{**hello, "metadata": kept}]
