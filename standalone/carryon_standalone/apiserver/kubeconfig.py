"""The kubeconfig of this server, for kubectl and for client libraries."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import yaml

_NAME = "carryon"


def render(url: str, token: str, namespace: str = "default") -> str:
    """A kubeconfig as YAML text. It holds the token: write it with mode 0600.

    kubectl leaves a user's token out where the server is no https, so the token also stands in the server's URL, from
    where Go sends it as Basic authentication (and hides it in error messages). Client libraries use the user's token;
    those that refuse two credentials at once take `url` and `token` by themselves.
    """
    parts = urlsplit(url)
    server = parts._replace(netloc=f"{_NAME}:{quote(token, safe='')}@{parts.netloc}").geturl()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": server}}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
    return yaml.safe_dump(config, sort_keys=False)
