"""Files with GenerationJobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from carryon_core import names
from carryon_standalone.cli.errors import USAGE, CommandError

STDIN: Final = Path("-")


def read_all(files: Sequence[Path] | None, filenames: Sequence[Path] | None) -> list[tuple[Path, dict[str, Any]]]:
    """The jobs of all files that a command was given, each with its file.

    Args:
        files: As arguments.
        filenames: As options.

    Raises:
        CommandError: There is none, it can't be read, or holds something else.
    """
    paths = [*(files or ()), *(filenames or ())]
    if not paths:
        raise CommandError("name a file with GenerationJobs, or - for standard input", USAGE)
    return [(path, job) for path in paths for job in read(path)]


def read(path: Path) -> list[dict[str, Any]]:
    """The jobs of a YAML or JSON file, or of standard input for "-".

    Raises:
        CommandError: The file can't be read, or holds something else.
    """
    try:
        text = sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise CommandError(f"{path} can't be read: {reason}", USAGE) from None
    return parse(text, str(path))


def parse(text: str, source: str) -> list[dict[str, Any]]:
    """The jobs of a YAML or JSON text.

    Args:
        text: One document, or several.
        source: What people call it, such as the name of its file.

    Raises:
        CommandError: It holds something else.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise CommandError(f"{source} is no YAML: {' '.join(str(error).split())}", USAGE) from None
    if not documents:
        raise CommandError(f"{source} is empty: it should hold a {names.KIND}", USAGE)
    return [_job(source, document) for document in documents]


def _job(source: str, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("kind") != names.KIND:
        kind = document.get("kind", "nothing with a kind") if isinstance(document, dict) else type(document).__name__
        raise CommandError(f"{source} holds {kind}: this command takes a {names.KIND}", USAGE)
    if document.get("apiVersion") != names.API_VERSION:
        raise CommandError(f"{source}: apiVersion is {document.get('apiVersion')}: write {names.API_VERSION}", USAGE)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise CommandError(f"{source}: metadata.name is missing: give the job a name, such as reel-42", USAGE)
    return document
