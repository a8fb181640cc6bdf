"""Settings of the API: each a flag and an environment variable."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from carryon_core.messages import StoreConfig
from carryon_core.settings import Settings, count, default_store, folder, listed, rate, true_or_false

MEBIBYTE: Final = 2**20
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.IGNORECASE)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True)
class Config:
    """How this API works.

    Attributes:
        listen: Address to listen on.
        port: Port; 0 picks a free one.
        kubeconfig: Path of the kubeconfig; None: the pod's service account, or else ~/.kube/config.
        standalone: Whether this is one machine's own control plane: only names of this machine are answered to.
        namespaces: Whose jobs are shown; empty means all.
        default_store: Where artifacts of jobs lie that name no output: as the operator has it, like the next three.
        default_store_secret: Name of the Secret with its keys, in each namespace of jobs; None: the environment's.
        file_root: Folder that file:// outputs must lie in; None refuses them.
        ambient_credentials: Whether jobs that name no Secret may name any bucket.
        public_url: Origin under which browsers see the API; None: whatever they ask for.
        cors_origins: Origins of other pages that may ask, with a bearer token.
        artifact_origins: Origins that the page may load pictures and films from, besides its own.
        presign: Whether artifacts in S3 are handed out as presigned URLs, instead of through the API.
        proxies: Addresses of proxies that are believed.
        user_header: Header in which those proxies name who has signed in; None: they can't sign in anybody.
        groups_header: Header in which they name that user's groups, with commas between.
        request_bytes: Largest body of a request that is not an upload.
        upload_bytes: Largest upload, of an archive or an input file.
        spool: Folder in which uploads wait until they are whole; None: /var/tmp.
        requests_per_second: Of one caller; `burst` at once.
        version: Of Carryon.
    """

    listen: str = "127.0.0.1"
    port: int = 8090
    kubeconfig: str | None = None
    standalone: bool = False
    namespaces: tuple[str, ...] = ()
    default_store: StoreConfig | None = None
    default_store_secret: str | None = None
    file_root: PurePosixPath | None = None
    ambient_credentials: bool = False
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ()
    artifact_origins: tuple[str, ...] = ()
    presign: bool = False
    proxies: tuple[Network, ...] = ()
    user_header: str | None = None
    groups_header: str | None = None
    request_bytes: int = 3 * MEBIBYTE
    upload_bytes: int = 65_536 * MEBIBYTE
    spool: Path | None = None
    requests_per_second: float = 50.0
    burst: int = 200
    version: str = version("carryon")

    @property
    def mode(self) -> str:
        """How the page calls where it is: standalone or cluster."""
        return "standalone" if self.standalone else "cluster"


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Read the settings; a flag goes before its variable, and one that is empty counts as not given.

    Raises:
        SystemExit: Status 2, after a sentence that says which setting is wrong and what it should be.
    """
    settings = Settings("carryon-api", "Serves the API and the page.", SETTINGS, arguments, environ)
    default = Config()
    config = Config(
        listen=settings.get("--listen", str, default.listen),
        port=settings.get("--port", _port, default.port),
        kubeconfig=settings.get("--kubeconfig", str, None),
        standalone=settings.get("--standalone", true_or_false, default.standalone),
        namespaces=settings.get("--namespaces", listed, default.namespaces),
        default_store=default_store(settings),
        default_store_secret=settings.get("--default-store-secret", str, None),
        file_root=settings.get("--file-root", folder, None),
        ambient_credentials=settings.get("--ambient-credentials", true_or_false, default.ambient_credentials),
        public_url=settings.get("--public-url", _origin, None),
        cors_origins=settings.get("--cors-origins", _origins, default.cors_origins),
        artifact_origins=settings.get("--artifact-origins", _origins, default.artifact_origins),
        presign=settings.get("--presign", true_or_false, default.presign),
        proxies=settings.get("--trusted-proxies", _networks, default.proxies),
        user_header=settings.get("--user-header", _header, None),
        groups_header=settings.get("--groups-header", _header, None),
        request_bytes=settings.get("--request-mebibytes", _mebibytes, default.request_bytes),
        upload_bytes=settings.get("--upload-mebibytes", _mebibytes, default.upload_bytes),
        spool=settings.get("--spool", _existing, None),
        requests_per_second=settings.get("--requests-per-second", rate, default.requests_per_second),
        burst=settings.get("--burst", count, default.burst),
    )
    if config.user_header is not None and not config.proxies:
        settings.refuse(
            "--user-header is set without --trusted-proxies: name the addresses of the proxies, or anybody could sign"
            " in as anybody"
        )
    if config.groups_header is not None and config.user_header is None:
        settings.refuse("--groups-header is set without --user-header: name the header with the user too")
    return config


