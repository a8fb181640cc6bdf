"""A small asynchronous Kubernetes client: requests, watches, and caches that follow a collection."""
