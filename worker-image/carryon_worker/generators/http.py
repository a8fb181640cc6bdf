"""A hosted model as a generator: submit, ask until it is done, download.

The service is paid for what is submitted, so a submission is noted in the bucket before it is sent and once it is
taken: a worker that is killed in between, or while the service works, is replaced by one that takes it up.
"""

from __future__ import annotations

import base64
import json
import logging
import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from carryon_core import names
from carryon_core.hosted import Http, Poll
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import Generator, InputFile, Made, Output, configuration, http_answers
from carryon_worker.generators.http_answers import State
from carryon_worker.generators.http_requests import NOT_THERE, SERVICE_UNAVAILABLE, Answer, Requests, Unsure
from carryon_worker.generators.submission import Record, Stand
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_ID: Final = "{id}"
_SECRET: Final = "{secret}"
_ANSWER_LARGEST: Final = 64 * 2**20
"""Bytes of an answer that is read as JSON."""
_KEPT_LARGEST: Final = 2**20
"""Bytes of an answer to a submission that is kept: one that holds files is asked for again instead."""
_PART: Final = re.compile(r"[^A-Za-z0-9._-]+")
_TYPES: Final = mimetypes.MimeTypes()
_USUAL: Final = {"image/jpeg": ".jpg", "audio/mpeg": ".mp3", "text/plain": ".txt", "audio/wav": ".wav"}


