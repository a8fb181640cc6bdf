"""A Kubernetes API server for one machine, on SQLite: enough of Kubernetes 1.36 for operators, kubelets and kubectl."""

from carryon_standalone.apiserver.server import Config, running, serve
from carryon_standalone.apiserver.storage import AlreadyServed

__all__ = ["AlreadyServed", "Config", "running", "serve"]
