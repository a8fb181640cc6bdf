"""Which addresses a webhook may lead to: those of the internet, and what this operator's configuration allows besides.

Judged is the address that is connected to, not the name before it is looked up: a name may lead somewhere else the next
moment.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


_METADATA: Final = _networks(
    # Azure's platform answers at an address that looks like any other.
    *("168.63.129.16/32", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::/32")
)
"""Where clouds tell machines who they are: Azure, nearly all, Alibaba, Oracle, AWS and Google by IPv6."""
_PRIVATE: Final = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_INTERNET_V6: Final = ipaddress.ip_network("2000::/3")
_SPECIAL_V6: Final = _networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
"""Parts of it that lead somewhere else: Teredo and 6to4 to an IPv4 address inside them, the others nowhere."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 that ends in the IPv4 address which is reached by it (RFC 6052)."""
_NAME: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True)
class Allowed:
    """What webhooks may lead to besides the internet.

    Attributes:
        networks: Any of their addresses, whatever it is.
        names: Hosts whose private addresses are allowed; `*.` at the beginning stands for any name below. Never
            loopback, link-local and metadata addresses: whoever may create a Service may have its name lead there.
    """

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()

    def permits(self, address: Address, host: str) -> bool:
        """Whether a webhook may connect to an address.

        Args:
            address: That is about to be connected to.
            host: As its url names it.
        """
        reached = _reached(address)
        if _within(reached, self.networks) or _within(address, self.networks):
            return True
        if _within(reached, _METADATA):
            return False
        return _is_internet(reached) or (_within(reached, _PRIVATE) and self._names(host))

    def _names(self, host: str) -> bool:
        host = host.rstrip(".").lower()
        return any(host.endswith(name[1:]) if name.startswith("*.") else host == name for name in self.names)


def parse(parts: Iterable[str]) -> Allowed:
    """Read what is allowed: networks and addresses, and names of hosts.

    Raises:
        ValueError: A part is neither.
    """
    networks: list[Network] = []
    names: list[str] = []
    for part in parts:
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            name = part.rstrip(".").lower()
            if not _NAME.fullmatch(name) or name.rpartition(".")[2].isdecimal() or "/" in part:
                raise ValueError(
                    f"{part} is neither a network such as 10.0.0.0/8, an address, nor a host such as relay.studio.svc"
                    " or *.internal.example"
                ) from None
            names.append(name)
    return Allowed(tuple(networks), tuple(names))


def literal(host: str) -> Address | None:
    """The address that a host is in itself, None if it is a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        # Whoever looks it up may take 127.1, 0x7f.1 and 2130706433 for addresses, as inet_aton(3) does.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _reached(address: Address) -> Address:
    """The address that one leads to: the IPv4 address inside one of IPv6, where there is one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_internet(address: Address) -> bool:
    """Whether anybody may be there. What Python calls global holds more, and more with each version."""
    if isinstance(address, ipaddress.IPv6Address):
        return address in _INTERNET_V6 and not _within(address, _SPECIAL_V6)
    return address.is_global and not address.is_multicast
