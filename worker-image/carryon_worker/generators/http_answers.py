"""What a service's answers mean: whether to ask again, when, and what they hold. Pure."""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final

from jsonpointer import JsonPointerException, resolve_pointer

from carryon_core.hosted import Poll
from carryon_worker.failures import UnitFailure

_BUSY: Final = frozenset({429, 503})
"""The service says that it has not taken the request."""
_PASSING: Final = frozenset({408, 425, 500, 502, 504})
"""It may have taken the request, but can't say."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_ABSENT: Final = object()
_TOLD_LONGEST: Final = 500


class Verdict(Enum):
    """What becomes of a request."""

    TAKEN = auto()
    """The answer is one."""
    AGAIN = auto()
    """It was not taken: ask again."""
    UNKNOWN = auto()
    """It may have been taken: asking again is right only where the service knows a request that is repeated."""
    REFUSED = auto()
    """Asking again would end the same."""


class State(Enum):
    """How far a submission is."""

    PENDING = auto()
    SUCCEEDED = auto()
    FAILED = auto()


def verdict(status: int) -> Verdict:
    """What a status code means for the request."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    if status in _BUSY:
        return Verdict.AGAIN
    # 409: the same request is being worked on.
    if status in _PASSING or status == 409 or status > 504:
        return Verdict.UNKNOWN
    return Verdict.REFUSED


def wait(tries: int, retry_after: str | None, now: datetime, draw: random.Random) -> float:
    """Seconds until the next try.

    Args:
        tries: Tries so far, at least 1.
        retry_after: The header (RFC 9110, 10.2.3): seconds or a date. It is a lower bound; what is no such thing is
            passed over.
        now: Timezone-aware.
        draw: Keeps workers that were refused together from coming back together.
    """
    backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries - 1, 16)) * draw.uniform(0.5, 1.0)
    return max(backoff, _asked(retry_after, now))


def _asked(retry_after: str | None, now: datetime) -> float:
    if not retry_after:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def state(poll: Poll, answer: Any) -> State:
    """How far the service says it is.

    Raises:
        UnitFailure: It does not say.
    """
    said = _found(answer, poll.status)
    if not isinstance(said, str | bool | int):
        raise UnitFailure(
            "AnswerUnreadable",
            f"the service's answer has no status at {poll.status} (poll.status), but {_shape(answer)}",
        )
    word = str(said).lower()
    if word in {each.lower() for each in poll.succeeded}:
        return State.SUCCEEDED
    return State.FAILED if word in {each.lower() for each in poll.failed} else State.PENDING


def percent(poll: Poll, answer: Any) -> int | None:
    """How much is done, 0 to 100, where the service says so."""
    said = None if poll.progress is None else _found(answer, poll.progress)
    if isinstance(said, str):
        said = said.strip().removesuffix("%")
        if not said.replace(".", "", 1).isdecimal():
            return None
        said = float(said)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return max(0, min(100, round(said * 100 if isinstance(said, float) and said <= 1 else said)))


def why_failed(poll: Poll, answer: Any) -> str:
    """The service's own words."""
    said = _found(answer, poll.error)
    if isinstance(said, Mapping):
        said = next((said[name] for name in ("message", "detail", "error", "code") if said.get(name)), dict(said))
    if said in (_ABSENT, None, ""):
        return "it does not say why"
    return str(said)[:_TOLD_LONGEST]


def required(answer: Any, pointer: str, field: str) -> str:
    """A text that must be in an answer.

    Raises:
        UnitFailure: It is not.
    """
    said = _found(answer, pointer)
    if isinstance(said, bool) or not isinstance(said, str | int) or said == "":
        raise UnitFailure(
            "AnswerUnreadable", f"the service's answer has no text at {pointer} ({field}), but {_shape(answer)}"
        )
    return str(said)


def texts(answer: Any, pointer: str, field: str) -> Sequence[str]:
    """The texts at a place: one, or those of a list or mapping, however deep.

    Raises:
        UnitFailure: There are none.
    """
    found = list(_texts(_found(answer, pointer)))
    if not found:
        raise UnitFailure(
            "AnswerUnreadable", f"the service's answer has no text at {pointer} ({field}), but {_shape(answer)}"
        )
    return found


def decoded(text: str) -> tuple[bytes, str]:
    """A file and its content type ("" if it is not said), from base64 or a data: url.

    Raises:
        UnitFailure: It is neither.
    """
    kind = ""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        kind = head.removeprefix("data:").partition(";")[0]
        if not comma or not head.endswith(";base64"):
            raise UnitFailure("AnswerUnreadable", "the service's answer holds a data: url that is not base64")
    try:
        return base64.b64decode(text, validate=True), kind
    except (binascii.Error, ValueError):
        raise UnitFailure("AnswerUnreadable", "what the service's answer holds is not base64") from None


def _found(answer: Any, pointer: str) -> Any:
    try:
        return resolve_pointer(answer, pointer, _ABSENT)
    except JsonPointerException:
        return _ABSENT


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            if value:
                yield value
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _shape(answer: Any) -> str:
    """What an answer looks like, without its content."""
    match answer:
        case Mapping():
            return f"the fields {', '.join(sorted(map(str, answer))[:20]) or 'of an empty object'}"
        case list():
            return f"a list of {len(answer)}"
    return "no JSON object"
