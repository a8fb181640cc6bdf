"""Stores to test against: a folder, S3 on moto, and S3 on whatever CARRYON_TEST_S3_ENDPOINT names."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from carryon_core.messages import StoreConfig
from carryon_store import Store, Stores

# No verdict on the speed of a machine that does other things as well.
settings.register_profile("carryon", deadline=None)
settings.load_profile("carryon")

S3_BUCKET = "carryon-test"
REAL_S3 = os.environ.get("CARRYON_TEST_S3_ENDPOINT")
S3_KINDS = ["moto", *([pytest.param("radosgw", marks=pytest.mark.radosgw)] if REAL_S3 else [])]


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Ctrl-C works in child processes, also where these tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def aws_environment() -> Iterator[None]:
    """Credentials for S3 come from the environment, here and in child processes; nothing else of AWS does."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", os.environ.get("AWS_ACCESS_KEY_ID", "carryon"))
        patch.setenv("AWS_SECRET_ACCESS_KEY", os.environ.get("AWS_SECRET_ACCESS_KEY", "carryoncarryon"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """Address of a moto server that has the bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    _make_bucket(endpoint)
    yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def real_endpoint() -> str:
    """Address of a real S3 server that has the bucket."""
    assert REAL_S3 is not None
    _make_bucket(REAL_S3)
    return REAL_S3


@pytest.fixture(scope="session")
def stores() -> Stores:
    """Shared connections."""
    return Stores()


@pytest.fixture
def file_config(tmp_path: Path) -> StoreConfig:
    """An empty folder that does not exist yet."""
    return StoreConfig(uri=(tmp_path / "bucket").as_uri())


@pytest.fixture
def moto_config(moto_endpoint: str) -> StoreConfig:
    """An empty prefix of the bucket on moto."""
    return StoreConfig(uri=f"s3://{S3_BUCKET}/{uuid.uuid4().hex}", endpoint=moto_endpoint)


@pytest.fixture
def radosgw_config(real_endpoint: str) -> StoreConfig:
    """An empty prefix of the bucket on a real S3 server."""
    return StoreConfig(uri=f"s3://{S3_BUCKET}/{uuid.uuid4().hex}", endpoint=real_endpoint)


@pytest.fixture(params=S3_KINDS)
def s3_config(request: pytest.FixtureRequest) -> StoreConfig:
    """An empty store of each kind of S3 in turn."""
    config: StoreConfig = request.getfixturevalue(f"{request.param}_config")
    return config


@pytest.fixture(params=["file", *S3_KINDS])
def store_config(request: pytest.FixtureRequest) -> StoreConfig:
    """An empty store of each kind in turn."""
    config: StoreConfig = request.getfixturevalue(f"{request.param}_config")
    return config


@pytest.fixture
def store(stores: Stores, store_config: StoreConfig) -> Store:
    """An empty store of each kind in turn, opened."""
    return stores.open(store_config)


def _make_bucket(endpoint: str) -> None:
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=S3_BUCKET)
