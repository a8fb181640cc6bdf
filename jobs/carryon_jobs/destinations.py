"""Where a job's artifacts go and its data may come from: what it names, within what is allowed here.

Operator and API both ask here before they open what a job names: neither may be made to talk, with its own rights or
from its own place in the network, to what the author of a job can't reach.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, Protocol

from carryon_core.errors import SpecError
from carryon_core.messages import StoreConfig
from carryon_core.model_sources import TokenSecret
from carryon_core.spec import JobSpec, Output
from carryon_store import Credentials, StoreError, place_of
from carryon_store.opening import folder_of

_KEY_ID: Final = "AWS_ACCESS_KEY_ID"
_SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"
_TOKEN: Final = "AWS_SESSION_TOKEN"
_KEY: Final = re.compile(rb"[!-~]+")
"""Printable ASCII without blanks: keys travel in a header."""

_ENDPOINT: Final = re.compile(r"https?://(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::[0-9]{1,5})?/?", re.IGNORECASE)
_METADATA_NAMES: Final = ("metadata", "metadata.google.internal")
_METADATA_ADDRESSES: Final = tuple(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "fd00:ec2::23", "100.100.100.200"))
)
"""Of AWS and its kin, by IPv6, of its pod identities, and of Alibaba Cloud."""


class Rules(Protocol):
    """What an installation allows: settings of operator and API."""

    @property
    def default_store(self) -> StoreConfig | None:
        """Where artifacts of jobs go that name no output; None refuses such jobs."""

    @property
    def default_store_secret(self) -> str | None:
        """Name of the Secret with the default store's keys, in each namespace; None: operator and workers need none."""

    @property
    def file_root(self) -> PurePosixPath | None:
        """Folder that file:// uris must lie in; None refuses them."""

    @property
    def ambient_credentials(self) -> bool:
        """Whether jobs that name no Secret may name any bucket, not only their part of the default store."""


def destination(namespace: str, spec: JobSpec, resolved_uri: str | None, rules: Rules) -> StoreConfig:
    """The store of a job.

    Args:
        namespace: Of the job.
        spec: Of the job.
        resolved_uri: What was filled in before for a job that names no output: it stays fixed. It comes from status,
            which others may write too, so it is looked at like any other.
        rules: Of this installation.

    Raises:
        SpecError: The job names no store and there is no default, or one that is not allowed here.
    """
    output, default = spec.output, rules.default_store
    if output is not None:
        return output_store(namespace, output, rules)
    if default is None:
        raise SpecError(
            "NoOutput",
            "spec.output is missing and this operator has no default store: set spec.output.uri to s3://bucket/prefix",
        )
    if not resolved_uri or resolved_uri == default.uri:
        return default
    store = default.model_copy(update={"uri": resolved_uri})
    _check("status.resolved.output", store, rules, namespace, has_keys=False)
    return store


def secret_of(spec: JobSpec, rules: Rules | None) -> str | None:
    """Name of the Secret with the keys of a job's store: its own, or the default store's where it names no output.

    Args:
        spec: Of the job.
        rules: Of the installation; None where they are not known.
    """
    if spec.output is None:
        return rules.default_store_secret if rules is not None else None
    return spec.output.credentials_secret.name if spec.output.credentials_secret is not None else None


def output_store(namespace: str, output: Output, rules: Rules) -> StoreConfig:
    """The store that an output names.

    Args:
        namespace: Of the job.
        output: Of its spec.
        rules: Of this installation.

    Raises:
        SpecError: It is not allowed here.
    """
    uri = output.uri.rstrip("/") if output.uri != "file:///" else output.uri
    store = StoreConfig(uri=uri, endpoint=output.endpoint, region=output.region)
    _check("spec.output.uri", store, rules, namespace, has_keys=output.credentials_secret is not None)
    return store


def data_place(
    field: str, uri: str, namespace: str, spec: JobSpec, output: StoreConfig, rules: Rules
) -> tuple[StoreConfig, str]:
    """Where data lies that a job is made from, such as its items or a photo: the store, and the key in it.

    Args:
        field: That names it, for the sentence.
        uri: s3://bucket/key or file:///absolute/path.
        namespace: Of the job.
        spec: Of the job.
        output: Its store, at whose endpoint and with whose keys buckets are read.
        rules: Of this installation.

    Raises:
        SpecError: It names no object, or one that this job may not read.
    """
    try:
        store, key = place_of(uri, output)
    except StoreError as error:
        raise SpecError("InvalidSource", f"{field}: {error}") from None
    has_keys = spec.output is not None and spec.output.credentials_secret is not None
    if store.uri.startswith("file:"):
        _check_folder(field, uri, rules, "reads", "SourceNotAllowed")
    elif rules.file_root is None and not has_keys and not rules.ambient_credentials:
        within = _within_default(StoreConfig(uri=uri, endpoint=store.endpoint), rules)
        if within is None or len(within) < 2 or within[0] != namespace:
            default = rules.default_store
            where = "nowhere" if default is None else f"only {_below(default, namespace)}"
            raise SpecError(
                "SourceNotAllowed",
                f"{field} is {uri}{_at(store)} and there is no spec.output.credentialsSecret, but without one jobs may"
                f" read {where}: put it there, or name a Secret with the keys of that bucket in"
                " spec.output.credentialsSecret",
            )
    return store, key