class HttpGenerator(Generator):
    """Submits one request a unit."""

    device = "remote"

    def present(self, file: InputFile) -> Any:
        """The file itself: only the body knows how it is to be written."""
        return file

    def versions(self) -> Mapping[str, str]:
        """Of the client."""
        return {"httpx2": version("httpx2")}

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Have one unit made."""
        wanted = configuration.parse(Http, "http", config)
        record = Record(session.checkpoint(), session.keep)
        with closing(Requests(wanted.url, _headers(wanted), wanted.give_up_seconds, session.moved)) as requests:
            if wanted.poll is None:
                last = _submit(wanted, requests, record, session)
                return Made(_collect(wanted, last, None, requests, session))
            if record.submission.stand is Stand.TAKEN:
                _log.info("taking up submission %d, which an earlier attempt has sent", record.submission.number)
            else:
                record.taken(_json(_submit(wanted, requests, record, session), _KEPT_LARGEST))
            first = record.submission.answer
            last = _await(wanted, wanted.poll, requests, record, session)
            return Made(_collect(wanted, last, first, requests, session))


def _submit(wanted: Http, requests: Requests, record: Record, session: Session) -> Answer:
    """The answer to the submission, which is sent anew unless the service knows it already.

    Raises:
        UnitFailure: The service does not take it.
    """
    known = wanted.idempotency_header
    if record.submission.stand is not Stand.NEW and known is None:
        raise _unknown("an earlier attempt ended while it was being sent")
    unit = f"{session.namespace}/{session.job}/{session.stage}/{session.item}/{session.fingerprint}"
    headers = {} if known is None else {known: record.submission.key(unit)}
    record.sending()
    content = _content(wanted, headers)
    try:
        return requests.send(
            wanted.method, wanted.url, session.scratch / "submitted", repeatable=known is not None, **content
        )
    except Unsure as unsure:
        raise _unknown(str(unsure)) from None
    except UnitFailure as failure:
        if known is None or failure.reason != SERVICE_UNAVAILABLE:
            # It was not taken. Under the same key a service may give the same answer for ever.
            record.ended()
        raise


def _await(wanted: Http, poll: Poll, requests: Requests, record: Record, session: Session) -> Answer:
    """The answer that says it is done.

    Raises:
        UnitFailure: The service has failed, or forgotten it.
    """
    url = _address(wanted, poll, record.submission.answer)
    while True:
        try:
            answer = requests.send("GET", url, session.scratch / "asked")
        except UnitFailure as failure:
            if failure.reason != NOT_THERE:
                raise
            record.ended()
            raise UnitFailure("SubmissionLost", f"the service knows it no more: {failure.message}") from None
        said = _json(answer, _ANSWER_LARGEST)
        match http_answers.state(poll, said):
            case State.SUCCEEDED:
                return answer
            case State.FAILED:
                record.ended()
                raise UnitFailure("ServiceFailed", f"the service failed: {http_answers.why_failed(poll, said)}")
        percent = http_answers.percent(poll, said)
        if percent is not None:
            session.step(percent, 100)
        requests.rest(poll.every_seconds)


def _collect(wanted: Http, last: Answer, first: Any, requests: Requests, session: Session) -> Sequence[Output]:
    """What was made, as files.

    Args:
        wanted: The unit's configuration.
        last: The answer that holds or names it.
        first: The answer to the submission; None where that is the last one too.
        requests: To download with.
        session: Of the unit.
    """
    result = wanted.result

    def path() -> Path:
        return session.scratch / f"made-{len(made)}"

    made: list[tuple[Path, str]] = []
    if result.url is not None:
        url = _with_id(result.url, wanted.id, first if wanted.poll else _json(last, _ANSWER_LARGEST))
        made.append(_download(url, requests, path()))
    elif result.urls is not None:
        for each in http_answers.texts(_json(last, _ANSWER_LARGEST), result.urls, "result.urls"):
            # A relative one is meant from where it was found.
            made.append(_download(each if each.startswith("data:") else urljoin(last.url, each), requests, path()))
    elif result.base64 is not None:
        for each in http_answers.texts(_json(last, _ANSWER_LARGEST), result.base64, "result.base64"):
            content, kind = http_answers.decoded(each)
            path().write_bytes(content)
            made.append((path(), _name("", kind)))
    elif result.text is not None:
        for each in http_answers.texts(_json(last, _ANSWER_LARGEST), result.text, "result.text"):
            path().write_text(each, encoding="utf-8")
            made.append((path(), "text.txt"))
    else:
        made.append((last.path, _name(last.url, last.content_type)))
    return _named(made, result.name, session.outputs)


def _download(url: str, requests: Requests, path: Path) -> tuple[Path, str]:
    if url.startswith("data:"):
        content, kind = http_answers.decoded(url)
        path.write_bytes(content)
        return path, _name("", kind)
    answer = requests.send("GET", url, path)
    if not answer.path.stat().st_size:
        raise UnitFailure("EmptyResult", "the service gave an empty file")
    return path, _name(answer.url, answer.content_type)


def _named(made: Sequence[tuple[Path, str]], name: str | None, outputs: Path) -> Sequence[Output]:
    """Files under their final names, each another one."""
    found = []
    for number, (path, own) in enumerate(made):
        stem, suffix = os.path.splitext(name or own)
        final = f"{stem}-{number}{suffix}" if len(made) > 1 else f"{stem}{suffix}"
        found.append(Output(final, path.replace(outputs / final)))
    return found


def _name(url: str, kind: str) -> str:
    """A file name by the last part of a url and a content type."""
    stem, suffix = os.path.splitext(_PART.sub("-", unquote(urlsplit(url).path).rpartition("/")[2]).strip(".-"))
    usual = _USUAL.get(kind) or _TYPES.guess_extension(kind) or ""
    if kind in ("", "application/octet-stream", "binary/octet-stream"):
        usual = suffix or ".bin"
    elif _TYPES.guess_type(f"x{suffix}")[0] == kind:
        usual = suffix
    return f"{stem[:64] or 'result'}{usual}"


def _address(wanted: Http, poll: Poll, first: Any) -> str:
    """Where to ask what became of a submission."""
    if poll.url is not None:
        return _with_id(poll.url, wanted.id, first)
    if poll.url_at is None:
        raise BadRequest("poll takes one of url and urlAt: give one of them")
    return urljoin(wanted.url, http_answers.required(first, poll.url_at, "poll.urlAt"))


def _with_id(url: str, pointer: str, first: Any) -> str:
    return url.replace(_ID, quote(http_answers.required(first, pointer, "id"), safe="")) if _ID in url else url


def _headers(wanted: Http) -> Mapping[str, str]:
    secret = os.environ.get(names.ENV_HTTP_SECRET, "")
    found = {}
    for header in wanted.headers:
        if _SECRET in header.value and not secret:
            raise BadRequest(f"header {header.name} takes {_SECRET}: give `secret` the name and key of a Secret")
        value = header.value.replace(_SECRET, secret.strip())
        if not value.isascii() or not value.isprintable():
            raise BadRequest(f"header {header.name} holds characters that headers can't: use those of ASCII")
        found[header.name] = value
    return found


def _content(wanted: Http, headers: Mapping[str, str]) -> dict[str, Any]:
    """Body and headers of the submission, as httpx2 takes them."""
    if wanted.method == "GET":
        return {"headers": headers, "params": {name: _field(name, value) for name, value in wanted.body.items()}}
    if wanted.encoding == "json":
        return {"headers": headers, "json": _plain(wanted.body)}
    files = [
        # A field that is no file has no file name: every part in one list makes the body multipart in any case.
        (name, (each.name.rpartition("/")[2], each.path.read_bytes(), each.content_type))
        if isinstance(each, InputFile)
        else (name, (None, _field(name, each).encode()))
        for name, value in wanted.body.items()
        for each in (value if isinstance(value, list) and any(isinstance(e, InputFile) for e in value) else [value])
    ]
    return {"headers": headers, "files": files}


def _field(name: str, value: Any) -> str:
    if isinstance(value, InputFile):
        raise BadRequest(f"body.{name} is a file, which a GET can't submit: use POST")
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """JSON, in which files are data: urls."""
    match value:
        case InputFile():
            return f"data:{value.content_type};base64,{base64.b64encode(value.path.read_bytes()).decode()}"
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
    return value


def _json(answer: Answer, largest: int) -> Any:
    """An answer's body.

    Raises:
        UnitFailure: It is no JSON.
    """
    size = answer.path.stat().st_size
    if size > largest:
        raise UnitFailure("AnswerUnreadable", f"the service's answer has {size} bytes, more than {largest}")
    try:
        return json.loads(answer.path.read_bytes())
    except ValueError:
        kind = answer.content_type or "of unknown type"
        raise UnitFailure("AnswerUnreadable", f"the service's answer is no JSON, but {kind}") from None


def _unknown(what: str) -> UnitFailure:
    return UnitFailure(
        "SubmissionUnknown",
        f"nobody knows whether the service has taken the submission ({what}), and it is not to be paid twice: look"
        " there, then give the stage another `revision` to submit again",
        permanent=True,
    )
