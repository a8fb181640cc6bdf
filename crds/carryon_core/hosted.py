"""`generate.http`: a unit made by a service that is asked over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from carryon_core.name_fields import SecretName, TokenKey
from carryon_core.schema import Model, PreservedObject, rule, rules, text

_URL = rule("self.matches('^https?://[^\\\\s]+$') || self.contains('{{')", "must be a url: https://host/path")
Url = Annotated[str, text(2048, _URL)]
Pointer = Annotated[
    str,
    text(
        256,
        rule(
            "self.matches('^(/([^~/]|~[01])*)*$')",
            "must be a JSON pointer into the service's answer, such as /id or /output/0",
        ),
        shortest=0,
    ),
]
FileName = Annotated[
    str,
    text(128, rule("self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*$')", "must be the name of a file, such as clip.mp4")),
]
Word = Annotated[str, text(64)]
Words = Annotated[list[Word], Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})]


class SecretKey(Model):
    """One key of a Secret in the job's namespace."""

    name: SecretName = Field(description="Name of the Secret.")
    key: TokenKey = Field(description="Key in it.")


class Header(Model):
    """One header of the requests."""

    name: Annotated[
        str,
        text(
            128,
            rule("self.matches('^[A-Za-z0-9!#$%&.+*^_|~-]+$')", "must be the name of a header, such as Authorization"),
        ),
    ] = Field(description="Its name.")
    value: Annotated[str, text(4096, shortest=0)] = Field(
        description="Its value; may be a template. {secret} stands for what `secret` names, as in `Bearer {secret}`."
    )


class Poll(Model):
    """How the service is asked what became of a submission."""

    url: Url | None = Field(
        default=None, description="Where to ask; {id} stands for the submission's id, as in https://host/jobs/{id}."
    )
    url_at: Pointer | None = Field(
        default=None, description="Where the answer to the submission names that url, such as /urls/get."
    )
    status: Pointer = Field(default="/status", description="Where an answer says how far it is.")
    succeeded: Words = Field(
        default=["succeeded", "success", "completed", "complete", "done"],
        description="What it says once it is done, in capital letters or not.",
    )
    failed: Words = Field(
        default=["failed", "failure", "error", "canceled", "cancelled", "expired", "rejected"],
        description="What it says once it has failed. Anything else: it is being made.",
    )
    error: Pointer = Field(default="/error", description="Where it says why it failed.")
    progress: Pointer | None = Field(
        default=None, description="Where it says how much is done: a number up to 1, or percents."
    )
    every_seconds: int = Field(default=5, ge=1, le=3600, description="Seconds between two questions.")


class Result(Model):
    """Where what was made is found in the last answer. Without any of these the answer itself is the file."""

    urls: Pointer | None = Field(default=None, description="Where it names a url to download from, or a list of them.")
    url: Url | None = Field(default=None, description="A url to download from; {id} stands for the submission's id.")
    base64: Pointer | None = Field(default=None, description="Where it holds a file as base64, or a list of them.")
    text: Pointer | None = Field(default=None, description="Where it holds a text, or a list of them.")
    name: FileName | None = Field(
        default=None,
        description="Name of the artifact; clip-0.mp4, clip-1.mp4 where there are several. null: by the url's last part"
        " and the type of the content.",
    )


class Http(Model):
    """A service that makes units: submitted once, asked until it is done, downloaded."""

    url: Url = Field(description="Where to submit; may be a template.")
    method: Literal["POST", "PUT", "GET"] = Field(default="POST", description="Of the submission.")
    headers: Annotated[
        list[Header],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(
        default_factory=list, description="Of every request to the host of `url`; downloads from others get none."
    )
    secret: SecretKey | None = Field(default=None, description="What {secret} stands for in headers.")
    body: PreservedObject = Field(
        default_factory=dict,
        description="What is submitted; values may be templates. Files become data: urls, or parts of a form.",
    )
    encoding: Literal["json", "multipart"] = Field(default="json", description="How `body` is written.")
    idempotency_header: (
        Annotated[str, text(128, rule("self.matches('^[A-Za-z0-9-]+$')", "must be the name of a header"))] | None
    ) = Field(
        default="Idempotency-Key",
        description="Header by which the service knows a submission that is repeated, and makes nothing twice. null: it"
        " knows none; then a submission of which nobody knows whether it arrived fails its unit for good.",
    )
    id: Pointer = Field(
        default="/id", description="Where the answer to the submission holds the id that stands for {id}."
    )
    poll: Poll | None = Field(
        default=None,
        description="null: the answer to the submission is the last one.",
        json_schema_extra=rules(
            rule("has(self.url) != has(self.urlAt)", "poll takes exactly one of url and urlAt: give one of them")
        ),
    )
    result: Result = Field(
        default_factory=Result,
        json_schema_extra=rules(
            rule(
                "(has(self.urls) ? 1 : 0) + (has(self.url) ? 1 : 0) + (has(self.base64) ? 1 : 0)"
                " + (has(self.text) ? 1 : 0) <= 1",
                "result takes at most one of urls, url, base64 and text: give one of them",
            )
        ),
    )
    give_up_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description="How long a request is tried again that the service does not take: too many requests, out of order,"
        " not to be reached.",
    )
