"""A CRD of an earlier release takes away what it does not know, without a word: the operator finds it and says so."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_core import crd, names
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_operator.definition import Definition, sentence
from nodes import Machine
from reconciling import world

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD = Path(__file__).parents[2] / "crds" / "carryon.dev_generationjobs.yaml"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """An API server, without a node."""
    made = Machine(tmp_path)
    made.start_api()
    yield made
    made.close()


@pytest.fixture
async def client(machine: Machine) -> AsyncIterator[Client]:
    async with Client(Connection(server=machine.server, authorization="Bearer secret")) as made:
        yield made


def earlier() -> dict[str, Any]:
    """The CRD of a release that did not know three of today's fields."""
    made = copy.deepcopy(yaml.safe_load(CRD.read_text()))
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del properties["spec"]["properties"]["checkpoint"]["properties"]["everyBytes"]
    del properties["status"]["properties"]["stages"]["items"]["properties"]["images"]
    del properties["status"]["properties"]["gpuSeconds"]
    return dict(made)


async def test_an_operator_says_which_fields_the_crd_lacks_and_when_it_has_them(
    machine: Machine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "carryon_operator.definition")
    looking = Definition()
    await looking.look(client)
    assert caplog.messages == [], "a cluster without the CRD is told of elsewhere"

    made = machine.request("POST", CRDS, earlier())
    for _ in range(2):
        await looking.look(client)
    lacking = ["spec.checkpoint.everyBytes", "status.stages[].images", "status.gpuSeconds"]
    assert caplog.messages == [sentence(lacking)]
    assert "is of an earlier release than this operator: it lacks spec.checkpoint.everyBytes" in caplog.text
    assert "Apply the CRD of this operator's release" in caplog.text

    upgraded = crd.build()
    upgraded["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    machine.request("PUT", f"{CRDS}/{names.CRD_NAME}", upgraded)
    await looking.look(client)
    assert caplog.messages[1:] == [f"the CRD {names.CRD_NAME} has all fields now"]


def test_of_many_fields_the_first_are_named() -> None:
    said = sentence([f"status.f{number}" for number in range(7)])
    assert "it lacks status.f0, status.f1, status.f2, status.f3, status.f4 and 2 more. The API server" in said


async def test_a_field_that_only_a_later_crd_knows_is_named_and_what_to_do(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(brightness={"least": 3})
        await w.reconcile()
        assert w.ours() == []
        status, reason, message = w.claim("Accepted")
        assert (status, reason) == ("False", "InvalidSpec")
        assert message.startswith("spec.brightness: this operator does not know it")
        assert "upgrade the operator, or leave it out" in message
        assert "brightness" in json.dumps(w.status["conditions"])
