"""Our own OpenAPI, tried by Schemathesis: what it promises is what is answered, and nothing makes the API fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from carryon_api import app as application
from carryon_api.config import SETTINGS, Config
from carryon_api.problems import MEDIA_TYPE
from status_site import ADMIN, API, JOBS, RULES, Site, job

ROOT = Path(__file__).parents[3]
CONFIG = Path(__file__).parent / "schemathesis.toml"
# What the page sends with every request, so that signing in and out is tried too.
HEADERS = (f"Authorization: Bearer {ADMIN}", "X-Carryon: 1", "Sec-Fetch-Site: same-origin")
# A hundred times as many requests, and each manifest goes through all rules of the CRD.
MANIFESTS = "^(create|edit)_job$"


def tried(site: Site, *arguments: str) -> str:
    """What Schemathesis says of a site; all of it is right where it ends with 0."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    if site.ask("GET", f"{JOBS}/reel-42").status_code == 404:
        site.kube("POST", JOBS, job("reel-42"))
    command = [program, "--config-file", str(CONFIG), "run", f"{site.url}/openapi.json", "--generation-deterministic"]
    command += [part for header in HEADERS for part in ("-H", header)]
    ran = subprocess.run(
        [*command, "--no-color", "--suppress-health-check", "all", *arguments],
        cwd=site.folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(CONFIG.with_name("schemathesis_hooks.py"))},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    # A manifest may fill pages; what was wrong with it stands above it.
    assert ran.returncode == 0, re.sub(r"(?m)^(.{2000}).*$", r"\1...", ran.stdout)[-30000:]
    count = re.search(r"(\d+) generated", ran.stdout)
    assert count is not None, ran.stdout[-2000:]
    assert int(count[1]) > 20, "it tried next to nothing"
    return ran.stdout


def test_what_openapi_promises_is_what_is_answered(site: Site) -> None:
    tried(site, "--phases", "examples", "--exclude-operation-id-regex", "^delete_job$")
    assert site.ask("GET", f"{JOBS}/reel-42").status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_is_sent_every_route_answers_as_it_promises(site: Site) -> None:
    some = ("--max-examples", "25", "--phases", "examples,coverage,fuzzing,stateful")
    # Streams that are followed never end; the short run above asks for one that does.
    tried(site, *some, "--exclude-operation-id-regex", f"{MANIFESTS}|^delete_job$|^events$")
    tried(site, "--max-examples", "20", "--phases", "examples,fuzzing", "--include-operation-id-regex", MANIFESTS)
    tried(site, "--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--include-operation-id", "delete_job")


def test_every_operation_has_examples_and_says_what_may_go_wrong() -> None:
    made = application.create(Config()).openapi()
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["description"], where
            if operation.get("security") == [] and "session" not in path:
                continue
            assert {"401", "403", "429", "503"} <= set(operation["responses"]), where
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {MEDIA_TYPE}, f"{where} {status}"
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if content["schema"].get("format") == "binary":
                    continue
                assert "example" in content or "$ref" in str(content["schema"]), where
    names = [operation["operationId"] for each in made["paths"].values() for operation in each.values()]
    assert len(names) == len(set(names))


def test_the_manifests_schema_is_that_of_the_crd() -> None:
    schema = application.create(Config()).openapi()["components"]["schemas"]["GenerationJob"]
    assert schema["properties"]["spec"]["properties"]["stages"]["maxItems"] == 16
    assert "nullable" not in str(schema)
    assert "x-kubernetes" not in str(schema)


def test_the_roles_in_the_docs_are_enough_and_no_more() -> None:
    text = (ROOT / "docs" / "how-to" / "open-the-page-to-others.md").read_text()
    documents = [each for block in re.findall(r"```yaml\n(.*?)```", text, re.S) for each in yaml.safe_load_all(block)]
    (own,) = [each["rules"] for each in documents if set(each) == {"rules"}]
    changing = {"create", "update", "patch", "delete"}
    assert not any(changing & set(rule["verbs"]) for rule in own if "carryon.dev" in rule["apiGroups"])
    # What the tests' own API server gives to the API, but for impersonation.
    given = {(verb, name) for rule in RULES if rule.user == API for verb in rule.verbs for name in rule.resources}
    named = {(verb, name) for rule in own for verb in rule["verbs"] for name in rule["resources"]}
    assert named <= given


def test_the_docs_name_every_setting_that_there_is() -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for flag, _, _ in SETTINGS:
        assert f"`{flag}`" in text
    assert set(re.findall(r"carryon-api (--[a-z-]+)", text)) <= {flag for flag, _, _ in SETTINGS}
