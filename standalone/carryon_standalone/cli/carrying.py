"""The commands that carry a job, or its files, somewhere; what is slow to load is loaded by who needs it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from carryon_standalone.cli.errors import USAGE, CommandError
from carryon_standalone.cli.naming import as_typed
from carryon_standalone.cli.options import Json, Name, Where

if TYPE_CHECKING:
    from carryon_jobs.archive.previewing import Preview
    from carryon_jobs.job import Job

_STDOUT: Final = Path("-")
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def export(
    where: Where,
    name: Name,
    file: Annotated[
        Path | None, typer.Argument(help="Archive to write; - writes standard output.", show_default="NAME.carryon")
    ] = None,
    artifacts: Annotated[bool, typer.Option(help="Take finished units along.")] = True,
    checkpoints: Annotated[bool, typer.Option(help="Take along what is kept of half-done units.")] = True,
    force: Force = False,
) -> None:
    """Write a job and all it has made into one file, for another cluster or another day.

    Pause the job first, and nothing of what its pods are at is left out.
    """
    from carryon_jobs.archive import exporting

    export = exporting.prepare(_job(where, name), artifacts=artifacts, checkpoints=checkpoints)
    for warning in export.warnings:
        typer.echo(f"warning: {warning}", err=True)
    path = file if file is not None else Path(export.file_name)
    _write(path, export.stream(), force=force)
    if path != _STDOUT:
        manifest = export.manifest
        begun = f", {manifest.half_done_total} begun" if manifest.half_done_total else ""
        typer.echo(f"{path}: {manifest.done} of {manifest.total} done{begun}, {_size(path.stat().st_size)}")


def import_(
    where: Where,
    file: Annotated[Path, typer.Argument(help="Archive, as `carryon export` wrote it.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the job.", show_default="as it was")] = None,
    start: Annotated[bool, typer.Option("--start", help="Begin at once, instead of suspended.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", help="Where artifacts go: s3://bucket/prefix or file:///folder.", show_default="default store"
        ),
    ] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="S3 service of --output, if not AWS.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Region of --output.")] = None,
    credentials: Annotated[
        str | None, typer.Option("--credentials", help="Secret in the namespace with the keys of --output.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", help="OLD=NEW: Secret that takes the place of one the job uses; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and say what would happen.")] = False,
    as_json: Json = False,
) -> None:
    """Make a job of an archive: what is finished is not made again, what was begun goes on where it was."""
    from carryon_jobs.archive import checking, importing
    from carryon_jobs.archive.errors import NeedsSecrets
    from carryon_standalone.cli.reaching import Importing, place_for

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if output is None and (endpoint or region or credentials):
        raise CommandError("--endpoint, --region and --credentials belong to --output: name it too", USAGE)
    with _opened(file) as content:
        archive = checking.check(content.fileno())
        cluster = where.cluster()
        place, store = place_for(
            where.target(),
            cluster,
            name=name or archive.job["metadata"]["name"],
            output=output,
            endpoint=endpoint,
            region=region,
            credentials=credentials,
        )
        try:
            plan = importing.plan(
                archive,
                place,
                store,
                Importing(cluster),
                start=start,
                secrets=_pairs(secret or ()),
                products=cluster.gpu_products(),
            )
        except NeedsSecrets as error:
            example = next(iter(error.secrets))
            raise CommandError(f"{error}: --secret {example}=NAME", USAGE) from None
        if not as_json:
            _tell(plan.preview)
        if dry_run:
            Importing(cluster).create(plan.job, dry_run=True)
            if as_json:
                typer.echo(json.dumps(plan.preview.as_json(), indent=2))
            return
        job = importing.carry_out(plan, Importing(cluster))
    if as_json:
        typer.echo(json.dumps(job, indent=2))
        return
    after = (
        "at work; follow it with `carryon get {name} -w`"
        if start
        else "suspended; carry on with `carryon resume {name}`"
    )
    typer.echo(as_typed(f"{place.name} is imported, {after.format(name=place.name)}"))


def download(
    where: Where,
    name: Name,
    units: Annotated[
        list[str] | None,
        typer.Argument(help="Units, as stage/item, stage/9-11 or stage; all without it.", show_default=False),
    ] = None,
    stage: Annotated[list[str] | None, typer.Option("--stage", help="Only of this stage; repeatable.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to put them into.", show_default="NAME")] = None,
    zip_: Annotated[Path | None, typer.Option("--zip", help="One zip instead; - writes standard output.")] = None,
    force: Force = False,
) -> None:
    """Fetch finished files, named by their items; what is there already with the right content is not fetched again."""
    from carryon_jobs import selecting
    from carryon_jobs.archive import downloading
    from carryon_jobs.archive.readable import Readable

    if to is not None and zip_ is not None:
        raise CommandError("--to and --zip name two places: give one of them", USAGE)
    job = _job(where, name)
    chosen = selecting.units(job.spec, job.ids, units) if units else None
    wanted = downloading.prepare(job, stage or (chosen or ()), chosen)
    if not wanted.files:
        raise CommandError(as_typed(f"{name} has no finished files there: see `carryon units {name}`"))
    if zip_ is not None:
        _write(zip_, wanted.stream(), force=force)
        return
    folder = to if to is not None else Path(name)

    def told(file: Readable, new: bool) -> None:
        if new:
            typer.echo(str(folder / file.path))

    fetched = wanted.into(folder, told)
    there = len(wanted.files) - fetched
    typer.echo(f"{fetched} files fetched into {folder}" + (f", {there} were there" if there else ""))


def upload(
    where: Where,
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="Files to put beside the job.", show_default=False)],
    below: Annotated[str, typer.Option("--below", help="Folder to put them into, such as photos.")] = "",
    as_json: Json = False,
) -> None:
    """Put files beside a job, for its params to name: prints the uri of each, to be written as {file: uri}."""
    from carryon_jobs.archive import uploading

    job = _job(where, name)
    if job.store is None or job.config is None:
        raise CommandError(as_typed(f"{name} has no bucket yet: see `carryon describe {name}`"))
    paths = ["/".join(filter(None, (below.strip("/"), file.name))) for file in files]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise CommandError(f"two files are called {twice[0]}: put them one by one, below different folders", USAGE)
    for path in paths:
        uploading.checked(path)
    for file in files:
        with _opened(file):
            continue
    put = [
        uploading.put(job.store, job.config, job.view.namespace, name, path, file)
        for path, file in zip(paths, files, strict=True)
    ]
    if as_json:
        typer.echo(json.dumps([{"uri": each.uri, "sha256": each.sha256, "size": each.size} for each in put], indent=2))
        return
    for each in put:
        typer.echo(each.uri)


def _job(where: Where, name: str) -> Job:
    from carryon_jobs.job import Job

    cluster = where.cluster()
    return Job(cluster.job(name), cluster.secret)


def _opened(path: Path) -> BinaryIO:
    """A file to read.

    Raises:
        CommandError: It can't be read.
    """
    try:
        if not path.is_file():
            raise CommandError(f"{path} is no file" if path.exists() else f"there is no file {path}", USAGE)
        return path.open("rb")
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}", USAGE) from None


def _write(path: Path, pieces: Iterable[bytes], *, force: bool) -> None:
    """Write a file that appears whole or not at all, or standard output."""
    from carryon_store.local import arriving

    if path == _STDOUT:
        if sys.stdout.isatty():
            raise CommandError("standard output is a terminal: send it to a file or a program", USAGE)
        sys.stdout.flush()
        for piece in pieces:
            _write_all(sys.stdout.fileno(), piece)
        return
    if path.exists() and not force:
        raise CommandError(f"{path} exists: name another file, or say --force", USAGE)
    if not path.absolute().parent.is_dir():
        raise CommandError(f"there is no folder {path.absolute().parent}: make it first", USAGE)
    with arriving(path) as file:
        for piece in pieces:
            file.write(piece)


def _write_all(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """OLD=NEW, several times; a name alone stands for itself."""
    made: dict[str, str] = {}
    for text in texts:
        old, _, new = text.partition("=")
        if not old or text.endswith("="):
            raise CommandError(f'"{text}" names no Secrets: write OLD=NEW', USAGE)
        made[old] = new or old
    return made


def _tell(preview: Preview) -> None:
    from carryon_jobs.archive.errors import printable

    for line in (
        f"{preview.origin}, exported {preview.created}: {preview.message}",
        *(f"note: {note}" for note in preview.notes),
    ):
        typer.echo(printable(line))


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (export, import_, download, upload)