def credentials(secret: Mapping[str, bytes], name: str) -> Credentials:
    """Keys from the data of a Secret.

    Raises:
        SpecError: One is missing, or holds what no key holds.
    """
    missing = [key for key in (_KEY_ID, _SECRET_KEY) if not secret.get(key)]
    if missing:
        raise SpecError("SecretIncomplete", f'Secret "{name}" has no {" and no ".join(missing)}: add it')
    for key in (_KEY_ID, _SECRET_KEY, _TOKEN):
        if secret.get(key) and not _KEY.fullmatch(secret[key]):
            raise SpecError(
                "SecretIncomplete",
                f'{key} in Secret "{name}" holds blanks, a line break or characters that are not printable, as no key'
                " does: set it again, with printf or echo -n, because echo alone adds a line break",
            )
    token = secret.get(_TOKEN)
    return Credentials(secret[_KEY_ID].decode(), secret[_SECRET_KEY].decode(), token.decode() if token else None)


def check_token(secret: Mapping[str, bytes], wanted: TokenSecret) -> None:
    """Look whether the data of a Secret hold a hub's token.

    Raises:
        SpecError: They don't, or what they hold is none.
    """
    token = secret.get(wanted.key, b"")
    if not token:
        raise SpecError("SecretIncomplete", f'Secret "{wanted.name}" has no {wanted.key}: add it, or name its key')
    if not _KEY.fullmatch(token):
        raise SpecError(
            "SecretIncomplete",
            f'{wanted.key} in Secret "{wanted.name}" holds blanks, a line break or characters that are not printable,'
            " as no token does: set it again, with printf or echo -n, because echo alone adds a line break",
        )


def _check(field: str, store: StoreConfig, rules: Rules, namespace: str, *, has_keys: bool) -> None:
    if store.uri.startswith("file:"):
        _check_folder(field, store.uri, rules, "writes", "OutputNotAllowed")
    elif rules.file_root is None and not _is_own_part(store, rules, namespace):
        # A job must make the operator talk neither to what only the operator may talk to, nor with its rights.
        if store.endpoint is not None:
            _check_endpoint(store.endpoint)
        if not has_keys and not rules.ambient_credentials:
            default = rules.default_store
            where = "nowhere" if default is None else f"only to {default.uri} itself or {_below(default, namespace)}"
            raise SpecError(
                "OutputNotAllowed",
                f"{field} is {store.uri}{_at(store)} and there is no spec.output.credentialsSecret, but without one"
                f" jobs may write {where}: name a Secret with the keys of that bucket in"
                " spec.output.credentialsSecret",
            )


def _check_folder(field: str, uri: str, rules: Rules, does: str, reason: str) -> None:
    if rules.file_root is None:
        raise SpecError(
            reason,
            f"{field} is {uri}, but this operator keeps nothing in folders: use s3://bucket/prefix",
        )
    try:
        folder = folder_of(uri)
    except StoreError as error:
        raise SpecError("InvalidOutput", f"{field}: {error}") from None
    if not folder.is_relative_to(rules.file_root):
        raise SpecError(
            reason,
            f"{field} is {uri}, but this operator {does} only below {rules.file_root}: choose a folder there",
        )


def _is_own_part(store: StoreConfig, rules: Rules, namespace: str) -> bool:
    """Whether a job's prefix in a store, {uri}/{namespace}/{job}, lies in this namespace's part of the default store.

    Were any uri below the default store allowed, one that ends in another namespace's name would lead into its jobs.
    """
    within = _within_default(store, rules)
    return within is not None and [*within, namespace][0] == namespace


def _within_default(store: StoreConfig, rules: Rules) -> list[str] | None:
    """Segments by which a place lies below the default store, None if it does not."""
    default = rules.default_store
    if default is None or (store.endpoint or "").rstrip("/") != (default.endpoint or "").rstrip("/"):
        return None
    parts = store.uri.rstrip("/").split("/")
    own = default.uri.rstrip("/").split("/")
    return parts[len(own) :] if parts[: len(own)] == own and ".." not in parts else None


def _below(default: StoreConfig, namespace: str) -> str:
    return f"below {default.uri.rstrip('/')}/{namespace}/{_at(default)}"


def _at(store: StoreConfig) -> str:
    return f" at {store.endpoint}" if store.endpoint else ""


def _check_endpoint(endpoint: str) -> None:
    """On a cluster a job must not make the operator talk to the node it runs on, or to a metadata service.

    Addresses are judged in every spelling that a resolver takes. Other names are not looked up: what a name resolves
    to may change between a check and its use, so those are for a network policy.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None:
        raise SpecError(
            "OutputNotAllowed",
            f"spec.output.endpoint is {endpoint}: write it as https://host or https://host:port, in ASCII",
        )
    host = (match[1] or match[2]).rstrip(".").lower()
    address = _address(host)
    if address is None:
        refused = host == "localhost" or host.endswith(".localhost") or host in _METADATA_NAMES
    else:
        refused = (
            address.is_loopback
            or address.is_link_local
            or address.is_unspecified
            or address.is_multicast
            or address in _METADATA_ADDRESSES
        )
    if refused:
        raise SpecError(
            "OutputNotAllowed",
            f"spec.output.endpoint is {endpoint}: loopback, link-local, multicast and metadata addresses are not"
            " allowed here; name the S3 service",
        )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is in itself, None if it is a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            # Resolvers take 127.1, 0x7f.1, 017700000001 and 2130706433 for addresses, as inet_aton(3) does.
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address
