"""Settings: a flag goes before its variable, and what is wrong is said in one sentence."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path, PurePosixPath

import pytest

from carryon_core.messages import StoreConfig
from carryon_operator.config import Address, Config, Election, own_namespace, parse
from carryon_operator.kube.election import Terms
from carryon_operator.notify.addresses import Allowed
from carryon_operator.plan.shares import Caps


def test_nothing_set_gives_the_defaults() -> None:
    assert parse([], {}) == Config()


def test_every_setting_can_come_from_the_environment() -> None:
    config = parse(
        [],
        {
            "KUBECONFIG": "/etc/kubeconfig",
            "CARRYON_NAMESPACES": "studio, lab",
            "CARRYON_WORKERS": "4",
            "CARRYON_QPS": "7.5",
            "CARRYON_BURST": "9",
            "CARRYON_MAX_PODS": "200",
            "CARRYON_MAX_PODS_PER_JOB": "50",
            "CARRYON_WORKER_IMAGE": "worker:2",
            "CARRYON_DEFAULT_STORE": "s3://media/jobs/",
            "CARRYON_DEFAULT_STORE_ENDPOINT": "https://minio.example",
            "CARRYON_DEFAULT_STORE_REGION": "eu-west-1",
            "CARRYON_FILE_ROOT": "/srv/out",
            "CARRYON_AMBIENT_CREDENTIALS": "true",
            "CARRYON_DEFAULT_RESOURCES": '{"limits": {"nvidia.com/gpu": "1"}}',
            "CARRYON_HEALTH": "[::1]:8081",
            "CARRYON_VERIFY_INTERVAL": "90s",
            "CARRYON_ENDED_VERIFY_INTERVAL": "12h",
            "CARRYON_ITEMS_INTERVAL": "5m",
            "CARRYON_NOTIFY_ALLOW": "10.0.0.0/8, relay.studio.svc",
            "CARRYON_NOTIFY_PROXY": "http://proxy.example:3128",
            "CARRYON_PAGE_URL": "https://carryon.example/",
            "CARRYON_LEADER_ELECT": "true",
            "CARRYON_LEASE_NAME": "mine",
            "CARRYON_LEASE_NAMESPACE": "carryon",
            "CARRYON_LEASE_DURATION": "60s",
            "CARRYON_RENEW_DEADLINE": "40s",
            "CARRYON_RETRY_PERIOD": "500ms",
        },
    )
    assert config == Config(
        kubeconfig="/etc/kubeconfig",
        namespaces=("studio", "lab"),
        workers=4,
        qps=7.5,
        burst=9,
        caps=Caps(200, 50),
        worker_image="worker:2",
        default_store=StoreConfig(uri="s3://media/jobs", endpoint="https://minio.example", region="eu-west-1"),
        file_root=PurePosixPath("/srv/out"),
        ambient_credentials=True,
        default_resources={"limits": {"nvidia.com/gpu": "1"}},
        health=Address("::1", 8081),
        verify_interval=90.0,
        ended_verify_interval=43200.0,
        items_interval=300.0,
        notify_allow=Allowed((ip_network("10.0.0.0/8"),), ("relay.studio.svc",)),
        notify_proxy="http://proxy.example:3128",
        page_url="https://carryon.example/",
        election=Election("carryon", "mine", Terms(60.0, 40.0, 0.5)),
    )


def test_a_flag_goes_before_its_variable() -> None:
    assert parse(["--workers", "3"], {"CARRYON_WORKERS": "4"}).workers == 3


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CARRYON_WORKERS", "0", "whole number of 1 or more"),
        ("CARRYON_WORKERS", "many", "whole number of 1 or more"),
        ("CARRYON_QPS", "-1", "number above 0"),
        ("CARRYON_MAX_PODS", "0", "whole number of 1 or more"),
        ("CARRYON_MAX_PODS_PER_JOB", "1.5", "whole number of 1 or more"),
        ("CARRYON_QPS", "nan", "number above 0"),
        ("CARRYON_DEFAULT_STORE", "gs://bucket", "s3:// or file:///"),
        ("CARRYON_FILE_ROOT", "out", "absolute path"),
        ("CARRYON_AMBIENT_CREDENTIALS", "yes", "true or false"),
        ("CARRYON_DEFAULT_RESOURCES", "[]", "JSON object"),
        ("CARRYON_DEFAULT_RESOURCES", "{", "JSON object"),
        ("CARRYON_HEALTH", "8081/tcp", "address and a port"),
        ("CARRYON_HEALTH", ":99999", "address and a port"),
        ("CARRYON_VERIFY_INTERVAL", "soon", "write one such as 30s"),
        ("CARRYON_VERIFY_INTERVAL", "10ms", "1s or more"),
        ("CARRYON_ENDED_VERIFY_INTERVAL", "1 day", "write one such as 30s"),
        ("CARRYON_ITEMS_INTERVAL", "0s", "1s or more"),
        ("CARRYON_NOTIFY_ALLOW", "10.0.0.0/8,10.0.0.1/8", "10.0.0.1/8 is neither a network such as 10.0.0.0/8"),
        ("CARRYON_NOTIFY_PROXY", "proxy.example:3128", "a url such as https://"),
        ("CARRYON_PAGE_URL", "/carryon", "a url such as https://"),
    ],
)
def test_a_bad_value_ends_with_one_sentence_and_status_2(
    variable: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([], {variable: value})
    assert ended.value.code == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert variable in sentence
    assert value in sentence
    assert said in sentence


def test_help_names_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    assert "CARRYON_FILE_ROOT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "--lease-namespace (CARRYON_LEASE_NAMESPACE) is not set: outside a cluster it must be"),
        ({"CARRYON_LEASE_DURATION": "10s"}, "is 10 s: it must be shorter than --lease-duration, 10 s"),
        ({"CARRYON_LEASE_DURATION": "15500ms"}, "is 15.5 s: it must be whole seconds"),
        ({"CARRYON_RETRY_PERIOD": "6s"}, "it must be at most half of --renew-deadline, 10 s"),
        ({"CARRYON_RETRY_PERIOD": "1ms"}, '"1ms": it must be 100ms or more'),
    ],
)
def test_an_election_that_cannot_work_is_one_sentence(
    given: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--leader-elect", "true"], given)
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    assert said in told


def test_the_lease_lies_in_the_pods_own_namespace(tmp_path: Path) -> None:
    assert own_namespace(tmp_path / "namespace") is None
    (tmp_path / "namespace").write_text("carryon\n")
    assert own_namespace(tmp_path / "namespace") == "carryon"
