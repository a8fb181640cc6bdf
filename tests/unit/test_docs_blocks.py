"""Every code block of the documentation that is no command is read by whatever would read it."""

from __future__ import annotations

import ast
import copy
import csv
import importlib
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from carryon_core import crd, names
from carryon_core.done import Done
from carryon_core.notifications import Notification
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_jobs.archive.members import parse_manifest
from carryon_operator.notify.message import payload
from carryon_standalone.apiserver.schema import Structural
from chart_release import loaded
from command_rules import RULES
from documents import ROOT, Block, Unreadable, blocks, commands, read_blocks
from other_kinds import wrong

READ_ELSEWHERE = {"sh": "test_docs_commands.py", "console": "test_docs_commands.py", "mermaid": "test_diagrams.py"}
LANGUAGES = {*READ_ELSEWHERE, "csv", "dockerfile", "json", "python", "text", "toml", "yaml"}
LATEST = "1.37"
"""Of Kubernetes, whose schemas there are."""

Object = dict[str, Any]


def of(language: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in blocks() if block.language == language]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in blocks()])
def test_every_block_says_in_which_language_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, "say which, so that something reads it; `text` is for what nobody types"
    if block.language in READ_ELSEWHERE:
        assert [*ROOT.glob(f"tests/*/{READ_ELSEWHERE[block.language]}")]


# -- YAML


def documents(block: Block) -> list[Any]:
    return [each for each in yaml.safe_load_all(block.text) if each is not None]


def is_manifest(document: Any) -> bool:
    return isinstance(document, dict) and "kind" in document


def manifests() -> Iterator[Any]:
    """Every object that is shown, those that commands apply included."""
    texts = [(block.name, block.text) for block in blocks() if block.language == "yaml"]
    for block in blocks():
        if block.language in ("sh", "console"):
            texts += [(block.name, each.stdin) for each in commands(block.text) if each.stdin is not None]
    for name, text in texts:
        for document in yaml.safe_load_all(text):
            if is_manifest(document):
                yield pytest.param(document, id=f"{name}-{document['kind']}-{document['metadata']['name']}")


MANIFESTS = [*manifests()]
JOBS = [each for each in MANIFESTS if each.values[0]["kind"] == names.KIND]


@cache
def schema() -> Any:
    return crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def structural(node: Any) -> Structural:
    made, _ = Structural.compile(node, "schema")
    assert made is not None
    return made


@cache
def of_a_job() -> Structural:
    return structural(schema())


def refused(job: Object) -> list[Any]:
    """What the API server would say against a job: fields that it does not know, and what is wrong with the others."""
    held = copy.deepcopy(job)
    # Metadata are the same of every kind.
    unknown = wrong({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held["metadata"]}, LATEST)
    unknown += of_a_job().prune(held)
    of_a_job().default(held)
    return [*unknown, *of_a_job().validate(held)]


@pytest.mark.parametrize("job", JOBS)
def test_every_job_that_is_shown_would_be_accepted(job: Object) -> None:
    assert refused(job) == []
    spec = JobSpec.model_validate(job["spec"])
    # What the rows of a job's data hold, its page says in words.
    if spec.items.from_ is None:
        assert resolve("default", job["metadata"]["name"], spec).warnings == ()


@pytest.mark.parametrize("manifest", [each for each in MANIFESTS if each not in JOBS])
def test_every_other_object_that_is_shown_is_what_its_kind_is(manifest: Object) -> None:
    assert wrong(manifest, LATEST) == []


def nodes(node: Any) -> Iterator[Any]:
    """Every object in the schema of a job, without what must be there."""
    if "properties" in node:
        yield {key: value for key, value in node.items() if key not in ("required", "x-kubernetes-validations")}
        for inner in node["properties"].values():
            yield from nodes(inner)
    elif isinstance(node.get("items", node.get("additionalProperties")), dict):
        yield from nodes(node.get("items", node.get("additionalProperties")))


def fits(fragment: Any, node: Any) -> bool:
    """Whether a part of a job can stand at a place of it."""
    held = copy.deepcopy(fragment)
    made = structural(node)
    return made.prune(held) == [] and made.validate(held) == []


def belongs(fragment: Any) -> str | None:
    """Where a part of something could stand; None where nowhere."""
    if isinstance(fragment, list):
        return "list" if all(belongs(each) == "job" for each in fragment) else None
    if set(fragment) == {"rules"}:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}}
        return None if wrong({**role, **fragment}, LATEST) else "role"
    if any(fits(fragment, node) for node in nodes(schema()["properties"]["spec"])):
        return "job"
    try:
        loaded().validate_schema(fragment)
    except helm_python.HelmError:
        return None
    return "values"


