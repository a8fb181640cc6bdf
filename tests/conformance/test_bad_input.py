"""Bad input: what is wrong is refused with one sentence that names the field and what to change.

As much as schema and rules can see is refused by the API server, at `kubectl apply`, and never stored. The rest is
stored and not accepted: the condition Accepted says why, and nothing is launched.

The API server is the embedded one, or the cluster of the kubeconfig that CARRYON_TEST_KUBECONFIG names. The sentences
are the same on both.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from carryon_core import crd, names
from carryon_core.spec import JobSpec

NAMESPACE = "default"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
JOBS = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

BASE = yaml.safe_load("""
apiVersion: carryon.dev/v1alpha1
kind: GenerationJob
metadata:
  name: wrong
spec:
  items:
    list:
    - {id: dunes, params: {prompt: sand}}
    - {id: sea}
  stages:
  - name: image
    generate:
      command: {args: [draw, "{{ item.id }}"]}
  - name: clip
    after: [image]
    generate:
      command: {args: [film, "{{ inputs.image }}"]}
""")
"""A job in which everything is right. Each case changes one thing."""

GONE = object()
NOT_CHECKED = "some validation rules were not checked because the object was invalid"


def changed(change: dict[str, Any]) -> dict[str, Any]:
    """The base with values at dotted paths; GONE takes a field out."""
    made = copy.deepcopy(BASE)
    for path, value in change.items():
        *way, last = path.split(".")
        inside: Any = made
        for step in way:
            inside = inside[int(step)] if isinstance(inside, list) else inside.setdefault(step, {})
        if value is GONE:
            del inside[last]
        else:
            inside[int(last) if isinstance(inside, list) else last] = copy.deepcopy(value)
    return made


def command(*args: str) -> dict[str, Any]:
    return {"command": {"args": list(args)}}


def stages(*chosen: str) -> list[dict[str, Any]]:
    return [{"name": name, "generate": command("make")} for name in chosen]


IMAGE = "spec.stages.0.generate"
ENV = f"{IMAGE}.command.env"
OUTPUT = "spec.output"
S3 = {"uri": "s3://bucket/prefix"}
TEXT = {"model": "m", "prompt": "x"}
ROWS = {"uri": "s3://bucket/items.csv", "format": "csv"}

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    # name: what is changed, the field that the server names, its sentence
    "no spec": ({"spec": GONE}, "spec", "Required value"),
    "no items": ({"spec.items": GONE}, "spec.items", "Required value"),
    "neither list nor count": (
        {"spec.items": {}},
        "spec.items",
        "items takes exactly one of list, count and from: give one of them",
    ),
    "both list and count": (
        {"spec.items.count": 3},
        "spec.items",
        "items takes exactly one of list, count and from: give one of them",
    ),
    "items from two places": (
        {
            "spec.items": {
                "from": {"uri": "s3://bucket/k", "configMapKeyRef": {"name": "a", "key": "b"}, "format": "csv"}
            }
        },
        "spec.items.from",
        "items.from takes exactly one of uri and configMapKeyRef: give one of them",
    ),
    "items from another store": (
        {"spec.items": {"from": {"uri": "https://host/items.csv", "format": "csv"}}},
        "spec.items.from.uri",
        "items.from.uri must be s3://bucket/key or file:///absolute/path",
    ),
    "items from a folder beside the folder": (
        {"spec.items": {"from": {"uri": "file:///in/../etc/items.csv", "format": "csv"}}},
        "spec.items.from.uri",
        "items.from.uri must not contain ..: write the path out",
    ),
    "items of another format": (
        {"spec.items": {"from": {"uri": "s3://bucket/items.xml", "format": "xml"}}},
        "spec.items.from.format",
        'Unsupported value: "xml": supported values: "csv", "jsonl"',
    ),
    "a bad name of a ConfigMap": (
        {"spec.items": {"from": {"configMapKeyRef": {"name": "My_Map", "key": "b"}, "format": "csv"}}},
        "spec.items.from.configMapKeyRef.name",
        "must be the name of a ConfigMap: lower-case letters, digits, dashes and dots",
    ),
    "a bad key of a ConfigMap": (
        {"spec.items": {"from": {"configMapKeyRef": {"name": "a", "key": "b/c"}, "format": "csv"}}},
        "spec.items.from.configMapKeyRef.key",
        "must be a key of the ConfigMap, such as items.csv",
    ),
    "a webhook with a password": (
        {"spec.notify": [{"url": "https://user:word@hooks.example/"}]},
        "spec.notify[0].url",
        "notify.url must be https://host/path or http://host/path, in ASCII, without user, password and #fragment",
    ),
    "a webhook twice": (
        {"spec.notify": [{"url": "https://hooks.example/"}, {"url": "https://hooks.example/"}]},
        "spec.notify[1]",
        'Duplicate value: {"url":"https://hooks.example/"}',
    ),
    "a webhook for what is no event": (
        {"spec.notify": [{"url": "https://hooks.example/", "events": ["Done"]}]},
        "spec.notify[0].events[0]",
        'Unsupported value: "Done": supported values: "Succeeded", "Failed", "Stalled", "Suspended"',
    ),
    "a webhook without a key of its Secret": (
        {"spec.notify": [{"url": "https://hooks.example/", "signingSecret": {"name": "hook"}}]},
        "spec.notify[0].signingSecret.key",
        "Required value",
    ),
    "no rows": (
        {"spec.items": {"from": {"uri": "s3://bucket/items.csv", "format": "csv", "first": 0}}},
        "spec.items.from.first",
        "spec.items.from.first in body should be greater than or equal to 1",
    ),
    "an empty list": (
        {"spec.items.list": []},
        "spec.items.list",
        "spec.items.list in body should have at least 1 items",
    ),
    "a list too long": (
        {"spec.items.list": [{"id": str(index)} for index in range(1001)]},
        "spec.items.list",
        "must have at most 1000 items",
    ),
    "count 0": (
        {"spec.items": {"count": 0}},
        "spec.items.count",
        "spec.items.count in body should be greater than or equal to 1",
    ),
    "count too large": (
        {"spec.items": {"count": 100_001}},
        "spec.items.count",
        "spec.items.count in body should be less than or equal to 100000",
    ),
    "an id twice": ({"spec.items.list.1.id": "dunes"}, "spec.items.list[1]", 'Duplicate value: {"id":"dunes"}'),
    "an id with a tab": (
        {"spec.items.list.0.id": "du\tnes"},
        "spec.items.list[0].id",
        "an item's id must not contain control characters such as tabs or line breaks",
    ),
    "an id too long": (
        {"spec.items.list.0.id": "x" * 129},
        "spec.items.list[0].id",
        "Too long: may not be more than 128 bytes",
    ),
    "an empty id": (
        {"spec.items.list.0.id": ""},
        "spec.items.list[0].id",
        "spec.items.list[0].id in body should be at least 1 chars long",
    ),
    "no id": ({"spec.items.list.0.id": GONE}, "spec.items.list[0].id", "Required value"),
    "no stages": ({"spec.stages": GONE}, "spec.stages", "Required value"),
    "an empty list of stages": (
        {"spec.stages": []},
        "spec.stages",
        "spec.stages in body should have at least 1 items",
    ),
    "17 stages": (
        {"spec.stages": stages(*(f"s{number}" for number in range(17)))},
        "spec.stages",
        "Too many: 17: must have at most 16 items",
    ),
    "a stage twice": (
        {"spec.stages": stages("clip", "clip")},
        "spec.stages[1]",
        'Duplicate value: {"name":"clip"}',
    ),
    "a bad name of a stage": (
        {"spec.stages": stages("Clip_1")},
        "spec.stages[0].name",
        "a stage's name must be lower-case letters, digits and dashes, begin with a letter and not end in a dash,"
        " such as image or upscale-2",
    ),
    "a stage's name too long": (
        {"spec.stages": stages("c" * 21)},
        "spec.stages[0].name",
        "Too long: may not be more than 20 bytes",
    ),
    "after an unknown stage": (
        {"spec.stages.1.after": ["picture"]},
        "spec.stages",
        "after names a stage that is not in this job: use the names under spec.stages",
    ),
    "after itself": (
        {"spec.stages.0.after": ["image"]},
        "spec.stages",
        "a stage must not name itself in after: take its name out",
    ),
    "after a stage twice": (
        {"spec.stages.1.after": ["image", "image"]},
        "spec.stages[1].after[1]",
        'Duplicate value: "image"',
    ),
    "gathering from nowhere": (
        {"spec.stages.0.each": "job"},
        "spec.stages",
        "a stage with each: job gathers what the stages in its after made: name at least one there",
    ),
    "each of something else": (
        {"spec.stages.1.each": "batch"},
        "spec.stages[1].each",
        'Unsupported value: "batch": supported values: "item", "job"',
    ),
    "a stage called previous": (
        {"spec.stages": stages("previous")},
        "spec.stages",
        "a stage must not be named previous, because inputs.previous is the item before: choose another",
    ),
    "more than all": (
        {"spec.stages.0.success": {"minPercent": 101}},
        "spec.stages[0].success.minPercent",
        "spec.stages[0].success.minPercent in body should be less than or equal to 100",
    ),
    "an approval of another kind": (
        {"spec.stages.0.approval": "Optional"},
        "spec.stages[0].approval",
        'Unsupported value: "Optional": supported values: "Required"',
    ),
    "an approval of no stage": (
        {"spec.approved": {"picture": ["*"]}},
        "spec.approved",
        "approved names a stage that is not in this job: use the names under spec.stages",
    ),
    "an override of no stage": (
        {"spec.overrides": [{"stage": "picture", "item": "sea", "params": {"seed": 1}}]},
        "spec.overrides",
        "an override names a stage that is not in this job: use the names under spec.stages",
    ),
    "two overrides of one unit": (
        {"spec.overrides": [{"stage": "clip", "item": "sea", "params": {"seed": seed}} for seed in (1, 2)]},
        "spec.overrides[1]",
        'Duplicate value: {"item":"sea","stage":"clip"}',
    ),
    "an override of nothing": (
        {"spec.overrides": [{"stage": "clip", "item": "sea"}]},
        "spec.overrides[0].params",
        "Required value",
    ),
    "a time that is none": (
        {"spec.suspendUntil": "tomorrow"},
        "spec.suspendUntil",
        'spec.suspendUntil in body must be of type date-time: "tomorrow"',
    ),
    "a time without a zone": (
        {"spec.suspendUntil": "2026-12-01T06:00:00"},
        "spec.suspendUntil",
        'spec.suspendUntil in body must be of type date-time: "2026-12-01T06:00:00"',
    ),
    "cancel as text": (
        {"spec.cancel": "now"},
        "spec.cancel",
        'spec.cancel in body must be of type boolean: "string"',
    ),
    "too many rounds": (
        {"spec.retry.rounds": 21},
        "spec.retry.rounds",
        "spec.retry.rounds in body should be less than or equal to 20",
    ),
    "a round with another way to offload": (
        {"spec.retry.roundOverrides": [{"offload": "disk"}]},
        "spec.retry.roundOverrides[0].offload",
        'Unsupported value: "disk": supported values: "none", "model", "group", "sequential"',
    ),
    "groups of something that is not offloaded in groups": (
        {IMAGE: {"diffusers": {"model": "m", "memory": {"offload": "model", "groupOffload": {}}}}},
        "spec.stages[0].generate.diffusers.memory",
        "groupOffload says how offload: group divides the denoiser: set offload to group, or take it out",
    ),
    "groups in a round that does not offload": (
        {"spec.retry.roundOverrides": [{"groupOffload": {"level": "leaf"}}]},
        "spec.retry.roundOverrides[0]",
        "groupOffload says how offload: group divides the denoiser: set offload to group, or take it out",
    ),
    "blocks of leaves": (
        {"spec.retry.roundOverrides": [{"offload": "group", "groupOffload": {"level": "leaf", "blocksPerGroup": 2}}]},
        "spec.retry.roundOverrides[0].groupOffload",
        "blocksPerGroup counts blocks: take it out, or set level to block",
    ),
    "streams of several blocks": (
        {"spec.retry.roundOverrides": [{"offload": "group", "groupOffload": {"streams": True, "blocksPerGroup": 2}}]},
        "spec.retry.roundOverrides[0].groupOffload",
        "with streams the next block is loaded while one computes, one by one: take blocksPerGroup out, or streams",
    ),
    "a cast to a type that is no cast": (
        {"spec.retry.roundOverrides": [{"layerwiseCasting": "int8"}]},
        "spec.retry.roundOverrides[0].layerwiseCasting",
        'Unsupported value: "int8": supported values: "none", "float8_e4m3fn", "float8_e5m2"',
    ),
    "a job that may take no time": (
        {"spec.timeouts.job": "0s"},
        "spec.timeouts.job",
        "must be longer than zero; null means no limit",
    ),
    "no GPU seconds": (
        {"spec.limits.gpuSeconds": 0},
        "spec.limits.gpuSeconds",
        "spec.limits.gpuSeconds in body should be greater than or equal to 1",
    ),
    "a negative number of resumes": (
        {"spec.limits.resumes": -1},
        "spec.limits.resumes",
        "spec.limits.resumes in body should be greater than or equal to 0",
    ),
    "a negative time to live": (
        {"spec.ttlSecondsAfterFinished": -1},
        "spec.ttlSecondsAfterFinished",
        "spec.ttlSecondsAfterFinished in body should be greater than or equal to 0",
    ),
    "a bad name of a queue": (
        {"spec.queueName": "Team A"},
        "spec.queueName",
        "must be the name of a Kueue LocalQueue: lower-case letters, digits and dashes",
    ),
    "another end of artifacts": (
        {OUTPUT: {**S3, "onDelete": "Archive"}},
        "spec.output.onDelete",
        'Unsupported value: "Archive": supported values: "Retain", "Delete"',
    ),
    "less than no outdated artifacts": (
        {OUTPUT: {**S3, "keepOutdated": -1}},
        "spec.output.keepOutdated",
        "spec.output.keepOutdated in body should be greater than or equal to 0",
    ),
    "no generate": ({IMAGE: GONE}, "spec.stages[0].generate", "Required value"),
    "no generator": (
        {IMAGE: {}},
        "spec.stages[0].generate",
        "generate takes exactly one of command, diffusers, text and http: give one of them",
    ),
    "two generators": (
        {f"{IMAGE}.diffusers": {"model": "m"}},
        "spec.stages[0].generate",
        "generate takes exactly one of command, diffusers, text and http: give one of them",
    ),
    "a service that is no url": (
        {IMAGE: {"http": {"url": "video.example.com"}}},
        "spec.stages[0].generate.http.url",
        "must be a url: https://host/path",
    ),
    "a header with a secret that is not named": (
        {IMAGE: {"http": {"url": "https://a.b", "headers": [{"name": "X-Key", "value": "{secret}"}]}}},
        "spec.stages[0].generate.http",
        "a header takes {secret}: give `secret` the name and key of a Secret",
    ),
    "no place to ask": (
        {IMAGE: {"http": {"url": "https://a.b", "poll": {"everySeconds": 3}}}},
        "spec.stages[0].generate.http.poll",
        "poll takes exactly one of url and urlAt: give one of them",
    ),
    "two results": (
        {IMAGE: {"http": {"url": "https://a.b", "result": {"urls": "/a", "text": "/b"}}}},
        "spec.stages[0].generate.http.result",
        "result takes at most one of urls, url, base64 and text: give one of them",
    ),
    "a place in an answer that is no pointer": (
        {IMAGE: {"http": {"url": "https://a.b", "id": "$.id"}}},
        "spec.stages[0].generate.http.id",
        "must be a JSON pointer into the service's answer, such as /id or /output/0",
    ),
    "no arguments": (
        {f"{IMAGE}.command.args": []},
        "spec.stages[0].generate.command.args",
        "spec.stages[0].generate.command.args in body should have at least 1 items",
    ),
    "arguments as one text": (
        {f"{IMAGE}.command.args": "draw a dune"},
        "spec.stages[0].generate.command.args",
        'spec.stages[0].generate.command.args in body must be of type array: "string"',
    ),
    "a bad name of a variable": (
        {ENV: [{"name": "1ST"}]},
        "spec.stages[0].generate.command.env[0].name",
        "a variable's name must be letters, digits and underscores, not beginning with a digit",
    ),
    "a variable of ours": (
        {ENV: [{"name": "CARRYON_POD_UID"}]},
        "spec.stages[0].generate.command.env[0].name",
        "names that begin with CARRYON_ are set by the worker: choose another",
    ),
    "a variable twice": (
        {ENV: [{"name": "A"}, {"name": "A"}]},
        "spec.stages[0].generate.command.env[1]",
        'Duplicate value: {"name":"A"}',
    ),
    "no model": (
        {IMAGE: {"diffusers": {}}},
        "spec.stages[0].generate.diffusers.model",
        "Required value",
    ),
    "a bad dtype": (
        {IMAGE: {"diffusers": {"model": "m", "dtype": "int8"}}},
        "spec.stages[0].generate.diffusers.dtype",
        'Unsupported value: "int8": supported values: "float32", "float16", "bfloat16"',
    ),
    "a bad pipeline": (
        {IMAGE: {"diffusers": {"model": "m", "pipeline": "Wan Pipeline"}}},
        "spec.stages[0].generate.diffusers.pipeline",
        "pipeline must be the name of a diffusers class, such as WanPipeline",
    ),
    "a scheduler that is a sentence": (
        {IMAGE: {"diffusers": {"model": "m", "scheduler": {"class": "Euler a"}}}},
        "spec.stages[0].generate.diffusers.scheduler.class",
        "scheduler.class must be the name of a diffusers class, such as EulerDiscreteScheduler",
    ),
    "a scheduler without a class": (
        {IMAGE: {"diffusers": {"model": "m", "scheduler": {"params": {"use_karras_sigmas": True}}}}},
        "spec.stages[0].generate.diffusers.scheduler.class",
        "Required value",
    ),
    "a text of nothing": (
        {IMAGE: {"text": {"model": "m"}}},
        "spec.stages[0].generate.text",
        "text takes exactly one of prompt and messages: give one of them",
    ),
    "a prompt beside messages": (
        {IMAGE: {"text": {**TEXT, "messages": [{"role": "user", "content": "x"}]}}},
        "spec.stages[0].generate.text",
        "text takes exactly one of prompt and messages: give one of them",
    ),
    "system beside messages": (
        {IMAGE: {"text": {"model": "m", "system": "x", "messages": [{"role": "user", "content": "x"}]}}},
        "spec.stages[0].generate.text",
        "system goes with prompt; with messages write it as the first of them, with role: system",
    ),
    "a system that no template takes": (
        {IMAGE: {"text": {**TEXT, "system": "x", "chat": False}}},
        "spec.stages[0].generate.text",
        "messages and system go through the model's chat template: leave chat: false out",
    ),
    "another role": (
        {IMAGE: {"text": {"model": "m", "messages": [{"role": "bot", "content": "x"}]}}},
        "spec.stages[0].generate.text.messages[0].role",
        'Unsupported value: "bot": supported values: "system", "user", "assistant"',
    ),
    "a temperature where nothing is drawn": (
        {IMAGE: {"text": {**TEXT, "sample": False, "temperature": 0.7}}},
        "spec.stages[0].generate.text",
        "temperature, topP and topK say how tokens are drawn: leave them out with sample: false",
    ),
    "a temperature of nothing": (
        {IMAGE: {"text": {**TEXT, "temperature": 0}}},
        "spec.stages[0].generate.text.temperature",
        "temperature must be more than 0; for the most likely token write sample: false",
    ),
    "a share of more than all": (
        {IMAGE: {"text": {**TEXT, "topP": 1.5}}},
        "spec.stages[0].generate.text.topP",
        "spec.stages[0].generate.text.topP in body should be less than or equal to 1",
    ),
    "a share of nothing": (
        {IMAGE: {"text": {**TEXT, "topP": 0}}},
        "spec.stages[0].generate.text.topP",
        "topP must be more than 0; 1 leaves every token in",
    ),
    "a penalty of nothing": (
        {IMAGE: {"text": {**TEXT, "repetitionPenalty": 0}}},
        "spec.stages[0].generate.text.repetitionPenalty",
        "repetitionPenalty must be more than 0; 1 is none",
    ),
    "no token": (
        {IMAGE: {"text": {**TEXT, "maxNewTokens": 0}}},
        "spec.stages[0].generate.text.maxNewTokens",
        "spec.stages[0].generate.text.maxNewTokens in body should be greater than or equal to 1",
    ),
    "at least more than at most": (
        {IMAGE: {"text": {**TEXT, "minNewTokens": 600}}},
        "spec.stages[0].generate.text",
        "minNewTokens must not be more than maxNewTokens, which is 512 if it is left out",
    ),
    "an empty stop": (
        {IMAGE: {"text": {**TEXT, "stop": [""]}}},
        "spec.stages[0].generate.text.stop[0]",
        "spec.stages[0].generate.text.stop[0] in body should be at least 1 chars long",
    ),
    "a day that is none": (
        {IMAGE: {"text": {**TEXT, "date": "today"}}},
        "spec.stages[0].generate.text.date",
        'date must be a day such as "2026-11-21", in quotes',
    ),
    "a name with a folder": (
        {IMAGE: {"text": {**TEXT, "output": {"name": "a/b"}}}},
        "spec.stages[0].generate.text.output.name",
        "output.name must be letters, digits, dashes, dots and underscores, such as draft",
    ),
    "extending what is not before": (
        {"spec.stages.1.generate": {"diffusers": {"model": "m", "extend": {"from": "clip", "seconds": 5}}}},
        "spec.stages",
        "extend.from must name a stage in this stage's own after: add it there",
    ),
    "extending many": (
        {
            "spec.stages.1.generate": {"diffusers": {"model": "m", "extend": {"from": "image", "seconds": 5}}},
            "spec.stages.1.each": "job",
        },
        "spec.stages",
        "extend goes on from one clip: a stage with each: job gathers many, so extend them in a stage before it",
    ),
    "extending by nothing said": (
        {"spec.stages.1.generate": {"diffusers": {"model": "m", "extend": {"from": "image"}}}},
        "spec.stages[1].generate.diffusers.extend.seconds",
        "Required value",
    ),
    "a codec that is none": (
        {IMAGE: {"diffusers": {"model": "m", "output": {"codec": "h265"}}}},
        "spec.stages[0].generate.diffusers.output.codec",
        'Unsupported value: "h265": supported values: "h264", "vp9", "av1", "ffv1", "prores"',
    ),
    "a rate factor of a lossless codec": (
        {IMAGE: {"diffusers": {"model": "m", "output": {"codec": "ffv1", "crf": 20}}}},
        "spec.stages[0].generate.diffusers.output",
        "crf belongs to h264, vp9 and av1: leave it out with ffv1, which loses nothing, and with prores",
    ),
    "a rate factor that h264 does not have": (
        {IMAGE: {"diffusers": {"model": "m", "output": {"crf": 60}}}},
        "spec.stages[0].generate.diffusers.output",
        "crf of h264 is 0 to 51: take a lower one, or vp9 or av1 as codec",
    ),
    "quality of a format without": (
        {IMAGE: {"diffusers": {"model": "m", "output": {"imageQuality": 80}}}},
        "spec.stages[0].generate.diffusers.output",
        "imageQuality belongs to jpeg and webp: set image to one of them, or leave it out",
    ),
    "a model with a space at its end": (
        {IMAGE: {"diffusers": {"model": "toy "}}},
        "spec.stages[0].generate.diffusers.model",
        "model must not begin or end in spaces",
    ),
    "a revision of a folder": (
        {IMAGE: {"diffusers": {"model": "s3://models/toy", "revision": "main"}}},
        "spec.stages[0].generate.diffusers",
        "revision is a commit, tag or branch on a hub: leave it out where model is a folder or a bucket",
    ),
    "a revision that is none": (
        {IMAGE: {"diffusers": {"model": "org/toy", "revision": "main..next"}}},
        "spec.stages[0].generate.diffusers.revision",
        "revision must be a commit, tag or branch on a hub, such as v1.2 or the 40 digits of a commit",
    ),
    "an adapter without a model": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"scale": 0.5}]}}},
        "spec.stages[0].generate.diffusers.adapters[0].model",
        "Required value",
    ),
    "an adapter that could be a pickle": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "a/b", "weightName": "lora.bin"}]}}},
        "spec.stages[0].generate.diffusers.adapters[0].weightName",
        "weightName must be the path of a .safetensors file below model: nothing is unpickled",
    ),
    "an adapter of a folder with a revision": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "/loras/a", "revision": "main"}]}}},
        "spec.stages[0].generate.diffusers.adapters[0]",
        "revision is a commit, tag or branch on a hub: leave it out where model is a folder or a bucket",
    ),
    "a bad name of an adapter": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "a/b", "name": "1.style"}]}}},
        "spec.stages[0].generate.diffusers.adapters[0].name",
        "an adapter's name must be letters, digits, dashes and underscores, and begin with a letter",
    ),
    "two adapters of one name": (
        {
            IMAGE: {
                "diffusers": {"model": "m", "adapters": [{"model": "a/b", "name": "x"}, {"model": "c/d", "name": "x"}]}
            }
        },
        "spec.stages[0].generate.diffusers.adapters",
        "two adapters have one name: give each its own",
    ),
    "an adapter's scale as text": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "a/b", "scale": "0.5"}]}}},
        "spec.stages[0].generate.diffusers.adapters[0].scale",
        'spec.stages[0].generate.diffusers.adapters[0].scale in body must be of type number: "string"',
    ),
    "an adapter's scale beyond all": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "a/b", "scale": 100.5}]}}},
        "spec.stages[0].generate.diffusers.adapters[0].scale",
        "spec.stages[0].generate.diffusers.adapters[0].scale in body should be less than or equal to 100",
    ),
    "nine adapters": (
        {IMAGE: {"diffusers": {"model": "m", "adapters": [{"model": "a/b"}] * 9}}},
        "spec.stages[0].generate.diffusers.adapters",
        "must have at most 8 items",
    ),
    "a token in no Secret": (
        {"spec.models": {"tokenSecret": {"name": "hf_abc"}}},
        "spec.models.tokenSecret.name",
        "must be the name of a Secret: lower-case letters, digits, dashes and dots",
    ),
    "a bad claim": (
        {"spec.models": {"cache": {"claimName": "/models"}}},
        "spec.models.cache.claimName",
        "must be the name of a PersistentVolumeClaim: lower-case letters, digits, dashes and dots",
    ),
    "a bad size of the cache": (
        {"spec.models": {"cache": {"maxBytes": "much"}}},
        "spec.models.cache.maxBytes",
        "must be a size such as 500M or 2Gi",
    ),
    "parallelism -1": (
        {"spec.parallelism": -1},
        "spec.parallelism",
        "spec.parallelism in body should be greater than or equal to 0",
    ),
    "parallelism as text": (
        {"spec.parallelism": "3"},
        "spec.parallelism",
        'spec.parallelism in body must be of type integer: "string"',
    ),
    "suspend as text": (
        {"spec.suspend": "yes"},
        "spec.suspend",
        'spec.suspend in body must be of type boolean: "string"',
    ),
    "a negative seed": (
        {"spec.seed": -1},
        "spec.seed",
        "spec.seed in body should be greater than or equal to 0",
    ),
    "unitsPerPod 0": (
        {"spec.unitsPerPod": 0},
        "spec.unitsPerPod",
        "spec.unitsPerPod in body should be greater than or equal to 1",
    ),
    "perUnit 0": (
        {"spec.retry.perUnit": 0},
        "spec.retry.perUnit",
        "spec.retry.perUnit in body should be greater than or equal to 1",
    ),
    "a bad duration": (
        {"spec.timeouts.unit": "5 minutes"},
        "spec.timeouts.unit",
        "must be a duration such as 30s, 5m or 1h30m",
    ),
    "a limit of nothing": (
        {"spec.timeouts.stall": "0s"},
        "spec.timeouts.stall",
        "must be longer than zero; null means no limit",
    ),
    "no uri": ({OUTPUT: {}}, "spec.output.uri", "Required value"),
    "a uri of another store": (
        {OUTPUT: {"uri": "gs://bucket/prefix"}},
        "spec.output.uri",
        "output.uri must be s3://bucket/prefix or file:///absolute/path",
    ),
    "a relative folder": (
        {OUTPUT: {"uri": "file://artifacts"}},
        "spec.output.uri",
        "output.uri must be s3://bucket/prefix or file:///absolute/path",
    ),
    "a folder beside the folder": (
        {OUTPUT: {"uri": "file:///artifacts/%2E%2E/etc"}},
        "spec.output.uri",
        "output.uri must not contain ..: write the path out",
    ),
    "a folder with an endpoint": (
        {OUTPUT: {"uri": "file:///artifacts", "endpoint": "http://minio:9000"}},
        "spec.output",
        "endpoint and credentialsSecret belong to s3:// outputs: leave them out with file://",
    ),
    "an endpoint with a path": (
        {OUTPUT: {**S3, "endpoint": "http://minio:9000/bucket"}},
        "spec.output.endpoint",
        "output.endpoint must be the http:// or https:// address of an S3 service, without a path",
    ),
    "a bad region": (
        {OUTPUT: {**S3, "region": "eu central"}},
        "spec.output.region",
        "output.region must be a region's name, such as eu-central-1",
    ),
    "a bad name of a Secret": (
        {OUTPUT: {**S3, "credentialsSecret": {"name": "My_Secret"}}},
        "spec.output.credentialsSecret.name",
        "must be the name of a Secret: lower-case letters, digits, dashes and dots",
    ),
    "a quantity that is none": (
        {"spec.stages.0.resources.limits": {"memory": True}},
        "spec.stages[0].resources.limits.memory",
        'spec.stages[0].resources.limits.memory in body must be of type integer,string: "boolean"',
    ),
    "a job's name too long": (
        {"metadata.name": "x" * 41},
        "<nil>",
        "metadata.name must be at most 40 characters, because pods are named after it",
    ),
}
UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": ({"spec.paralelism": 3}, "spec.paralelism"),
    "a typo deep inside": ({f"{IMAGE}.command.arg": ["x"]}, "spec.stages[0].generate.command.arg"),
    "a typo in a round": (
        {"spec.retry.roundOverrides": [{"memory": "80Gi"}]},
        "spec.retry.roundOverrides[0].memory",
    ),
    "an unknown generator": ({IMAGE: {"comfy": {"workflow": "x"}}}, "spec.stages[0].generate.comfy"),
}
SECRETS = {
    "half-a-secret": {"AWS_ACCESS_KEY_ID": b"id"},
    "made-with-echo": {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"key\n"},
}
NOT_ACCEPTED: dict[str, tuple[dict[str, Any], str, str]] = {
    # name: what is changed, the condition's reason, its message; ROOT stands for the folder that is allowed
    "stages in a circle": (
        {"spec.stages.0.after": ["clip"]},
        "StageCycle",
        "stages wait for each other (image -> clip -> image): take one of these out of `after`",
    ),
    "a parameter that is not there": (
        {IMAGE: command("draw", "{{ item.promt }}")},
        "InvalidTemplate",
        'stage "image", item "dunes": a template names item.promt, but item has: id, index, prompt',
    ),
    "a parameter that one item lacks": (
        {IMAGE: command("draw", "{{ item.prompt }}")},
        "InvalidTemplate",
        'stage "image", item "sea": a template names item.prompt, but item has: id, index',
    ),
    "an input from no upstream stage": (
        {IMAGE: command("draw", "{{ inputs.clip }}")},
        "InvalidTemplate",
        'stage "image", item "dunes": a template names inputs.clip, but inputs has: nothing',
    ),
    "a statement": (
        {IMAGE: command("draw", "{% for x in item.tags %}{{ x }}{% endfor %}")},
        "InvalidTemplate",
        'stage "image": the template "{% for x in item.tags %}{{ x }}{% endfor %}" uses a statement: only expressions'
        " in {{ }} are allowed",
    ),
    "a call": (
        {IMAGE: command("draw", "{{ item.id.upper() }}")},
        "InvalidTemplate",
        'stage "image": the template "{{ item.id.upper() }}" uses call, which is not allowed: use names, attributes,'
        " constants, conditionals and the filters default, capitalize, first, float, int, join, last, length, lower,"
        " replace, round, string, title, tojson, trim, upper",
    ),
    "an unknown filter": (
        {IMAGE: command("draw", "{{ item.id|shuffle }}")},
        "InvalidTemplate",
        'stage "image": the template "{{ item.id|shuffle }}" uses the filter shuffle, which is not allowed: use'
        " default, capitalize, first, float, int, join, last, length, lower, replace, round, string, title, tojson,"
        " trim, upper",
    ),
    "brackets that are not closed": (
        {IMAGE: command("draw", "{{ item.id")},
        "InvalidTemplate",
        'stage "image": the template "{{ item.id" can\'t be read: unexpected end of template, expected'
        " 'end of print statement'.",
    ),
    "a file within a text": (
        {"spec.stages.1.generate": command("film", "--from={{ inputs.image }}")},
        "InvalidTemplate",
        'stage "clip", item "dunes": inputs.image is a file: it must be the whole value, not a part of a text',
    ),
    "a reserved parameter": (
        {"spec.items.list.0.params": {"id": "sand"}},
        "ReservedParameter",
        'item "dunes": params must not be named id, because templates use item.id for the item\'s own id;'
        " choose another name",
    ),
    "a unit too large": (
        {
            "spec.items.list.0.params": {"a": "x" * 40_000},
            IMAGE: command("{{ item.a|default }}", "{{ item.a|default }}"),
        },
        "UnitTooLarge",
        'stage "image", item "dunes": its configuration is 80028 characters after templating; keep it under 65536',
    ),
    "a number that is none": (
        {IMAGE: {"diffusers": {"model": "m", "params": {"strength": "{{ 'nan'|float }}"}}}},
        "InvalidParameter",
        'stage "image", item "dunes": numbers must be finite',
    ),
    "a Secret that is not there": (
        {OUTPUT: {**S3, "credentialsSecret": {"name": "nowhere"}}},
        "SecretNotFound",
        'spec.output.credentialsSecret: there is no Secret "nowhere" in namespace "default": create it, or name'
        " another",
    ),
    "a Secret without keys": (
        {OUTPUT: {**S3, "credentialsSecret": {"name": "half-a-secret"}}},
        "SecretIncomplete",
        'Secret "half-a-secret" has no AWS_SECRET_ACCESS_KEY: add it',
    ),
    "a Secret with a line break": (
        {OUTPUT: {**S3, "credentialsSecret": {"name": "made-with-echo"}}},
        "SecretIncomplete",
        'AWS_SECRET_ACCESS_KEY in Secret "made-with-echo" holds blanks, a line break or characters that are not'
        " printable, as no key does: set it again, with printf or echo -n, because echo alone adds a line break",
    ),
    "a Secret for a hub that is not there": (
        {"spec.models": {"tokenSecret": {"name": "nowhere"}}},
        "SecretNotFound",
        'spec.models.tokenSecret: there is no Secret "nowhere" in namespace "default": create it, or name another',
    ),
    "a Secret without a token": (
        {"spec.models": {"tokenSecret": {"name": "made-with-echo"}}},
        "SecretIncomplete",
        'Secret "made-with-echo" has no token: add it, or name its key',
    ),
    "a token with a line break": (
        {"spec.models": {"tokenSecret": {"name": "made-with-echo", "key": "AWS_SECRET_ACCESS_KEY"}}},
        "SecretIncomplete",
        'AWS_SECRET_ACCESS_KEY in Secret "made-with-echo" holds blanks, a line break or characters that are not'
        " printable, as no token does: set it again, with printf or echo -n, because echo alone adds a line break",
    ),
    "an adapter that is an artifact": (
        {"spec.stages.1.generate": {"diffusers": {"model": "m", "adapters": [{"model": "{{ inputs.image }}"}]}}},
        "InvalidTemplate",
        'stage "clip", item "dunes": an adapter\'s model is a file: it must be text, the uri of a folder or file or an'
        " id on a model hub",
    ),
    "an item where a stage gathers": (
        {"spec.stages.1.each": "job", "spec.stages.1.generate": command("join", "{{ item.id }}")},
        "InvalidTemplate",
        'stage "clip": a template names item.id, but a stage with `each: job` is made once, of all items; use job,'
        " stage and inputs, which are lists of files there",
    ),
    "the item before where a stage gathers": (
        {"spec.stages.1.each": "job", "spec.stages.1.generate": command("join", "{{ inputs.previous }}")},
        "InvalidTemplate",
        'stage "clip": a template names inputs.previous, but a stage with `each: job` has no item before its own; take'
        " it out",
    ),
    "an approval where nobody asks": (
        {"spec.approved": {"clip": ["*"]}},
        "ApprovalNotRequired",
        'approved names stage "clip", which needs no approval: set its approval to Required, or take it out',
    ),
    "a node's network": (
        {"spec.stages.1.podTemplate": {"spec": {"hostNetwork": True}}},
        "InvalidPodTemplate",
        "spec.stages[clip].podTemplate.spec.hostNetwork is not allowed: take it out;"
        " spec.stages[clip].podTemplate.spec may have nodeSelector, tolerations, affinity, topologySpreadConstraints,"
        " priorityClassName, schedulerName, runtimeClassName, serviceAccountName, imagePullSecrets, volumes,"
        " terminationGracePeriodSeconds, dnsPolicy, dnsConfig, hostAliases, containers",
    ),
    "a folder of the node": (
        {"spec.podTemplate": {"spec": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}}},
        "InvalidPodTemplate",
        "spec.podTemplate.spec.volumes[0].hostPath is not allowed: take it out; spec.podTemplate.spec.volumes[0] may"
        " have name, configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret",
    ),
    "a pod's spec that is none": (
        {"spec.podTemplate": {"spec": None}},
        "InvalidPodTemplate",
        "spec.podTemplate.spec must be an object: write it as one, or take it out",
    ),
    "a folder that ends early": (
        {OUTPUT: {"uri": "file:///artifacts#evil"}},
        "InvalidOutput",
        "spec.output.uri: 'file:///artifacts#evil' is no plain path: write the folder out, without .. and NUL, and ?, #"
        " and % as %3F, %23 and %25",
    ),
    "a folder that is not allowed": (
        {OUTPUT: {"uri": "file:///etc"}},
        "OutputNotAllowed",
        "spec.output.uri is file:///etc, but this operator writes only below ROOT: choose a folder there",
    ),
}


class Cluster(Protocol):
    """An API server to try things on."""

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status code and JSON of the answer."""


