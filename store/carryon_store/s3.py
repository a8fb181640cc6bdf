"""S3, and whatever speaks like it, by boto3.

Coordination is by `If-None-Match: *` alone, which is atomic wherever it exists. Older stores answer 501, and some
ignore the header; with those a create-only put looks first and then writes. `If-Match` is not used at all: in races of
several writers, servers that know it were seen to let two win.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from carryon_core.messages import StoreConfig
from carryon_store.errors import Changed, Conflict, Denied, NotFound, StoreError, TooLarge, Unreachable
from carryon_store.local import Body, arriving, open_body
from carryon_store.protocol import DOCUMENT_LIMIT, Credentials, Guard, ObjectInfo, check_key, check_prefix
from carryon_store.s3_errors import FAILURES, Contended, Unsupported, is_bare_404, store_error

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

PROBES: Final = "_probe/"
"""Prefix of the objects that `S3Store.supports_conditional_puts` writes and removes."""
_MIB: Final = 1 << 20
_SINGLE_PUT_LIMIT: Final = 5 * 1024 * _MIB
"""Bytes that S3 takes in one request."""
_CLIENTS: Final = 32
"""Clients kept: one costs a few MB, and rotated credentials make new ones."""
_PARTS: Final = 4
"""Parts of a file that are sent at the same time."""
_CONTENDED_TRIES: Final = 6
_PARTIAL: Final = 206
_ALWAYS: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class Connection:
    """A client for one endpoint, region and credentials, with what was learnt about its buckets.

    Attributes:
        endpoint: Whom errors name.
        conditional_puts: Bucket -> whether `If-None-Match: *` works there.
        trusted: It is AWS, which need not be probed.
    """

    client: S3Client
    endpoint: str
    trusted: bool
    conditional_puts: dict[str, bool] = field(default_factory=dict)


class Connections:
    """Clients of one boto3 session, the least recently used of which are dropped. Thread-safe."""

    def __init__(self, guard: Guard | None = None) -> None:
        """Open nothing yet.

        Args:
            guard: Asked right before each request that writes or deletes, also when botocore repeats one.
        """
        self._guard = guard
        self._session = boto3.Session()
        self._lock = threading.Lock()
        self._pool: OrderedDict[tuple[str | None, str | None, Credentials | None], Connection] = OrderedDict()

    def open(self, bucket: str, prefix: str, config: StoreConfig, credentials: Credentials | None) -> S3Store:
        """Open the part of a bucket below `prefix`, which neither begins nor ends with a slash; "" is all of it."""
        return S3Store(self.connect(config, credentials), bucket, prefix)

    def connect(self, config: StoreConfig, credentials: Credentials | None) -> Connection:
        """The connection for an endpoint, region and credentials.

        Raises:
            StoreError: The endpoint or region can't be one.
        """
        # The same variables as botocore's own, looked up here because behaviour differs off AWS.
        endpoint = config.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        wanted = (endpoint, config.region, credentials)
        with self._lock:  # Making clients is what is not thread-safe in boto3.
            connection = self._pool.pop(wanted, None) or self._connect(config, endpoint, credentials)
            self._pool[wanted] = connection
            if len(self._pool) > _CLIENTS:
                self._pool.popitem(last=False)
        return connection

    def _connect(self, config: StoreConfig, endpoint: str | None, credentials: Credentials | None) -> Connection:
        # Other servers than AWS may want a path instead of a host per bucket, and store or refuse (400, 501) the
        # framing that optional checksums come in over https.
        away = endpoint is not None
        try:
            client = self._session.client(
                "s3",
                endpoint_url=endpoint,
                region_name=config.region or self._session.region_name or "us-east-1",
                aws_access_key_id=credentials.access_key_id if credentials else None,
                aws_secret_access_key=credentials.secret_access_key if credentials else None,
                aws_session_token=credentials.session_token if credentials else None,
                config=Config(
                    signature_version="s3v4",
                    connect_timeout=5,
                    read_timeout=30,
                    retries={"mode": "standard", "total_max_attempts": 4},
                    max_pool_connections=16,
                    tcp_keepalive=True,
                    request_checksum_calculation="when_required" if away else "when_supported",
                    response_checksum_validation="when_required" if away else "when_supported",
                    s3={"addressing_style": "path" if away else "auto"},
                ),
            )
        except (*FAILURES, ValueError) as error:
            raise store_error(error, config.uri, endpoint or "AWS") from error
        if self._guard is not None:
            client.meta.events.register("before-send.s3", partial(_ask, self._guard))
        return Connection(client, client.meta.endpoint_url, trusted=not away)


class S3Store:
    """A bucket, or the part of one below a prefix."""

    def __init__(
        self,
        connection: Connection,
        bucket: str,
        prefix: str,
        *,
        page_size: int = 1000,
        multipart_bytes: int = 64 * _MIB,
    ) -> None:
        """Open it; nothing is asked of the server yet.

        Args:
            connection: Shared with other stores.
            bucket: Its name.
            prefix: Without slashes at its ends; "" is the whole bucket.
            page_size: Objects a listing asks for at a time, at most 1,000.
            multipart_bytes: Size from which files go in parts of a quarter of it, at least 5 MiB each.
        """
        self._connection = connection
        self._client = connection.client
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._page_size = page_size
        self._multipart = TransferConfig(
            multipart_threshold=multipart_bytes,
            multipart_chunksize=max(5 * _MIB, multipart_bytes // 4),
            max_concurrency=_PARTS,
        )
        # Or ten are read ahead, however few are sent at the same time.
        self._multipart.max_in_memory_upload_chunks = _PARTS

    @property
    def uri(self) -> str:
        """Where the root is."""
        return f"s3://{self._bucket}/{self._base}".rstrip("/")

    def put(self, key: str, body: Body, *, content_type: str, only_if_absent: bool = False) -> ObjectInfo:
        """See `Store.put`; `modified` is by this machine's clock for what goes in one request."""
        with open_body(body) as source:
            size = source.seek(0, os.SEEK_END)
            if only_if_absent:
                if size <= _SINGLE_PUT_LIMIT and self.supports_conditional_puts():
                    try:
                        return self._create(key, source, size, content_type)
                    except Unsupported:
                        self._connection.conditional_puts[self._bucket] = False
                # No atomic way. What two writers at the same instant do to each other is theirs to make harmless: see
                # `units`.
                self._refuse_existing(key)
            source.seek(0)
            if size < self._multipart.multipart_threshold:
                return self._send(key, source, size, content_type)
            with self._errors(key):
                # Aborts the upload if it fails.
                self._client.upload_fileobj(
                    source, self._bucket, self._full(key), {"ContentType": content_type}, Config=self._multipart
                )
            return self.head(key)

    def get(self, key: str, *, max_bytes: int = DOCUMENT_LIMIT) -> bytes:
        """See `Store.get`."""
        with self._errors(key):
            response = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            with closing(response["Body"]) as body:
                if response["ContentLength"] > max_bytes:
                    raise TooLarge(f"{self._name(key)} is larger than the {max_bytes} bytes it may have")
                return body.read()  # All at once: only so does botocore notice an answer that breaks off.

    def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        with arriving(path) as target, self._errors(key):
            self._client.download_fileobj(self._bucket, self._full(key), target, Config=self._multipart)

    def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Store.read`; one request."""
        left = info.size - offset if length is None else length
        if not left:
            # There is no range without bytes.
            return
        part: dict[str, Any] = {} if left == info.size else {"Range": f"bytes={offset}-{offset + left - 1}"}
        with self._errors(info.key):
            response = self._client.get_object(Bucket=self._bucket, Key=self._full(info.key), **part)
            with closing(response["Body"]) as body:
                if _unquoted(response["ETag"]) != info.etag:
                    raise Changed(f"{self._name(info.key)} has changed since it was listed: look at it again")
                if part and response["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL:
                    endpoint = self._connection.endpoint
                    raise StoreError(f"{self._name(info.key)}: {endpoint} gives no parts of objects")
                # Read to its end: only so is an answer noticed that breaks off.
                yield from body.iter_chunks(_MIB)

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """See `Store.presign`; by SigV4."""
        asked = {
            "Bucket": self._bucket,
            "Key": self._full(key),
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
        }
        with self._errors(key):
            return self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def sha256(self, key: str) -> str:
        """See `Store.sha256`."""
        digest = hashlib.sha256()
        with self._errors(key):
            response = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            with closing(response["Body"]) as body:
                for piece in body.iter_chunks(_MIB):  # Read to its end: only so is an answer noticed that breaks off.
                    digest.update(piece)
        return digest.hexdigest()

    def head(self, key: str) -> ObjectInfo:
        """See `Store.head`."""
        with self._errors(key):
            response = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        return ObjectInfo(key, response["ContentLength"], _unquoted(response["ETag"]), response["LastModified"])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._base + check_prefix(prefix),
            PaginationConfig={"PageSize": self._page_size},
        )
        with self._errors(prefix):
            for page in pages:
                if "IsTruncated" not in page:
                    # A proxy's empty 200, say: botocore takes it for a page without objects.
                    raise Unreachable(f"{self.uri}: {self._connection.endpoint} does not answer as S3 does")
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._base)
                    yield ObjectInfo(key, found["Size"], _unquoted(found["ETag"]), found["LastModified"])

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with suppress(NotFound), self._errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def supports_conditional_puts(self) -> bool:
        """See `Store.supports_conditional_puts`; asked of the server once per connection and bucket."""
        known = self._connection.conditional_puts.get(self._bucket)
        if known is None:
            known = self._connection.trusted or self._probe()
            self._connection.conditional_puts[self._bucket] = known
        return known

    def _probe(self) -> bool:
        """Write an object that exists, create-only: a store that knows the header refuses."""
        key = f"{PROBES}{uuid.uuid4().hex}"
        self.put(key, b"", content_type="text/plain")
        try:
            with open_body(b"") as source:
                self._create(key, source, 0, "text/plain")
        except Conflict:
            return True
        except Unsupported:
            return False
        else:
            return False
        finally:
            with suppress(Denied):  # Whoever may not delete leaves an empty object: no reason to refuse the job.
                self.delete(key)

    def _create(self, key: str, source: BinaryIO, size: int, content_type: str) -> ObjectInfo:
        left = _CONTENDED_TRIES
        while True:
            source.seek(0)
            try:
                return self._send(key, source, size, content_type, {"IfNoneMatch": "*"})
            except Contended:
                left -= 1
                if not left:
                    raise
                time.sleep(random.uniform(0.05, 0.5))

    def _send(
        self, key: str, source: BinaryIO, size: int, content_type: str, conditions: Mapping[str, Any] = _ALWAYS
    ) -> ObjectInfo:
        with self._errors(key):
            response = self._client.put_object(
                Bucket=self._bucket, Key=self._full(key), Body=source, ContentType=content_type, **conditions
            )
        return ObjectInfo(key, size, _unquoted(response["ETag"]), datetime.now(UTC))

    def _refuse_existing(self, key: str) -> None:
        try:
            self.head(key)
        except NotFound:
            return
        raise Conflict(f"{self._name(key)} exists already")

    def _full(self, key: str) -> str:
        return self._base + check_key(key)

    def _name(self, key: str) -> str:
        return f"{self.uri}/{key}"

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn botocore's errors into the store's."""
        try:
            yield
        except FAILURES as error:
            if is_bare_404(error):
                self._require_bucket()
            raise store_error(error, self._name(key), self._connection.endpoint) from error

    def _require_bucket(self) -> None:
        """Make sure that it is the object that is missing, and not the bucket, of which nothing may be concluded."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except FAILURES as error:
            raise store_error(error, self.uri, self._connection.endpoint) from error


def _ask(guard: Guard, request: AWSPreparedRequest, **_: object) -> None:
    if request.method not in ("GET", "HEAD"):
        guard()


def _unquoted(etag: str) -> str:
    return etag.strip('"')
