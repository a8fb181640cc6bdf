"""Names of our group, labels, annotations and environment variables: each stands here once."""

from __future__ import annotations

from typing import Final

GROUP: Final = "carryon.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "GenerationJob"
PLURAL: Final = "generationjobs"
SINGULAR: Final = "generationjob"
SHORT_NAME: Final = "gj"
CRD_NAME: Final = f"{PLURAL}.{GROUP}"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY_CARRYON: Final = "carryon"

LABEL_JOB: Final = f"{GROUP}/job"
LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
LABEL_STAGE: Final = f"{GROUP}/stage"

ANNOTATION_UNITS: Final = f"{GROUP}/units"
"""JSON list of the item ids a pod was given, in order: ids never go into labels."""
ANNOTATION_FINGERPRINTS: Final = f"{GROUP}/fingerprints"
"""JSON list of the fingerprints of those units when the pod was made, in the same order."""
ANNOTATION_ATTEMPT: Final = f"{GROUP}/attempt"
ANNOTATION_TEMPLATE: Final = f"{GROUP}/template"
"""Digest of what a pod was made with besides its units: one that waits in vain is replaced when this has changed."""

ANNOTATION_RESUME: Final = f"{GROUP}/resume-requested-at"
ANNOTATION_RESTART: Final = f"{GROUP}/restart-requested-at"
ANNOTATION_RETRY: Final = f"{GROUP}/retry-units"
"""Units to give a new budget: "clip/7,clip/9-11", and "@" with any text to ask for the same again."""
ANNOTATION_CONFIRM_ITEMS: Final = f"{GROUP}/confirm-items"
"""Digest of items that a person has agreed to, although they remove more than half."""

FINALIZER: Final = f"{GROUP}/artifacts"
"""On jobs with `output.onDelete: Delete`, until their prefix is empty."""

LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
GATHERED: Final = "job"
"""Item id of the one unit of a stage with `each: job`."""
PREVIOUS: Final = "previous"
"""`inputs.previous`: the same stage's unit of the item before."""

CONTAINER: Final = "worker"
WORKER_PORT: Final = 8080
VOLUME_SCRATCH: Final = "scratch"
VOLUME_MODELS: Final = "carryon-models"
MODELS: Final = "/carryon-models"
"""Folder of a worker where the volume of the model cache is mounted, if there is one."""
SCRATCH: Final = "/scratch"
"""Folder of a worker where its scratch volume is mounted."""

ENV_ASSIGNMENT: Final = "CARRYON_ASSIGNMENT"
ENV_POD_NAME: Final = "CARRYON_POD_NAME"
ENV_POD_UID: Final = "CARRYON_POD_UID"
ENV_BIND: Final = "CARRYON_BIND"
"""Address the worker's HTTP server listens on: the pod's own."""
ENV_SCRATCH: Final = "CARRYON_SCRATCH"
"""Folder for temporary files: an emptyDir of the pod."""
ENV_HTTP_SECRET: Final = "CARRYON_HTTP_SECRET"
"""What `{secret}` stands for in the headers of `generate.http`."""
ENV_GRACE_SECONDS: Final = "CARRYON_GRACE_SECONDS"
"""Time between SIGTERM and SIGKILL, as the pod has it."""
ENV_MODEL_CACHE: Final = "CARRYON_MODEL_CACHE"
"""Folder for models that are downloaded; may be shared by workers, and by nodes."""
ENV_MODEL_CACHE_BYTES: Final = "CARRYON_MODEL_CACHE_BYTES"
"""Bytes that models may have there."""
ENV_HUB_TOKEN: Final = "HF_TOKEN"
"""Token of a model hub, as its own library reads it."""
ENV_TERMINATION_LOG: Final = "CARRYON_TERMINATION_LOG"
"""Where the termination message goes; unset means /dev/termination-log, as in Kubernetes."""