@dataclass
class Embedded:
    """The embedded server, by the client that its own tests use."""

    server: Any
    kubeconfig: Path

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self.server.request(method, path, body, Content_Type="application/json")
        return answer.status, answer.json()


class Real:
    """A cluster, by the official client."""

    def __init__(self, kubeconfig: Path) -> None:
        from kubernetes import config

        self.kubeconfig = kubeconfig
        self._client = config.new_client_from_config(str(kubeconfig))

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        # Only with auth_settings does this client send a bearer token.
        asked = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer = self._client.call_api(*asked)
        return answer.status, json.loads(answer.read())


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    given = os.environ.get("CARRYON_TEST_KUBECONFIG")
    made: Embedded | Real
    if given:
        made = Real(Path(given))
    else:
        server = request.getfixturevalue("server")
        made = Embedded(server, server.kubeconfig)
    status, answer = made.request("POST", CRDS, crd.build())
    assert status in (201, 409), answer
    until(lambda: made.request("GET", JOBS)[0] == 200, "the new kind is not served")
    yield made
    if given and status == 201:
        made.request("DELETE", f"{CRDS}/{names.CRD_NAME}")


def until(true: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait for something to become true; what it was."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} within {seconds} s"
        time.sleep(0.05)
    return found


def apply(cluster: Cluster, manifest: dict[str, Any]) -> tuple[int, Any]:
    """What `kubectl apply` sends for a new object."""
    return cluster.request("POST", f"{JOBS}?fieldManager=kubectl-client-side-apply&fieldValidation=Strict", manifest)


def refuse(cluster: Cluster, manifest: dict[str, Any]) -> Any:
    """Apply what must be refused and must not be stored; the Status that says why."""
    status, answer = apply(cluster, manifest)
    assert status in (400, 422), answer
    assert answer["kind"] == "Status"
    assert cluster.request("GET", f"{JOBS}/{manifest['metadata']['name']}")[0] == 404
    return answer


@pytest.mark.parametrize("case", REFUSED)
def test_what_schema_and_rules_can_see_is_refused_at_apply(cluster: Cluster, case: str) -> None:
    change, field, sentence = REFUSED[case]
    answer = refuse(cluster, changed(change))
    assert answer["code"] == 422
    causes = [cause for cause in answer["details"]["causes"] if NOT_CHECKED not in cause["message"]]
    assert [cause["field"] for cause in causes] == [field], causes
    assert causes[0]["message"].endswith(sentence), causes
    # kubectl shows the message, not the causes.
    assert sentence in answer["message"]
    assert field in answer["message"]


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_field_that_nobody_knows_is_refused_and_not_ignored(cluster: Cluster, case: str) -> None:
    change, field = UNKNOWN[case]
    answer = refuse(cluster, changed(change))
    assert answer["code"] == 400
    assert answer["message"].endswith(f'strict decoding error: unknown field "{field}"')


def test_another_kind_and_another_version_are_refused(cluster: Cluster) -> None:
    assert "GenerationJobs" in refuse(cluster, changed({"kind": "GenerationJobs"}))["message"]
    assert "carryon.dev/v1" in refuse(cluster, changed({"apiVersion": "carryon.dev/v1"}))["message"]


def test_an_edit_that_would_break_a_job_is_refused_too(cluster: Cluster) -> None:
    status, stored = apply(cluster, changed({"metadata.name": "right"}))
    assert status == 201
    broken = {**stored, "spec": changed({"spec.parallelism": -1})["spec"]}
    status, answer = cluster.request("PUT", f"{JOBS}/right", broken)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.parallelism")
    assert cluster.request("GET", f"{JOBS}/right")[1]["spec"] == stored["spec"]
    assert cluster.request("DELETE", f"{JOBS}/right")[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        {"spec.items": {"list": None, "count": 2}},
        {"spec.items.list.0.params": None},
        {"spec.stages.0.after": None},
        {"spec.stages.0.tolerations": [{"key": "gpu", "operator": None}]},
        {OUTPUT: None, "spec.timeouts.stall": None},
        {"spec.overrides": None, "spec.approved": None, "spec.retry": None, "spec.limits": None},
        {"spec.stages.0.success": None, "spec.stages.0.each": None},
    ],
    ids=json.dumps,
)
def test_null_means_absent(cluster: Cluster, change: dict[str, Any]) -> None:
    status, stored = apply(cluster, changed({**change, "metadata.name": "with-nulls"}))
    assert status == 201, stored
    # Kept only where null is allowed.
    assert [path for path in nulls(stored["spec"]) if path not in ("output", "timeouts.stall")] == []
    JobSpec.model_validate(stored["spec"])
    assert cluster.request("DELETE", f"{JOBS}/with-nulls")[0] == 200


