"""Protobuf bodies as kubectl writes them: `k8s`, a zero byte, an envelope; empty texts are written too."""

from __future__ import annotations

Value = int | bytes | str


def message(*fields: tuple[int, Value]) -> bytes:
    """A message of fields by number."""
    return b"".join(
        _varint(number << 3) + _varint(value) if isinstance(value, int) else _sized(number, value)
        for number, value in fields
    )


def _sized(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    made = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def enveloped(api_version: str, kind: str, content: bytes) -> bytes:
    """A body with what it holds."""
    return b"k8s\x00" + message((1, message((1, api_version), (2, kind))), (2, content), (3, ""), (4, ""))


def metadata(name: str = "", namespace: str = "") -> bytes:
    return message((1, name), (2, ""), (3, namespace), (4, ""), (5, ""), (6, ""), (7, 0), (8, b""))


def config_map(name: str, **data: str) -> bytes:
    entries = ((2, message((1, key), (2, value))) for key, value in data.items())
    return enveloped("v1", "ConfigMap", message((1, metadata(name)), *entries))


def secret(name: str, **data: bytes) -> bytes:
    entries = ((2, message((1, key), (2, value))) for key, value in data.items())
    return enveloped("v1", "Secret", message((1, metadata(name)), *entries, (3, "")))


def namespace(name: str) -> bytes:
    return enveloped("v1", "Namespace", message((1, metadata(name)), (2, b""), (3, message((1, "")))))


def own_access(namespace: str, verb: str, group: str, resource: str) -> bytes:
    wanted = message((1, namespace), (2, verb), (3, group), (4, ""), (5, resource), (6, ""), (7, ""))
    answer = message((1, 0), (2, ""), (3, ""), (4, 0))
    content = message((1, metadata()), (2, message((1, wanted))), (3, answer))
    return enveloped("authorization.k8s.io/v1", "SelfSubjectAccessReview", content)


def batch_job(name: str, image: str) -> bytes:
    """As `kubectl create job NAME --image=IMAGE` sends it."""
    texts = [(number, "") for number in (13, 14)]
    flags: list[tuple[int, Value]] = [(number, 0) for number in (16, 17, 18)]
    container = message((1, name), (2, image), (5, ""), (8, b""), *texts, *flags, (20, ""))
    unset: list[tuple[int, Value]] = [(number, "") for number in (6, 8, 9, 10)]
    host: list[tuple[int, Value]] = [(number, 0) for number in (11, 12, 13)]
    pod = message((2, container), (3, "Never"), *unset, *host, (16, ""), (17, ""), (19, ""), (24, ""))
    spec = message((6, message((1, metadata()), (2, pod))))
    status = message((4, 0), (5, 0), (6, 0), (7, ""))
    return enveloped("batch/v1", "Job", message((1, metadata(name)), (2, spec), (3, status)))
