"""What a client needs to talk to the standalone API server: a token, a certificate to trust, a kubeconfig.

The server speaks TLS although it listens on loopback only: kubectl never sends a token over plain http, and without a
token every program on the machine, and every page in its browser, could start jobs.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from carryon_standalone.home import Home, write_private

ADDRESS: Final = "127.0.0.1"
_CONTEXT: Final = "carryon"
_VALID: Final = timedelta(days=3650)


def ensure(home: Home) -> None:
    """Make token and certificate where there are none yet; what was handed out stays valid."""
    if not home.token.exists():
        write_private(home.token, secrets.token_urlsafe(32) + "\n")
    if not (home.authority.exists() and home.certificate.exists()):
        authority, server = _certificates(datetime.now(UTC))
        write_private(home.certificate, server)
        write_private(home.authority, authority)


def write_kubeconfig(home: Home, port: int) -> str:
    """Write the kubeconfig of a data folder; returns the server's address."""
    server = f"https://{ADDRESS}:{port}"
    content = kubeconfig(server, home.token.read_text().strip(), home.authority.read_text())
    write_private(home.kubeconfig, yaml.safe_dump(content, sort_keys=False))
    return server


def kubeconfig(server: str, token: str, authority: str) -> dict[str, Any]:
    """A kubeconfig with one context.

    Args:
        server: Address, such as https://127.0.0.1:6443.
        token: Bearer token.
        authority: PEM of the certificate to trust.
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _CONTEXT,
        "clusters": [
            {
                "name": _CONTEXT,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
                },
            }
        ],
        "users": [{"name": _CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": _CONTEXT, "context": {"cluster": _CONTEXT, "user": _CONTEXT, "namespace": "default"}}],
    }


def _certificates(now: datetime) -> tuple[str, str]:
    """PEM of an authority, and of a server certificate with its key; the authority's own key is not kept."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carryon standalone")])
    known = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def begin(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), critical=False)
        )

    authority = (
        begin(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS)), x509.DNSName("localhost")])
    server = (
        begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carryon apiserver")]), server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(authority), _pem(server) + key.decode()


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
