"""The kinds of objects that we read and write, and their paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from carryon_core import names


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API server's paths name it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of an object, or of the collection; without namespace: over all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return root + scope + "".join(f"/{part}" for part in (self.plural, name, subresource) if part)


PODS: Final = Resource("", "v1", "pods")
EVENTS: Final = Resource("", "v1", "events")
SECRETS: Final = Resource("", "v1", "secrets")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
NAMESPACES: Final = Resource("", "v1", "namespaces", namespaced=False)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
GENERATION_JOBS: Final = Resource(names.GROUP, names.VERSION, names.PLURAL)
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
SUBJECT_ACCESS_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False)
