"""What botocore raises, as the store's errors: the only place that knows both."""

from __future__ import annotations

from typing import Final

from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError
from s3transfer import exceptions as transfer

from carryon_store.errors import Changed, Conflict, Denied, Full, NotFound, StoreError, Unreachable

FAILURES: Final = (
    botocore.BotoCoreError,
    botocore.ClientError,
    ResponseParserError,
    transfer.RetriesExceededError,
    transfer.S3DownloadFailedError,
)
"""What calls of a client may raise."""

_EXPIRED: Final = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
"""Refused credentials that S3 answers with 400 instead of 403."""
_BUSY: Final = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded")
_FULL: Final = ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
"""Ceph answers them with 403, MinIO with 507 and 400."""
_ELSEWHERE: Final = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
_NAMELESS: Final = ("", "404")
_NO_CREDENTIALS: Final = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.ProfileNotFound,
    botocore.NoAuthTokenError,
    botocore.TokenRetrievalError,
    botocore.UnauthorizedSSOTokenError,
)
_NO_ANSWER: Final = (
    botocore.ConnectionError,
    botocore.HTTPClientError,
    botocore.IncompleteReadError,
    botocore.FlexibleChecksumError,
    botocore.PaginationError,
    transfer.RetriesExceededError,
    transfer.S3DownloadFailedError,
)


class Contended(Unreachable):
    """Another write of the same key is under way: ask again at once."""


class Unsupported(StoreError):
    """The store does not know what was asked, such as a conditional put."""


def is_bare_404(error: Exception) -> bool:
    """Whether the answer was a 404 that does not say what is missing: HEAD has no body to name key or bucket."""
    return isinstance(error, botocore.ClientError) and _status(error) == 404 and _code(error) in _NAMELESS


def store_error(error: Exception, name: str, endpoint: str) -> StoreError:
    """The store's error for one of botocore.

    Args:
        error: One of `FAILURES`.
        name: Uri of the object that was asked for.
        endpoint: Whom it was asked from.
    """
    if isinstance(error, botocore.ClientError):
        return _answer(error, name, endpoint)
    if isinstance(error, _NO_CREDENTIALS):
        return Denied(f"{name}: no usable credentials ({error}); name a Secret in output.credentialsSecret")
    if isinstance(error, ResponseParserError):
        return Unreachable(f"{name}: {endpoint} does not answer as S3 does; check output.endpoint")
    if isinstance(error, _NO_ANSWER):
        return Unreachable(f"{name}: no answer from {endpoint} ({error}); check output.endpoint and the network")
    return StoreError(f"{name}: {error}")


def _answer(error: botocore.ClientError, name: str, endpoint: str) -> StoreError:
    status, code = _status(error), _code(error)
    said = f"{code or status}: {error.response['Error'].get('Message') or 'no message'}"
    if code == "NoSuchBucket" or (status == 404 and error.operation_name in ("HeadBucket", "ListObjectsV2")):
        return StoreError(f"{name}: {endpoint} has no such bucket; create it, or correct output.uri")
    if code == "NoSuchKey" or is_bare_404(error):
        return NotFound(f"{name} does not exist")
    if status == 412:
        return Conflict(f"{name} exists already")
    if status == 416:
        # A part beyond the end of an object that has become shorter.
        return Changed(f"{name} has changed since it was listed: look at it again")
    if status == 409 and code in ("ConditionalRequestConflict", "OperationAborted"):
        return Contended(f"{name}: {endpoint} is busy with another write of it; ask again")
    if status == 507 or code in _FULL:
        return Full(
            f"{name}: {endpoint} has no room ({said}); raise its quota, free space or choose another output.uri"
        )
    if status in (401, 403) or code in _EXPIRED:
        return Denied(f"{name}: {endpoint} refuses these credentials ({said}); check output.credentialsSecret")
    if code in _ELSEWHERE or status in (301, 307):
        return StoreError(f"{name}: the bucket is in another region ({said}); set output.region")
    if status == 501:
        return Unsupported(f"{name}: {endpoint} can't do {error.operation_name} ({said})")
    if status == 429 or status >= 500 or code in _BUSY:
        return Unreachable(f"{name}: {endpoint} fails for now ({said}); ask again later")
    return StoreError(f"{name}: {endpoint} refuses {error.operation_name} ({said})")


def _status(error: botocore.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: botocore.ClientError) -> str:
    return str(error.response["Error"].get("Code") or "")
