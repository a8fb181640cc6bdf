"""What helps whoever has to find out why a job does not do what it should, as one zip, without secrets or prompts.

It is made from what an API server and a bucket know; who asks them is up to the caller. What goes in is listed in
`redaction`, free texts go through a `Scrubber`, and so does all the rest in the end.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeAlias

from carryon_core import layout, requests
from carryon_jobs import logs as saved_logs
from carryon_jobs import withheld
from carryon_jobs.allowing import Said, kept
from carryon_jobs.errors import JobError
from carryon_jobs.job import Job
from carryon_jobs.redaction import EVENT, JOB, OPERATOR, POD, TERMINATION, VERSIONS
from carryon_jobs.scrubbing import REMOVED, Scrubber, TooMany
from carryon_store import StoreError

TAIL_LINES: Final = 500
TAIL_BYTES: Final = 64 * 1024
"""Of one pod's log."""
PODS_MOST: Final = 20
"""Pods whose logs go in."""
SAVED_MOST: Final = 20
"""Units whose saved logs go in."""
EVENTS_MOST: Final = 500
LISTED_MOST: Final = 200_000
"""Objects of the bucket that are looked at."""
_LEFT_OUT: Final = "[left out: the texts of this job could not be read, so none could be taken out here]"
_OWN_FOLDERS: Final = ("_items", "_inputs", "_assignments", "_manifest", "_models", "_import", "_files.json")
_UNIT_FOLDERS: Final = (layout.JOURNAL, layout.CHECKPOINT, layout.PREVIEWS, "attempts/")
_STAMP: Final = (2000, 1, 1, 0, 0, 0)
Raw: TypeAlias = Mapping[str, Any]

_README: Final = """\
What Carryon knows about one job, for whoever helps with it. Made by `carryon support` or the page.

job.json        the job: times, counts, conditions, settings
pods.json       its pods; "log" names the file with the end of a pod's log
events.json     Events of job and pods
operator.json   conditions of the CRD and of the operator
bucket.json     how many objects of which kind lie in the bucket
versions.json   of Carryon, Kubernetes and the system
problems.json   what could not be had, and why
logs/           ends of logs

Not in here: prompts, params, ids of items, arguments, values of variables and headers, addresses, names of files,
Secrets, labels and annotations of others. Where they stood in a log or a message it says {removed}; so it does where
something looked like a key. Look through it before you pass it on all the same: nothing can know every secret.
"""


_UNREAD: Final = (
    "{unread} of the {secrets} Secrets that the job names could not be read, so their values were not looked for in"
    " logs and messages: only what looks like a key, a token, a password or the query of an address was taken out"
)


@dataclass(frozen=True)
class Evidence:
    """What was asked for a report.

    Attributes:
        pods: Of the job, as the API server has them.
        events: About the job and its pods.
        logs: Name of a pod -> the end of its log.
        operator: The CRD, and the operator's Deployment where it could be found.
        program_logs: Name of a program of the control plane -> lines of its log about this job.
        versions: Of programs and systems.
        secrets: Texts that must not be passed on, besides those of the job: values in `secrets_of` it.
        unread: Names of those of these Secrets that could not be read, so that nobody can look for their values.
        problems: What could not be had, a sentence each.
    """

    pods: Sequence[Raw] = ()
    events: Sequence[Raw] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    operator: Sequence[Raw] = ()
    program_logs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    secrets: Collection[str] = ()
    unread: Collection[str] = ()
    problems: Sequence[str] = ()


def secrets_of(job: Raw, pods: Iterable[Raw] = (), default_store: str | None = None) -> list[str]:
    """Names of the Secrets whose values a job's pods may have written down.

    Args:
        job: Names most of them.
        pods: Of the job: they have the keys of the default store too, where the job names no output.
        default_store: Name of the Secret with those keys, where the caller knows it: of pods that are gone.
    """
    found: dict[str, None] = {}

    def look(value: Any, field_name: str) -> None:
        match value:
            case Mapping():
                # Volumes say secretName, all others name.
                for name in (value.get("name") if "ecret" in field_name else None, value.get("secretName")):
                    if isinstance(name, str):
                        found[name] = None
                for key, each in value.items():
                    look(each, key)
            case list():
                for each in value:
                    look(each, field_name)

    spec = job.get("spec") or {}
    look(spec, "spec")
    for pod in pods:
        look((pod.get("spec") or {}).get("containers"), "containers")
    if default_store is not None and spec.get("output") is None:
        found[default_store] = None
    return list(found)


