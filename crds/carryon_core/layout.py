"""Where everything lies in the bucket: every key is made here, and only here."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote

DONE: Final = "done.json"
CHECKPOINT: Final = "checkpoint/"
"""Folder below a unit's prefix with what a program keeps between its attempts."""
JOURNAL: Final = "journal/"
"""Folder below a unit's prefix with what its denoiser has answered so far."""
PREVIEWS: Final = "previews/"
"""Folder below a unit's prefix with clips of its finished sections, as long as it is not done."""
JOURNAL_IMAGE: Final = "worker image"
"""Key, beside the fields of a worker fingerprint, of the image that began the journal."""
JOURNAL_DEVICE: Final = "device"
"""The field that names the GPU."""
WORKER_DIGITS: Final = 12
"""Digits of a worker fingerprint that stand in keys."""
_LONGEST: Final = 200
"""Bytes of an encoded id that stand as they are; longer ones are cut and end in a digest (file names end at 255)."""


def encode_id(item: str) -> str:
    """An item id as one path segment: percent-encoded, never "." or "..", at most 217 bytes, no two ids alike.

    `~` is encoded too, so that the mark of a cut id can't come from an id.
    """
    encoded = quote(item, safe="").replace("~", "%7E")
    if not encoded.strip("."):
        encoded = encoded.replace(".", "%2E")
    if len(encoded) <= _LONGEST:
        return encoded
    # An escape cut in half is no harm: nobody decodes a cut id, done.json names the item.
    return f"{encoded[:_LONGEST]}~{hashlib.sha256(item.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def job_prefix(namespace: str, job: str) -> str:
    """Prefix of everything that belongs to a job, below the output uri; ends in a slash, as all prefixes do."""
    return f"{namespace}/{job}/"


def items_key(namespace: str, job: str, digest: str) -> str:
    """Key of the resolved items with this digest."""
    return f"{job_prefix(namespace, job)}_items/{digest}.jsonl"


def assignment_key(namespace: str, job: str, digest: str) -> str:
    """Key of an assignment too large for an environment variable."""
    return f"{job_prefix(namespace, job)}_assignments/{digest}.json"


def files_key(namespace: str, job: str) -> str:
    """Key of what is known of the files that the job's parameters name: the digests that units are made from."""
    return f"{job_prefix(namespace, job)}_files.json"


def model_pin_key(namespace: str, job: str, model: str, revision: str) -> str:
    """Key of the commit that a branch or tag of a hub's model stands for in all units of a job."""
    name = hashlib.sha256(f"{model}@{revision}".encode()).hexdigest()[:32]
    return f"{models_prefix(namespace, job)}{name}.json"


def models_prefix(namespace: str, job: str) -> str:
    """Prefix of what branches and tags of models stand for in a job."""
    return f"{job_prefix(namespace, job)}_models/"


def inputs_prefix(namespace: str, job: str) -> str:
    """Prefix of files that people have put beside a job."""
    return f"{job_prefix(namespace, job)}_inputs/"


def import_claims_prefix(namespace: str, job: str) -> str:
    """Prefix of what says which import is at a job that is not there yet."""
    return f"{job_prefix(namespace, job)}_import/"


def import_claim_key(namespace: str, job: str, number: int) -> str:
    """Key of one import's claim; the highest number holds."""
    return f"{import_claims_prefix(namespace, job)}{number:06}"


def stage_prefix(namespace: str, job: str, stage: str) -> str:
    """Prefix of all units of a stage."""
    return f"{job_prefix(namespace, job)}{stage}/"


def unit_prefix(namespace: str, job: str, stage: str, item: str, fingerprint: str) -> str:
    """Prefix of one unit at one fingerprint."""
    return f"{stage_prefix(namespace, job, stage)}{encode_id(item)}/{fingerprint[:16]}/"


def attempts_prefix(unit_prefix: str) -> str:
    """Prefix of what is kept of the attempts at a unit."""
    return f"{unit_prefix}attempts/"


def attempt_log_key(unit_prefix: str, pod_uid: str) -> str:
    """Key of the last lines that an attempt at a unit wrote, which outlive its pod."""
    return f"{attempts_prefix(unit_prefix)}{pod_uid}.log"


def attempt_key(unit_prefix: str, pod_uid: str) -> str:
    """Key of what became of an attempt at a unit that failed."""
    return f"{attempts_prefix(unit_prefix)}{pod_uid}.json"


def journal_prefix(unit_prefix: str, worker: str = "") -> str:
    """Prefix of a unit's journals; with the first 12 digits of a worker fingerprint, of those that hold for it."""
    return f"{unit_prefix}{JOURNAL}{worker[:WORKER_DIGITS]}/" if worker else unit_prefix + JOURNAL


def journal_fields_key(unit_prefix: str, worker: str) -> str:
    """Key of the fields of a worker fingerprint, readable."""
    return f"{journal_prefix(unit_prefix, worker)}fingerprint.json"


def segment_key(unit_prefix: str, worker: str, pod_uid: str, number: int) -> str:
    """Key of one segment: each pod writes into a folder of its own."""
    return f"{journal_prefix(unit_prefix, worker)}{encode_id(pod_uid or 'nobody')}/{number:06}.safetensors"


def previews_prefix(unit_prefix: str) -> str:
    """Prefix of a unit's previews."""
    return unit_prefix + PREVIEWS


def preview_key(unit_prefix: str, section: int, sha256: str, suffix: str) -> str:
    """Key of one section's preview, named by its content as artifacts are; `suffix` begins with a dot."""
    return f"{previews_prefix(unit_prefix)}{section:03}.{sha256[:12]}{suffix}"


def section_of(key: str) -> int | None:
    """Number of the section that a preview with this key shows; None if it is none."""
    number = key.rpartition("/")[2].partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() else None


def artifact_name(name: str, sha256: str) -> str:
    """File name of an artifact with 12 hex digits of its content: "clip.mp4" -> "clip.3fa9c0d1b2e4.mp4".

    No writer can change what a done.json describes, because other content has another name. Slashes become
    underscores: a unit's artifacts lie side by side, apart from the folders that belong to us.
    """
    flat = name.replace("/", "_")
    stem, dot, suffix = flat.rpartition(".")
    return f"{stem}.{sha256[:12]}.{suffix}" if dot and stem else f"{flat}.{sha256[:12]}"
