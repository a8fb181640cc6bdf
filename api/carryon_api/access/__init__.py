"""Who asks, and what they may: tokens and access reviews of Kubernetes, sessions of browsers."""

from carryon_api.access.dependencies import CallerOf, ClusterOf, ReadableJob, readable_job, require
from carryon_api.reviews import Caller

__all__ = ["Caller", "CallerOf", "ClusterOf", "ReadableJob", "readable_job", "require"]