SETTINGS: Final = (
    ("--listen", "CARRYON_API_LISTEN", "address to listen on; 127.0.0.1"),
    ("--port", "CARRYON_API_PORT", "port to listen on, 0 picks a free one; 8090"),
    ("--kubeconfig", "KUBECONFIG", "kubeconfig file; without it the service account of the pod, or ~/.kube/config"),
    ("--standalone", "CARRYON_STANDALONE", "true: this is one machine's own; answers only to names of it; false"),
    ("--namespaces", "CARRYON_NAMESPACES", "namespaces whose jobs are shown, with commas between; all if empty"),
    (
        "--default-store",
        "CARRYON_DEFAULT_STORE",
        "where artifacts lie of jobs that name no output, as for the operator",
    ),
    ("--default-store-endpoint", "CARRYON_DEFAULT_STORE_ENDPOINT", "S3 endpoint of the default store"),
    ("--default-store-region", "CARRYON_DEFAULT_STORE_REGION", "region of the default store"),
    ("--default-store-secret", "CARRYON_DEFAULT_STORE_SECRET", "Secret with its keys, as for the operator"),
    ("--file-root", "CARRYON_FILE_ROOT", "folder that file:// outputs lie in, as the operator has it; none if empty"),
    ("--ambient-credentials", "CARRYON_AMBIENT_CREDENTIALS", "true: jobs without a Secret may name any bucket; false"),
    ("--public-url", "CARRYON_API_PUBLIC_URL", "origin that browsers see, such as https://carryon.example.com"),
    ("--cors-origins", "CARRYON_API_CORS_ORIGINS", "origins of other pages that may ask with a bearer token"),
    (
        "--artifact-origins",
        "CARRYON_API_ARTIFACT_ORIGINS",
        "origins of S3 that the page may show pictures and films from",
    ),
    ("--presign", "CARRYON_API_PRESIGN", "true: artifacts in S3 are handed out as presigned URLs; false"),
    ("--trusted-proxies", "CARRYON_API_TRUSTED_PROXIES", "addresses of proxies in front, such as 10.0.0.0/8"),
    ("--user-header", "CARRYON_API_USER_HEADER", "header in which these proxies name who has signed in"),
    ("--groups-header", "CARRYON_API_GROUPS_HEADER", "header in which they name the user's groups"),
    ("--request-mebibytes", "CARRYON_API_REQUEST_MEBIBYTES", "largest body of a request that is no upload; 3"),
    ("--upload-mebibytes", "CARRYON_API_UPLOAD_MEBIBYTES", "largest upload; 65536"),
    ("--spool", "CARRYON_API_SPOOL", "folder with room for uploads that are being checked; /var/tmp"),
    ("--requests-per-second", "CARRYON_API_REQUESTS_PER_SECOND", "requests a second of one caller; 50"),
    ("--burst", "CARRYON_API_BURST", "requests of one caller that may follow each other at once; 200"),
)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("it must be a port, 0 to 65535")
    return int(text)


def _mebibytes(text: str) -> int:
    return count(text) * MEBIBYTE


def _existing(text: str) -> Path:
    found = Path(text)
    if not found.is_dir():
        raise ValueError("there is no such folder: make it, or name another")
    return found


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text.rstrip("/")):
        raise ValueError("it must be an origin, such as https://carryon.example.com, without a path")
    return text.rstrip("/").lower()


def _origins(text: str) -> tuple[str, ...]:
    return tuple(map(_origin, listed(text)))


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part) for part in listed(text))
    except ValueError as error:
        raise ValueError(f"{error}: write addresses or networks such as 10.0.0.0/8") from None


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError("it must be the name of a header, such as X-Forwarded-User")
    return text.lower()
