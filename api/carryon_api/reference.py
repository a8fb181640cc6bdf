"""Writes docs/reference/api.md from the routes, the settings and the problems there are: `make generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from carryon_api import app, config
from carryon_api.access.sessions import HEADER
from carryon_api.problems import PREFIX, TITLES
from carryon_api.reviews import ALLOWED_SECONDS, KNOWN_SECONDS

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
_ROOT: Final = "/api/v1"
_JOB: Final = "/namespaces/{namespace}/jobs/{name}"
_MORE: Final = "More about what they promise: [live events, units and files](api-live.md)."
_SECTIONS: Final = {
    "jobs": "Jobs",
    "progress": "Progress",
    "units": "Units",
    "artifacts": "Files",
    "actions": "Actions",
    "archives": "Archives and files",
    "events": "Live events",
    "session": "Signing in",
    "health": "Health",
}
_HEAD: Final = f"""\
# HTTP API

Made from the code by `make generate`. `carryon-api` serves it, together with the page; `carryon up` starts it on one machine. It keeps no state: any number of replicas behave as one. `GET /openapi.json` has every field, with examples.

JSON is camelCase. Manifests go in as JSON or YAML (`Content-Type: application/yaml`). Lists come in pages: `continue` of one is `continue=` of the next.

## Who may

Every request carries a Kubernetes token:

```sh
curl -H "Authorization: Bearer $TOKEN" https://carryon.example.com/api/v1/jobs
```

Browsers sign in once with `POST /api/v1/session` and keep the token in a cookie that no script can read. Nobody is let in without either. A change that is signed by cookie (or by a proxy) also needs the header `{HEADER.title()}: 1` and the page's own origin, so that no other site can cause it.

Kubernetes decides: `TokenReview` says whose a token is (remembered for {KNOWN_SECONDS:.0f} s), `SubjectAccessReview` what that person may read (remembered for {ALLOWED_SECONDS:.0f} s), and **changes go to Kubernetes with the caller's own token**. The API itself may change no job.

| to | one needs, on `generationjobs.carryon.dev` |
|---|---|
| see a job, its units and what they made | `get`; in lists, analytics and live events: `list` |
| read a log | `get`, and `get` on `pods/log` |
| act, upload input files | `patch` |
| edit | `update` |
| create, import | `create` |
| delete | `delete` |

What a job names is opened only where the operator would: the API reads no folder outside its `--file-root`, and no loopback, link-local or metadata address.

## Answers

Actions are answered with 202 and `{{action, already, echo, message, resourceVersion}}`. `already` means that nothing was sent, because it is so or was asked for. `echo` is the value that `status.handled` has once the operator has acted. `message` is what to tell people: "Resumed: 9 kept, 6 to make".

Whatever goes wrong is `application/problem+json` (RFC 9457): `detail` is a sentence for people, `action` what would help, `errors` the fields that are wrong. 429 and 503 say in `Retry-After` when to come back.
"""  # noqa: E501 - a line is a paragraph


def page() -> str:
    """The page."""
    return "\n".join([_HEAD, *_problems(), *_routes(), *_settings()])


def _problems() -> list[str]:
    rows = [f"| {status} | `{kind}` | {title} |" for kind, (status, title) in TITLES.items()]
    return [f"`type` is `{PREFIX}` and one of:", "", "| status | | |", "|---|---|---|", *rows, ""]


def _routes() -> list[str]:
    found: dict[str, list[str]] = {tag: [] for tag in _SECTIONS}
    for path, operations in app.create(config.Config()).openapi()["paths"].items():
        for method, operation in operations.items():
            tag = operation["tags"][0]
            asked = _parameters(operation)
            text = f"{operation['description'].splitlines()[0]}{asked}"
            found[tag].append(f"| `{method.upper()}` | `{_short(path)}` | {text} |")
    lines = ["## Routes", "", f"Below `{_ROOT}`; `JOB` stands for `{_JOB}`. {_MORE}", ""]
    for tag, rows in found.items():
        lines += [f"### {_SECTIONS[tag]}", "", "| | | |", "|---|---|---|", *rows, ""]
    return lines


def _short(path: str) -> str:
    return path.removeprefix(_ROOT).replace(_JOB, "JOB")


def _parameters(operation: dict[str, Any]) -> str:
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    return f" Query: {', '.join(f'`{name}`' for name in names)}." if names else ""


def _settings() -> list[str]:
    rows = [f"| `{flag}` | `{variable}` | {meaning} |" for flag, variable, meaning in config.SETTINGS]
    lines = ["## Settings", "", "What stands after the semicolon is the default.", ""]
    return [*lines, "| flag | variable | |", "|---|---|---|", *rows, ""]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