def about(event: Raw, uids: Collection[str], name: str) -> bool:
    """Whether an Event is about a job or a pod of it, one that is gone among them.

    Args:
        event: As the API server has it.
        uids: Of the job and the pods that are there.
        name: Of the job.
    """
    subject = event.get("involvedObject") or {}
    gone = subject.get("kind") == "Pod" and re.fullmatch(
        rf"{re.escape(name)}-[0-9a-f]{{10}}-[0-9]+", subject.get("name") or ""
    )
    return subject.get("uid") in uids or bool(gone)


def wrote(pod: Raw) -> bool:
    """Whether a pod can have a log by now."""
    return (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed")


def pack(job: Job, evidence: Evidence) -> bytes:
    """The report on a job: a zip. Reads the job's bucket; what can't be read is told in it."""
    problems = list(evidence.problems)
    rows: Sequence[tuple[str, Mapping[str, Any]]] | None = ()
    try:
        from_data = ((job.raw.get("spec") or {}).get("items") or {}).get("from") is not None
        rows = (job.rows or ()) if from_data else ()
    except (JobError, StoreError) as error:
        # Without them nobody knows what has to be taken out of texts.
        problems.append(f"the items of the job: {error}")
        rows = None
    bucket, saved = _from_bucket(job, problems)
    found = Found(job.raw, evidence, rows, bucket, saved, tuple(problems))
    return _zipped(files(found))


@dataclass(frozen=True)
class Found:
    """All that a report is made from.

    Attributes:
        rows: (id, params) of items from data; None: they could not be read.
        bucket: What lies there, counted.
        saved: Stage and index of a unit that failed -> last lines of its log.
    """

    job: Raw
    evidence: Evidence
    rows: Sequence[tuple[str, Mapping[str, Any]]] | None = ()
    bucket: Mapping[str, Any] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def files(found: Found) -> dict[str, str]:
    """The files of a report by name. Pure: nothing in them but what may be passed on."""
    evidence = found.evidence
    problems = list(found.problems)
    readme = _README.format(removed=REMOVED)
    if evidence.unread:
        known = {*secrets_of(found.job, evidence.pods), *evidence.unread}
        blind = _UNREAD.format(unread=len(evidence.unread), secrets=len(known))
        problems.append(blind)
        readme += f"\nBefore you pass it on: {blind}.\n"
    scrub = _scrubber(found, problems)
    made: dict[str, str] = {"README.txt": readme}
    pods = []
    for number, pod in enumerate(evidence.pods):
        shown = kept(pod, POD)
        log = evidence.logs.get(pod["metadata"]["name"])
        if log is not None:
            shown["log"] = f"logs/pod-{number}.log"
            made[shown["log"]] = scrub(log)
        pods.append(_with_last_words(pod, shown))
    for number, (unit, log) in enumerate(found.saved.items()):
        made[f"logs/unit-{number}.log"] = f"{scrub(unit)}\n{scrub(log)}"
    for number, (program, log) in enumerate(evidence.program_logs.items()):
        made[f"logs/program-{number}.log"] = f"{scrub(program)}\n{scrub(log)}"
    documents = {
        "job.json": _job(found),
        "pods.json": pods,
        "events.json": [kept(event, EVENT) for event in evidence.events[-EVENTS_MOST:]],
        "operator.json": [kept(each, OPERATOR) for each in evidence.operator],
        "bucket.json": dict(found.bucket),
        "versions.json": kept(dict(evidence.versions), VERSIONS),
        "problems.json": [Said(problem) for problem in problems],
    }
    made |= {name: json.dumps(scrub.all_of(document), indent=2) + "\n" for name, document in documents.items()}
    return made


@dataclass(frozen=True)
class _Blind:
    """Stands for a scrubber where nobody knows all of what to look for: no text for people is passed on at all.

    Attributes:
        known: Looks for what is known.
    """

    known: Scrubber

    def __call__(self, text: str) -> str:
        return _LEFT_OUT

    def all_of(self, value: Any) -> Any:
        """A JSON value with its texts for people left out, and the others scrubbed of what is known."""
        match value:
            case Said():
                return _LEFT_OUT
            case list():
                return [self.all_of(each) for each in value]
            case dict():
                return {key: self.all_of(each) for key, each in value.items()}
            case _:
                return self.known.all_of(value)


def _scrubber(found: Found, problems: list[str]) -> Scrubber | _Blind:
    try:
        scrubber = Scrubber(withheld.texts(found.job, found.rows or (), found.evidence.pods, found.evidence.secrets))
        if found.rows is not None:
            return scrubber
        problems.append("logs and messages are left out: without the items, nothing can be taken out of them")
        return _Blind(scrubber)
    except TooMany:
        problems.append("logs and messages are left out: the job has more text than can be looked for in them")
        return _Blind(Scrubber(found.evidence.secrets))


def _job(found: Found) -> Any:
    """The job, with the indexes of units in the place of their ids."""
    shown = kept(found.job, JOB)
    index_of = {item: index for index, item in enumerate(_ids(found))}
    failures = (found.job.get("status") or {}).get("recentFailures") or ()
    for failure, told in zip(failures, (shown.get("status") or {}).get("recentFailures") or (), strict=False):
        told["index"] = index_of.get(failure.get("unit"))
    return shown


def _ids(found: Found) -> Iterable[str]:
    items = (found.job.get("spec") or {}).get("items") or {}
    if items.get("list") is not None:
        return [str(item.get("id")) for item in items["list"]]
    if items.get("count") is not None:
        return map(str, range(items["count"]))
    return [item for item, _ in found.rows or ()]


def _with_last_words(pod: Raw, shown: Any) -> Any:
    """A pod whose termination message is read, for a worker writes it as JSON: of that only what is listed goes in."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    for status, told in zip(statuses, (shown.get("status") or {}).get("containerStatuses") or (), strict=False):
        for state in ("state", "lastState"):
            message = ((status.get(state) or {}).get("terminated") or {}).get("message")
            if not message:
                continue
            try:
                words = json.loads(message)
            except ValueError:
                continue
            told[state]["terminated"]["message"] = kept(words, TERMINATION)
    return shown


def _from_bucket(job: Job, problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What lies in a job's bucket, counted, and the logs that are kept there of units that failed."""
    counted: dict[str, Any] = {}
    saved: dict[str, str] = {}
    try:
        store = job.store
        if store is None:
            problems.append("the bucket: nobody knows where it is yet")
            return counted, saved
        listed = islice(store.list(layout.job_prefix(job.view.namespace, job.view.name)), LISTED_MOST)
        prefix = len(layout.job_prefix(job.view.namespace, job.view.name))
        stages = {stage.name for stage in job.view.stages}
        counted = summary(((each.key[prefix:], each.size) for each in listed), stages)
        failed = [(stage, index) for stage, indexes in requests.failed_units(job.status).items() for index in indexes][
            :SAVED_MOST
        ]
        for stage, index in failed:
            text = "\n".join(saved_logs.of_unit(job, stage, index))
            if text:
                saved[f"{stage}, index {index}"] = text[-TAIL_BYTES:]
    except (JobError, StoreError) as error:
        problems.append(f"the bucket: {error}")
    return counted, saved


def summary(objects: Iterable[tuple[str, int]], stages: Collection[str]) -> dict[str, Any]:
    """Objects of a job counted by stage and kind, without their names. Pure.

    Args:
        objects: Key below the job's prefix, and bytes.
        stages: Names of the job's stages.

    Returns:
        Stage, or "other" -> kind -> {objects, bytes}; and whether there were more than were looked at.
    """
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for key, size in objects:
        place = _kind(key.split("/"), stages)
        counts[place] += 1
        sizes[place] += size
    made: dict[str, Any] = {}
    for (stage, kind), number in sorted(counts.items()):
        made.setdefault(stage, {})[kind] = {"objects": number, "bytes": sizes[stage, kind]}
    return {"stages": made, "cutShort": counts.total() >= LISTED_MOST}


def _kind(parts: Sequence[str], stages: Collection[str]) -> tuple[str, str]:
    """The stage and the kind of an object by its key: STAGE/ITEM/FINGERPRINT/..."""
    if parts[0] not in stages:
        return "other", parts[0] if parts[0] in _OWN_FOLDERS else "other"
    if len(parts) < 4:
        return parts[0], "other"
    if len(parts) > 4:
        return parts[0], parts[3] if f"{parts[3]}/" in _UNIT_FOLDERS else "other"
    return parts[0], "done" if parts[3] == layout.DONE else "artifacts"


def _zipped(content: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), text.encode("utf-8", "replace"), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
