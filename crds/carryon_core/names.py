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
ANNOTATION_RESUME: Final = f"{GROUP}/resume-requested-at"

CONTAINER: Final = "worker"
WORKER_PORT: Final = 8080
VOLUME_SCRATCH: Final = "scratch"
SCRATCH: Final = "/scratch"
"""Folder of a worker where its scratch volume is mounted."""

ENV_ASSIGNMENT: Final = "CARRYON_ASSIGNMENT"
ENV_POD_NAME: Final = "CARRYON_POD_NAME"
ENV_POD_UID: Final = "CARRYON_POD_UID"
ENV_BIND: Final = "CARRYON_BIND"
"""Address the worker's HTTP server listens on: the pod's own."""
ENV_SCRATCH: Final = "CARRYON_SCRATCH"
"""Folder for temporary files: an emptyDir of the pod."""
ENV_GRACE_SECONDS: Final = "CARRYON_GRACE_SECONDS"
"""Time between SIGTERM and SIGKILL, as the pod has it."""
ENV_TERMINATION_LOG: Final = "CARRYON_TERMINATION_LOG"
"""Where the termination message goes; unset means /dev/termination-log, as in Kubernetes."""
