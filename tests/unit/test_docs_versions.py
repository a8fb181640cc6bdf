"""Pages that tell versions tell those of the code, and what they keep copies of can be brought back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from carryon_core import names
from carryon_core.fingerprint import CONTRACT
from carryon_jobs.archive.members import VERSION as ARCHIVE
from carryon_worker.journal.segments import FORMAT as JOURNAL
from documents import ROOT


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_table_of_what_lies_in_the_bucket_has_the_versions_that_are_written() -> None:
    rows = dict(
        re.findall(r"^\| (contract|journals|archives)\b[^|]*\| (\d+) \|", page("how-to/upgrade.md"), re.MULTILINE)
    )
    assert rows == {"contract": str(CONTRACT), "journals": str(JOURNAL), "archives": str(ARCHIVE)}
    assert f"`format` ({JOURNAL})" in page("reference/checkpoints.md")


def test_the_release_in_the_table_of_what_goes_with_what_is_this_one() -> None:
    (version,) = re.findall(r'^version = "(\d+\.\d+)\.', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"| {version} | {version} | {version} | yes |" in page("how-to/upgrade.md")
    assert f"`{names.VERSION}`" in page("how-to/upgrade.md")


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