PARTS = [
    pytest.param(document, id=block.name)
    for block in blocks()
    if block.language == "yaml"
    for document in documents(block)
    if not is_manifest(document)
]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_job_or_of_the_charts_values_could_stand_there(part: Any) -> None:
    assert belongs(part) is not None


@pytest.mark.parametrize(
    "part",
    [
        {"defaultStore": {"url": "s3://renders"}},
        {"operator": {"maxPod": 7}},
        {"scheduler": {"class": 7}},
        {"scheduler": {"klass": "EulerDiscreteScheduler"}},
        {"retry": {"perUnit": "three"}},
        {"rules": [{"apiGroups": ["carryon.dev"], "resource": ["generationjobs"], "verbs": ["get"]}]},
        [{"name": "clip", "generator": {}}],
    ],
)
def test_a_part_that_could_stand_nowhere_is_seen(part: Any) -> None:
    assert belongs(part) is None


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_misspelt_field_of_an_object_is_seen(manifest: Object) -> None:
    for place in [manifest, *(each for each in manifest.values() if isinstance(each, dict))]:
        if place is manifest.get("data") or place is manifest.get("stringData"):
            continue
        place["mispelt"] = 1
        try:
            if manifest["kind"] == names.KIND:
                assert refused(manifest) != []
            else:
                assert wrong(manifest, LATEST) != []
        finally:
            del place["mispelt"]


# -- the others


def sent_to_webhooks(shown: Object) -> Object:
    """The event that is sent of a job which stands as one that is shown says."""
    data = shown["data"]
    job = {
        "metadata": {key: data[key] for key in ("namespace", "name", "uid")},
        "status": {"time": {"started": data["started"]}},
    }
    told = Notification.model_validate(
        {
            **{key: data[key] for key in ("condition", "reason", "phase", "units")},
            **{key: shown[key] for key in ("id", "time")},
            "hook": 0,
            "url": "0a",
            "state": "Pending",
        }
    )
    made: Object = json.loads(payload(job, told, data["url"].partition("/#")[0]))
    return made


@pytest.mark.parametrize("block", of("json"))
def test_json_that_is_shown_is_a_record_of_ours(block: Block) -> None:
    shown = json.loads(block.text)
    if "fingerprint" in shown:
        read = Done.model_validate(shown).model_dump(by_alias=True, mode="json")
        assert {**read, **shown} == read
    elif "specversion" in shown:
        assert sent_to_webhooks(shown) == shown
    else:
        parsed = parse_manifest(block.text.encode()).model_dump(by_alias=True, mode="json")
        assert parsed.keys() >= shown.keys()


@pytest.mark.parametrize("block", of("python"))
def test_python_that_is_shown_compiles_and_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []
        elif isinstance(node, ast.Import):
            for each in node.names:
                importlib.import_module(each.name)


@pytest.mark.parametrize("block", of("toml"))
def test_toml_that_is_shown_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("csv"))
def test_a_table_that_is_shown_has_rows_of_one_width(block: Block) -> None:
    rows = [*csv.reader(io.StringIO(block.text))]
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("block", of("dockerfile"))
def test_a_dockerfile_that_is_shown_is_one(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(block.text)
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None
    # A wheel is copied by its name, and pip's cache lies in a layer that its reader may drop.
    subprocess.run([program, "--ignore", "DL3042", str(file)], check=True, timeout=60)


@pytest.mark.parametrize("block", of("text"))
def test_nothing_that_people_type_hides_in_a_block_of_text(block: Block) -> None:
    typed = [line for line in block.text.split("\n") if re.match(r"\$ |(?:" + "|".join(RULES) + r")\s+[a-z-]", line)]
    assert typed == [], "a command: say `sh` or `console`"


def test_a_block_that_nothing_would_read_is_seen() -> None:
    (plain,) = read_blocks(Path("page.md"), "```\nx\n```\n")
    assert plain.language not in LANGUAGES
    (indented,) = read_blocks(Path("page.md"), "1. a\n\n    ```sh\n    x\n    ```\n")
    assert (indented.language, indented.text) == ("sh", "x\n")
    for unreadable in ("~~~\nx\n~~~\n", "````\nx\n````\n", "```sh\nx\n"):
        with pytest.raises(Unreadable):
            [*read_blocks(Path("page.md"), unreadable)]
