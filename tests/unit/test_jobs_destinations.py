"""Where a job may put its artifacts and take its data from, and with whose keys."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.model_sources import TokenSecret
from carryon_core.spec import JobSpec
from carryon_jobs.destinations import check_token, credentials, data_place, destination, secret_of
from carryon_operator.config import Config
from carryon_store import StoreError
from carryon_store.opening import folder_of, open_store


def job_spec(**fields: Any) -> JobSpec:
    stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
    return JobSpec.model_validate({"items": {"count": 15}, "stages": [stage], **fields})


HOUSE = StoreConfig(uri="s3://house/p", endpoint="https://minio.example", region="eu-west-1")
CLUSTER = Config(default_store=HOUSE)
LENDING = Config(default_store=HOUSE, ambient_credentials=True)
OWN_MACHINE = Config(default_store=StoreConfig(uri="file:///srv/out"), file_root=PurePosixPath("/srv"))
KEYS = {"credentialsSecret": {"name": "keys"}}


def place(config: Config, resolved: str | None = None, **output: Any) -> StoreConfig:
    return destination("films", job_spec(**({"output": output} if output else {})), resolved, config)


def refusal(config: Config, resolved: str | None = None, **output: Any) -> str:
    with pytest.raises(SpecError) as refused:
        place(config, resolved, **output)
    assert refused.value.reason in ("OutputNotAllowed", "InvalidOutput", "NoOutput")
    return refused.value.message


def test_a_job_without_output_has_the_default_store() -> None:
    assert place(CLUSTER) == HOUSE
    assert place(CLUSTER, "") == HOUSE
    assert "no default store" in refusal(Config())


@pytest.mark.parametrize("uri", ["s3://house/p", "s3://house/p/", "s3://house/p/films", "s3://house/p/films/x/y"])
def test_a_job_without_keys_may_write_to_its_namespaces_part_of_the_default_store(uri: str) -> None:
    assert place(CLUSTER, uri=uri, endpoint="https://minio.example/").uri == uri.rstrip("/")


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("s3://house", "https://minio.example"),
        ("s3://house/q", "https://minio.example"),
        ("s3://house/pq", "https://minio.example"),
        ("s3://house/p/another-namespace", "https://minio.example"),
        ("s3://house/p//films", "https://minio.example"),
        ("s3://house/p/films-2", "https://minio.example"),
        ("s3://another/p", "https://minio.example"),
        ("s3://house/p", None),
        ("s3://house/p", "https://another.example"),
    ],
)
def test_a_job_without_keys_may_write_nowhere_else(uri: str, endpoint: str | None) -> None:
    at = f" at {endpoint}" if endpoint else ""
    assert refusal(CLUSTER, uri=uri, endpoint=endpoint) == (
        f"spec.output.uri is {uri}{at} and there is no spec.output.credentialsSecret, but without one jobs may write"
        " only to s3://house/p itself or below s3://house/p/films/ at https://minio.example: name a Secret with the"
        " keys of that bucket in spec.output.credentialsSecret"
    )
    assert place(CLUSTER, uri=uri, endpoint=endpoint, **KEYS).uri == uri
    assert place(LENDING, uri=uri, endpoint=endpoint).uri == uri
    assert place(OWN_MACHINE, uri=uri, endpoint=endpoint).uri == uri


def test_without_a_default_store_keys_are_needed() -> None:
    assert "jobs may write nowhere: name a Secret" in refusal(Config(), uri="s3://bucket/x")


@pytest.mark.parametrize(
    "uri", ["file:///etc", "s3://another/x", "s3://house/p/../q", "gs://x/y", "s3://house", "s3://house/p/x"]
)
def test_what_status_says_is_looked_at_like_any_other(uri: str) -> None:
    assert refusal(CLUSTER, uri).startswith(f"status.resolved.output is {uri}")


def test_what_was_filled_in_stays() -> None:
    assert place(CLUSTER, "s3://house/p/films/former") == HOUSE.model_copy(update={"uri": "s3://house/p/films/former"})
    assert place(OWN_MACHINE, "file:///srv/former").uri == "file:///srv/former"
    assert "choose a folder there" in refusal(OWN_MACHINE, "file:///etc")


@pytest.mark.parametrize("uri", ["file:///etc", "file:///srvx", "file:///", "file:////srv/out"])
def test_a_folder_must_lie_below_the_root(uri: str) -> None:
    assert refusal(OWN_MACHINE, uri=uri).endswith("writes only below /srv: choose a folder there")
    assert "keeps nothing in folders" in refusal(CLUSTER, uri=uri)


AMBIGUOUS = [
    "file:///srv/%2e%2E/etc",
    "file:///srv/..",
    "file:///srv/out#evil",
    "file:///srv/out?evil",
    "file:///srv/%00",
    "file:///srv/a\0b",
    "file:///srv/a%2fb",
    "file:///srv/%2e%2e%2fetc",
    "file:///srv/100%",
    "file:///srv/%zz",
]


@pytest.mark.parametrize("uri", AMBIGUOUS)
def test_a_folder_that_could_be_read_in_two_ways_is_refused_by_who_checks_and_who_opens(uri: str) -> None:
    # Not as a job's output: some are refused by the schema already.
    assert "is no plain path" in refusal(OWN_MACHINE, uri)
    with pytest.raises(StoreError, match="is no plain path"):
        open_store(StoreConfig(uri=uri))


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///srv/out", "/srv/out"),
        ("file:///srv/my%20films", "/srv/my films"),
        ("file:///srv/%23%3F%25", "/srv/#?%"),
        ("file:///srv/%252e%252e", "/srv/%2e%2e"),
        ("file:///srv/...", "/srv/..."),
        ("file:///", "/"),
    ],
)
def test_a_folder_is_decoded_once(uri: str, folder: str) -> None:
    assert folder_of(uri) == PurePosixPath(folder)


@pytest.mark.parametrize("uri", ["file://srv/out", "file:/srv", "s3://bucket", "/srv", ""])
def test_what_names_no_folder_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="names no store"):
        folder_of(uri)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "0xA9FEA9FE",
        "100.100.100.200",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[ff02::1]",
        "[fd00:ec2::254]",
        "[FD00:EC2:0::254]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "metadata.google.internal",
        "metadata.google.internal.",
    ],
)
@pytest.mark.parametrize("port", ["", ":9000"])
def test_an_endpoint_on_the_node_or_of_a_metadata_service_is_refused(host: str, port: str) -> None:
    endpoint = f"http://{host}{port}"
    assert refusal(CLUSTER, uri="s3://bucket/x", endpoint=endpoint, **KEYS) == (
        f"spec.output.endpoint is {endpoint}: loopback, link-local, multicast and metadata addresses are not allowed"
        " here; name the S3 service"
    )
    assert place(OWN_MACHINE, uri="s3://bucket/x", endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://me@127.0.0.1",
        "http://127.0.0.1%2f",
        "http://\uff11\uff12\uff17.0.0.1",
        "http://[fe80::1%25eth0]",
        "http://host\\@x",
        "ftp://host",
        "http://",
        "http://host/path",
    ],
)
def test_an_endpoint_that_could_be_read_in_two_ways_is_refused(endpoint: str) -> None:
    assert "write it as https://host or https://host:port" in refusal(
        CLUSTER, uri="s3://bucket/x", endpoint=endpoint, **KEYS
    )


@pytest.mark.parametrize(
    "host",
    ["s3.eu-central-1.amazonaws.com", "minio", "my_minio:9000", "10.0.0.7:9000", "[fd00::7]:9000", "127.example"],
)
def test_an_endpoint_elsewhere_is_allowed(host: str) -> None:
    assert place(CLUSTER, uri="s3://bucket/x", endpoint=f"https://{host}", **KEYS).endpoint == f"https://{host}"


def test_the_endpoint_of_the_default_store_is_the_operators_own_choice() -> None:
    config = Config(default_store=StoreConfig(uri="s3://house/p", endpoint="http://127.0.0.1:9000"))
    assert place(config, uri="s3://house/p/films", endpoint="http://127.0.0.1:9000").uri == "s3://house/p/films"


segments = st.text(alphabet="pf./-", max_size=12).map(lambda text: text.strip("/"))


@given(segments)
@example("another-namespace")
@example("films/../another-namespace")
def test_without_keys_nothing_is_written_outside_the_namespaces_part(path: str) -> None:
    """Whatever a job names: with namespace and job behind it, it lies below {default}/{namespace}/."""
    config = Config(default_store=StoreConfig(uri="s3://house/p"))
    try:
        at = destination("f", job_spec(output={"uri": f"s3://house/{path}".rstrip("/")}), None, config)
    except (SpecError, ValidationError):
        return
    assert f"{at.uri}/f/job/".startswith("s3://house/p/f/")
    assert ".." not in at.uri.split("/")


def data(config: Config, source: str, **output: Any) -> tuple[StoreConfig, str]:
    spec = job_spec(**({"output": output} if output else {}))
    at = destination("films", spec, None, config)
    return data_place("spec.items.from.uri", source, "films", spec, at, config)


@pytest.mark.parametrize("uri", ["s3://house/p/films/creators.csv", "s3://house/p/films/reel/_inputs/dunes.png"])
def test_a_job_without_keys_may_read_what_lies_in_its_namespaces_part(uri: str) -> None:
    assert data(CLUSTER, uri) == (HOUSE.model_copy(update={"uri": "s3://house"}), uri.removeprefix("s3://house/"))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://house/p/another/secret.csv",
        "s3://house/p/films",
        "s3://house/creators.csv",
        "s3://another/p/films/x.csv",
        "s3://house/p/films/../another/x.csv",
    ],
)
def test_a_job_without_keys_may_read_nothing_else(uri: str) -> None:
    with pytest.raises(SpecError) as refused:
        data(CLUSTER, uri)
    assert refused.value.reason == "SourceNotAllowed"
    assert refused.value.message == (
        f"spec.items.from.uri is {uri} at https://minio.example and there is no spec.output.credentialsSecret, but"
        " without one jobs may read only below s3://house/p/films/ at https://minio.example: put it there, or name a"
        " Secret with the keys of that bucket in spec.output.credentialsSecret"
    )


def test_with_keys_or_on_ones_own_machine_any_bucket_may_be_read() -> None:
    elsewhere = {"uri": "s3://mine/out", "endpoint": "https://s3.example"}
    at = StoreConfig(uri="s3://another", endpoint="https://s3.example")
    assert data(CLUSTER, "s3://another/x.csv", **elsewhere, **KEYS) == (at, "x.csv")
    assert data(LENDING, "s3://another/x.csv", **elsewhere) == (at, "x.csv")
    assert data(OWN_MACHINE, "s3://another/x.csv", **elsewhere) == (at, "x.csv")
    assert data(OWN_MACHINE, "file:///srv/in/x%20y.csv") == (StoreConfig(uri="file:///srv/in"), "x y.csv")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [(OWN_MACHINE, "reads only below /srv: choose"), (CLUSTER, "keeps nothing in folders")],
)
def test_folders_are_read_only_below_the_root(config: Config, sentence: str) -> None:
    for uri in ("file:///etc/passwd", "file:///srvx/passwd"):
        with pytest.raises(SpecError, match=sentence):
            data(config, uri)


GOOD = {"AWS_ACCESS_KEY_ID": b"AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": b"wJalr/+="}


def test_keys_are_read_from_a_secret() -> None:
    found = credentials(GOOD, "keys")
    assert found == credentials({**GOOD, "AWS_SESSION_TOKEN": b""}, "keys")
    assert credentials({**GOOD, "AWS_SESSION_TOKEN": b"token"}, "keys") != found


@pytest.mark.parametrize("key", [*GOOD, "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize(
    "value", [b"hush\n", b" hush", b"hush ", b"hu sh", b"hush\0", b"\xff\xfehush", "húsh".encode()]
)
def test_a_key_that_is_none_is_refused_and_never_shown(key: str, value: bytes) -> None:
    with pytest.raises(SpecError) as refused:
        credentials({**GOOD, key: value}, "keys")
    assert refused.value.reason == "SecretIncomplete"
    assert refused.value.message == (
        f'{key} in Secret "keys" holds blanks, a line break or characters that are not printable, as no key does:'
        " set it again, with printf or echo -n, because echo alone adds a line break"
    )


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("value", [None, b""])
def test_a_secret_without_a_key_is_incomplete(key: str, value: bytes | None) -> None:
    data = {name: each for name, each in {**GOOD, key: value}.items() if each is not None}
    with pytest.raises(SpecError, match=f'Secret "keys" has no {key}: add it'):
        credentials(data, "keys")


@pytest.mark.parametrize("value", [b"", b"hf_abc\n", b" hf_abc", "hf_äbc".encode()])
def test_a_token_that_is_none_is_refused_and_never_shown(value: bytes) -> None:
    wanted = TokenSecret(name="hub", key="hf")
    check_token({"hf": b"hf_abc"}, wanted)
    with pytest.raises(SpecError, match=r'Secret "hub"') as refused:
        check_token({"hf": value, "token": b"hf_abc"}, wanted)
    assert refused.value.reason == "SecretIncomplete"
    assert "abc" not in refused.value.message


def test_only_a_job_that_names_no_output_gets_the_default_stores_keys() -> None:
    keyed = Config(default_store=HOUSE, default_store_secret="house")
    assert secret_of(job_spec(), keyed) == "house"
    assert secret_of(job_spec(), CLUSTER) is None
    assert secret_of(job_spec(), None) is None
    assert secret_of(job_spec(output={"uri": "s3://house/p/films"}), keyed) is None
    assert secret_of(job_spec(output={"uri": "s3://own", **KEYS}), keyed) == "keys"
    # Whoever names another bucket names its keys too.
    with pytest.raises(SpecError):
        destination("films", job_spec(output={"uri": "s3://other/films"}), None, keyed)
