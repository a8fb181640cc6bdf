"""What the operator counts for Prometheus."""

from carryon_operator.metrics.recording import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]