def nulls(value: Any, path: str = "") -> Iterator[str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        here = f"{path}.{key}".lstrip(".")
        yield from [here] if inner is None else nulls(inner, here)


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that outputs may lie in."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def operator(cluster: Any, allowed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An operator at work on the cluster; there need be no node, because nothing is to be launched."""
    log = tmp_path_factory.mktemp("operator") / "log"
    settings = {
        "--kubeconfig": str(cluster.kubeconfig),
        "--file-root": str(allowed),
        "--default-store": f"file://{allowed}",
    }
    flags = [part for pair in settings.items() for part in pair]
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "carryon_operator", *flags], stdout=out, stderr=out)
    try:
        yield
        assert process.poll() is None, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def job_name(case: str) -> str:
    return f"wrong-{list(NOT_ACCEPTED).index(case)}"


def accepted(cluster: Cluster, name: str) -> dict[str, Any]:
    """The condition Accepted of a job, as soon as the operator has looked at it."""

    def condition() -> Any:
        _, job = cluster.request("GET", f"{JOBS}/{name}")
        found = [each for each in job.get("status", {}).get("conditions", ()) if each["type"] == "Accepted"]
        return found and found[0]["observedGeneration"] == job["metadata"]["generation"] and (job, found[0])

    job, found = until(condition, f"{name} has no condition Accepted")
    return {"job": job, **found}


