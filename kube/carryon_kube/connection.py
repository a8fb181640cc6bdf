"""Where the API server is and who we are to it, read by the official client's own loaders."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import kubernetes.config
import yaml
from kubernetes.client import Configuration

RENEW_AFTER: Final = 300.0
"""Seconds after which credentials are read again: a kubelet replaces a token with a fifth of its hour still to go."""

log = logging.getLogger(__name__)


class ConfigError(Exception):
    """There is no usable configuration for Kubernetes."""


@dataclass(frozen=True)
class Connection:
    """How to reach the API server.

    Attributes:
        server: Its URL, without a slash at the end.
        tls: Trusted authority and client certificate; True stands for the system's authorities.
        authorization: Value of the header, None without credentials (or with a client certificate).
        proxy: URL of an HTTP proxy.
    """

    server: str
    tls: ssl.SSLContext | bool = True
    authorization: str | None = field(default=None, repr=False)
    proxy: str | None = None


def load(kubeconfig: str | None = None, *, credentials: bool = True) -> Connection:
    """The connection as configured now. Blocking: reads files, and may run a credential plugin.

    Args:
        kubeconfig: Path, or several with the system's separator, as in KUBECONFIG. Without it: the pod's service
            account, or else ~/.kube/config.
        credentials: False leaves them out, a client certificate too: for requests that others answer for.

    Raises:
        ConfigError: None of them can be used.
    """
    loaders: Any = kubernetes.config  # Typed only in name.
    configuration = Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            loaders.load_incluster_config(client_configuration=configuration)
        else:
            loaders.load_kube_config(kubeconfig, client_configuration=configuration, persist_config=False)
        if not credentials:
            configuration.cert_file = configuration.key_file = None
        tls = _tls(configuration)
    except (kubernetes.config.ConfigException, yaml.YAMLError, OSError, ValueError) as error:
        wrong = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"cannot connect to Kubernetes: {wrong}. Set KUBECONFIG to a kubeconfig file, or run inside a cluster"
        ) from error
    # The loaders keep the line break that a token file may end with, and HTTP refuses it.
    header = (configuration.get_api_key_with_prefix("BearerToken") or "").strip()
    return Connection(
        configuration.host.rstrip("/"), tls, header if header and credentials else None, configuration.proxy
    )


def _tls(configuration: Any) -> ssl.SSLContext | bool:
    if not configuration.host.startswith("https:"):
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Authorization:
    """Puts the Authorization header on requests (middleware of aiohttp), and keeps it valid.

    It is read again every few minutes, and at once when the server answers 401: tokens of service accounts expire.
    """

    def __init__(self, connection: Connection, reload: Callable[[], Connection]) -> None:
        """Begin with what was read already, inside a running event loop.

        Args:
            connection: As loaded.
            reload: Loads it again. Blocking.
        """
        self._header = connection.authorization
        self._reload = reload
        self._read_at = asyncio.get_running_loop().time()
        self._lock = asyncio.Lock()

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, once more with new credentials if those it had are refused."""
        if asyncio.get_running_loop().time() - self._read_at > RENEW_AFTER:
            await self._renew(self._header)
        used = self._sign(request)
        response = await send(request)
        if response.status == 401:
            await self._renew(used)
            if self._header != used:
                response.release()
                self._sign(request)
                response = await send(request)
        return response

    def _sign(self, request: aiohttp.ClientRequest) -> str | None:
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return self._header

    async def _renew(self, used: str | None) -> None:
        asked_at = asyncio.get_running_loop().time()
        async with self._lock:
            # Of requests that notice together, the first reads for all.
            if self._header == used and self._read_at <= asked_at:
                self._read_at = asyncio.get_running_loop().time()
                try:
                    self._header = (await asyncio.to_thread(self._reload)).authorization
                except ConfigError as error:
                    # Half written, or gone for a moment: what we have may still do.
                    log.warning("credentials cannot be read again: %s", error)
