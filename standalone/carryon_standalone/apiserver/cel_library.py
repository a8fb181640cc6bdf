"""The functions that rules have on a cluster beyond CEL's own: lists, expressions, URLs, quantities, addresses.

Source: "Common Expression Language in Kubernetes", Kubernetes CEL libraries. What CEL has no type for (a URL, a
quantity, an address) is a map with one key, so that it can be handed on and compared.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from carryon_standalone.apiserver.quantities import canonical
from carryon_standalone.node.quantity import parse

Value = Mapping[str, str]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _is(check: Callable[[str], Any]) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        try:
            check(text)
        except ValueError:
            return False
        return True

    return holds


def _index_of(whole: Any, part: Any, *start: int) -> int:
    if isinstance(whole, str):
        return whole.find(part, *start)
    return whole.index(part) if part in whole else -1


def _last_index_of(whole: Any, part: Any, *start: int) -> int:
    if isinstance(whole, str):
        return whole.rfind(part, 0, start[0] + len(part)) if start else whole.rfind(part)
    return len(whole) - 1 - whole[::-1].index(part) if part in whole else -1


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    found = [each[0] for each in re.finditer(pattern, text)]
    return found if most < 0 else found[:most]


def _url(text: str) -> Value:
    parts = urlsplit(text)
    if not (parts.scheme and parts.netloc) and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: {text!r} is neither absolute nor a path")
    return {"url": text}


def _part(of: Callable[[Any], Any]) -> Callable[[Value], Any]:
    return lambda url: of(urlsplit(url["url"]))


def _host(parts: Any) -> str:
    return str(parts.netloc.rpartition("@")[2])


def _quantity(text: str) -> Value:
    return {"quantity": canonical(text)}


def _number(value: Value) -> Decimal:
    return parse(value["quantity"])


def _as_integer(value: Value) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError(f"cannot convert value {value['quantity']} to integer")
    return int(number)


def _combined(combine: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Value, Any], Value]:
    def made(left: Value, right: Any) -> Value:
        other = _number(right) if isinstance(right, Mapping) else Decimal(right)
        return {"quantity": canonical(f"{combine(_number(left), other):f}")}

    return made


def _compared(left: Value, right: Value) -> int:
    return int((_number(left) > _number(right)) - (_number(left) < _number(right)))


def _address(text: str) -> _Address:
    made = ipaddress.ip_address(text)
    if "%" in text or (isinstance(made, ipaddress.IPv6Address) and made.ipv4_mapped is not None):
        raise ValueError(f"IP Address {text!r} parse error: no zones and no IPv4-mapped addresses")
    return made


def _ip(value: Any) -> Value:
    """Of a text, or the address that a CIDR begins with."""
    if isinstance(value, Mapping):
        return {"ip": value["cidr"].partition("/")[0]}
    return {"ip": str(_address(value))}


def _cidr(text: str) -> Value:
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal():
        raise ValueError(f"network address parse error: {text!r} has no prefix length")
    _address(address)
    ipaddress.ip_network(text, strict=False)
    return {"cidr": text}


def _network(value: Any) -> _Network:
    return ipaddress.ip_network(value["cidr"] if isinstance(value, Mapping) else _cidr(value)["cidr"], strict=False)


def _contains_ip(network: Value, address: Any) -> bool:
    wanted = _address(address["ip"] if isinstance(address, Mapping) else address)
    return wanted in _network(network)


def _contains_cidr(network: Value, other: Any) -> bool:
    outer, inner = _network(network), _network(other)
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _of_ip(attribute: str) -> Callable[[Value], Any]:
    return lambda value: getattr(_address(value["ip"]), attribute)


def _global_unicast(value: Value) -> bool:
    address = _address(value["ip"])
    none = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not none and str(address) != "255.255.255.255"


def _link_local_multicast(value: Value) -> bool:
    address = _address(value["ip"])
    networks = ("224.0.0.0/24", "ff02::/16")
    return any(address in ipaddress.ip_network(each) for each in networks)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "isSorted": lambda values: all(left <= right for left, right in pairwise(values)),
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "find": _find,
    "findAll": _find_all,
    "url": _url,
    "isURL": _is(_url),
    "getScheme": _part(lambda parts: parts.scheme),
    "getHost": _part(_host),
    "getHostname": _part(lambda parts: parts.hostname or ""),
    "getPort": _part(lambda parts: str(parts.port or "")),
    "getEscapedPath": _part(lambda parts: parts.path),
    "getQuery": _part(lambda parts: parse_qs(parts.query, keep_blank_values=True)),
    "quantity": _quantity,
    "isQuantity": _is(_quantity),
    "isInteger": lambda value: _number(value) == _number(value).to_integral_value(),
    "asInteger": _as_integer,
    "asApproximateFloat": lambda value: float(_number(value)),
    "sign": lambda value: _compared(value, {"quantity": "0"}),
    "isGreaterThan": lambda left, right: _compared(left, right) > 0,
    "isLessThan": lambda left, right: _compared(left, right) < 0,
    "compareTo": _compared,
    "add": _combined(lambda left, right: left + right),
    "sub": _combined(lambda left, right: left - right),
    "ip": _ip,
    "isIP": _is(_address),
    "ip.isCanonical": lambda text: str(_address(text)) == text,
    "family": _of_ip("version"),
    "isUnspecified": _of_ip("is_unspecified"),
    "isLoopback": _of_ip("is_loopback"),
    "isLinkLocalUnicast": _of_ip("is_link_local"),
    "isLinkLocalMulticast": _link_local_multicast,
    "isGlobalUnicast": _global_unicast,
    "cidr": _cidr,
    "isCIDR": _is(_cidr),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "prefixLength": lambda network: int(network["cidr"].rpartition("/")[2]),
    "masked": lambda network: {"cidr": str(_network(network))},
}