def pods(cluster: Cluster, name: str) -> list[str]:
    _, answer = cluster.request("GET", f"{CORE}/pods?labelSelector={names.LABEL_JOB}={name}")
    return [pod["metadata"]["name"] for pod in answer["items"]]


@pytest.fixture(scope="module")
def unaccepted(cluster: Cluster, operator: None) -> Iterator[None]:
    """All jobs that the server lets pass, applied at once: the operator looks at each of them."""
    for name, keys in SECRETS.items():
        data = {key: base64.b64encode(value).decode() for key, value in keys.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        assert cluster.request("POST", f"{CORE}/secrets", secret)[0] in (201, 409)
    manifests = [changed({**change, "metadata.name": job_name(case)}) for case, (change, _, _) in NOT_ACCEPTED.items()]
    manifests.append(changed({"metadata.name": "right"}))
    for manifest in manifests:
        status, answer = apply(cluster, manifest)
        assert status == 201, answer
    yield
    for manifest in manifests:
        cluster.request("DELETE", f"{JOBS}/{manifest['metadata']['name']}")
    for name in SECRETS:
        cluster.request("DELETE", f"{CORE}/secrets/{name}")


@pytest.mark.parametrize("case", NOT_ACCEPTED)
def test_what_only_the_operator_can_see_is_not_accepted_and_launches_nothing(
    cluster: Cluster, unaccepted: None, allowed: Path, case: str
) -> None:
    _, reason, message = NOT_ACCEPTED[case]
    found = accepted(cluster, job_name(case))
    assert (found["status"], found["reason"]) == ("False", reason)
    assert found["message"] == message.replace("ROOT", str(allowed))
    # The same sentence stands in the MESSAGE column of kubectl get.
    assert found["job"]["status"]["message"] == found["message"]
    # The good job that came last has its pods: whoever was to get some had the time.
    until(lambda: pods(cluster, "right"), "the good job has no pods")
    assert pods(cluster, job_name(case)) == []


def test_a_job_that_is_right_is_accepted_among_all_those(cluster: Cluster, unaccepted: None) -> None:
    assert accepted(cluster, "right")["status"] == "True"
    until(lambda: pods(cluster, "right"), "the good job has no pods")


def test_a_job_that_was_put_right_is_accepted(cluster: Cluster, unaccepted: None) -> None:
    manifest = changed({"spec.stages.0.after": ["clip"], "metadata.name": "mended"})
    assert apply(cluster, manifest)[0] == 201
    assert accepted(cluster, "mended")["status"] == "False"
    _, stored = cluster.request("GET", f"{JOBS}/mended")
    assert cluster.request("PUT", f"{JOBS}/mended", {**stored, "spec": BASE["spec"]})[0] == 200
    assert accepted(cluster, "mended")["status"] == "True"
    until(lambda: pods(cluster, "mended"), "the mended job has no pods")
    assert cluster.request("DELETE", f"{JOBS}/mended")[0] == 200
