"""Where a job's artifacts go: the store it names or the operator's default, within what this operator allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.spec import JobSpec
from carryon_operator.config import Config
from carryon_store import Credentials

_KEY_ID: Final = "AWS_ACCESS_KEY_ID"
_SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"
_TOKEN: Final = "AWS_SESSION_TOKEN"


def destination(spec: JobSpec, resolved_uri: str | None, config: Config) -> StoreConfig:
    """The store of a job.

    Args:
        spec: Of the job.
        resolved_uri: What was filled in before for a job that names no output: it stays fixed.
        config: Of this operator.

    Raises:
        SpecError: The job names no store and there is no default, or one that is not allowed here.
    """
    if spec.output is None:
        if config.default_store is None:
            raise SpecError(
                "NoOutput",
                "spec.output is missing and this operator has no default store: set spec.output.uri to"
                " s3://bucket/prefix",
            )
        return config.default_store.model_copy(update={"uri": resolved_uri or config.default_store.uri})
    output = spec.output
    if output.uri.startswith("file://"):
        _check_folder(output.uri, config)
    elif output.endpoint is not None and config.file_root is None:
        _check_endpoint(output.endpoint)
    return StoreConfig(uri=output.uri.rstrip("/"), endpoint=output.endpoint, region=output.region)


def credentials(secret: Mapping[str, bytes], name: str) -> Credentials:
    """Keys from the data of a Secret.

    Raises:
        SpecError: One is missing.
    """
    missing = [key for key in (_KEY_ID, _SECRET_KEY) if not secret.get(key)]
    if missing:
        raise SpecError("SecretIncomplete", f'Secret "{name}" has no {" and no ".join(missing)}: add it')
    token = secret.get(_TOKEN)
    return Credentials(secret[_KEY_ID].decode(), secret[_SECRET_KEY].decode(), token.decode() if token else None)


def _check_folder(uri: str, config: Config) -> None:
    if config.file_root is None:
        raise SpecError(
            "OutputNotAllowed",
            f"spec.output.uri is {uri}, but this operator keeps nothing in folders: use s3://bucket/prefix",
        )
    folder = PurePosixPath(unquote(urlsplit(uri).path))
    if not folder.is_relative_to(config.file_root):
        raise SpecError(
            "OutputNotAllowed",
            f"spec.output.uri is {uri}, but this operator writes only below {config.file_root}: choose a folder there",
        )


def _check_endpoint(endpoint: str) -> None:
    """On a cluster a job must not make the operator talk to the node it runs on, or to a metadata service."""
    host: Any = urlsplit(endpoint).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        refused = host == "localhost" or host.endswith(".localhost") or host == "metadata.google.internal"
    else:
        refused = address.is_loopback or address.is_link_local or address.is_unspecified
    if refused:
        raise SpecError(
            "OutputNotAllowed",
            f"spec.output.endpoint is {endpoint}: loopback, link-local and metadata addresses are not allowed here;"
            " name the S3 service",
        )
