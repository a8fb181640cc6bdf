"""From a spec to its units: items numbered, templates rendered, fingerprints computed. Pure; once a generation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from carryon_core import templates
from carryon_core.errors import SpecError
from carryon_core.fingerprint import OpenFingerprint, canonical, digest, unit_seed
from carryon_core.names import GATHERED, PREVIOUS
from carryon_core.overrides import check_reserved, seed_of
from carryon_core.pod_template import check_templates
from carryon_core.recipe import UNIT_LONGEST, Recipe, check_text, counting, recipes_of, too_deep
from carryon_core.resolved import ResolvedJob, ResolvedStage, Unit
from carryon_core.spec import JobSpec, Stage

__all__ = [
    "ITEMS_MOST",
    "UNITS_MOST",
    "UNIT_LONGEST",
    "ResolvedJob",
    "ResolvedStage",
    "Unit",
    "file_uris",
    "parse_items",
    "resolve",
]

ITEMS_MOST: Final = 100_000
"""Items of one job."""
UNITS_MOST: Final = 300_000
"""Units of all stages of one job: status has to name those that are done."""

Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]
"""(id, params) of each item."""


def parse_items(text: str) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Read back the items that `ResolvedJob.items` holds: (id, params) in order."""
    # Not splitlines: JSON leaves line separators such as U+2028 as they are.
    rows = (json.loads(line) for line in text.split("\n") if line)
    return tuple((row["id"], row.get("params", {})) for row in rows)


def items_text(items: Rows) -> str:
    """Items as the job's own copy of them: canonical JSON, one a line.

    Raises:
        SpecError: One has params that are no JSON.
    """
    return "".join([_line(item, params) for item, params in items])


def items_digest(text: str) -> str:
    """SHA-256 of such a text, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_uris(namespace: str, name: str, spec: JobSpec, rows: Rows | None = None) -> frozenset[str]:
    """The files that units of a job name: what `resolve` wants to know the digests of.

    Raises:
        SpecError: As `resolve`.
    """
    try:
        items = _items(spec, rows)
        recipes = recipes_of(namespace, name, spec, {item for item, _ in items})
        # Rendering everything takes a while, and most jobs have no files at all.
        given = any(templates.has_files(value) for _, params in items for value in params.values())
        return frozenset(
            uri
            for recipe in recipes
            if given or recipe.has_files
            for number, (item, params) in enumerate(_of_stage(recipe, items))
            for uri in recipe.render(number, item, params).files
        )
    except RecursionError:
        raise too_deep() from None


def resolve(
    namespace: str,
    name: str,
    spec: JobSpec,
    rows: Rows | None = None,
    files: Mapping[str, str | None] | None = None,
) -> ResolvedJob:
    """The units of a job.

    Args:
        namespace: Of the job.
        name: Of the job.
        spec: Of the job.
        rows: (id, params) of each item where `spec.items.from` is set.
        files: Uri -> SHA-256 of what `file_uris` names; None, or not here: the file is not there.

    Raises:
        SpecError: Something is wrong that schema and CEL could not see.
    """
    try:
        return _resolve(namespace, name, spec, rows, files or {})
    except RecursionError:
        raise too_deep() from None


def _resolve(
    namespace: str, name: str, spec: JobSpec, rows: Rows | None, files: Mapping[str, str | None]
) -> ResolvedJob:
    warnings = check_templates(spec)
    items = _items(spec, rows)
    order = _topological(spec.stages)
    recipes = recipes_of(namespace, name, spec, {item for item, _ in items})
    _check_approved(spec)
    _check_size(spec, len(items))
    lines = items_text(items)

    resolved: dict[int, ResolvedStage] = {}
    for index in order:
        resolved[index] = _stage(spec, index, recipes[index], items, resolved, files)
    return ResolvedJob(
        namespace=namespace,
        name=name,
        ids=tuple(item for item, _ in items),
        items=lines,
        items_digest=items_digest(lines),
        stages=tuple(resolved[index] for index in range(len(spec.stages))),
        params=tuple(params for _, params in items),
        digests=files,
        variant=_variant(spec, files),
        warnings=warnings,
    )


def _check_size(spec: JobSpec, items: int) -> None:
    units = sum(1 if stage.each == GATHERED else items for stage in spec.stages)
    if units > UNITS_MOST:
        raise SpecError(
            "JobTooLarge",
            f"{items} items in {len(spec.stages)} stages are {units} units: at most {UNITS_MOST}; split the items into"
            " several jobs",
        )


def _variant(spec: JobSpec, files: Mapping[str, str | None]) -> str:
    overrides = sorted((each.stage, each.item, canonical(each.params)) for each in spec.overrides)
    return digest([overrides, dict(files)])[:16]


def _items(spec: JobSpec, rows: Rows | None) -> Rows:
    if spec.items.count is not None:
        return [(str(index), {}) for index in range(spec.items.count)]
    if spec.items.from_ is not None:
        if rows is None:
            raise ValueError("items.from needs its rows")
        items, where = rows, "items.from"
    else:
        items, where = [(item.id, item.params) for item in spec.items.list_ or ()], "items.list"
    if len(items) > ITEMS_MOST:
        raise SpecError(
            "TooManyItems", f"{where} has {len(items)} items: at most {ITEMS_MOST}; split them into several jobs"
        )
    seen: set[str] = set()
    for item, params in items:
        if item in seen:
            raise SpecError("DuplicateItem", f'{where} has the id "{item}" twice: give each item an id of its own')
        seen.add(item)
        check_reserved(f'item "{item}"', params)
    return items


def _line(item: str, params: Mapping[str, Any]) -> str:
    try:
        line = canonical({"id": item, "params": params or None}) + "\n"
        check_text(line)
        return line
    except ValueError as error:
        raise SpecError("InvalidParameter", f'item "{item}": {error}') from None


def _topological(stages: Sequence[Stage]) -> list[int]:
    index_of = {stage.name: index for index, stage in enumerate(stages)}
    order: list[int] = []
    path: list[int] = []

    def visit(index: int) -> None:
        if index in order:
            return
        if index in path:
            cycle = " -> ".join(stages[each].name for each in [*path[path.index(index) :], index])
            raise SpecError("StageCycle", f"stages wait for each other ({cycle}): take one of these out of `after`")
        path.append(index)
        for before in stages[index].after:
            if before not in index_of:
                raise SpecError(
                    "UnknownStage", f'stage "{stages[index].name}": after names "{before}", which is no stage'
                )
            visit(index_of[before])
        path.pop()
        order.append(index)

    for index in range(len(stages)):
        visit(index)
    return order


def _check_approved(spec: JobSpec) -> None:
    stages = {stage.name: stage for stage in spec.stages}
    for name in spec.approved:
        if name not in stages:
            raise SpecError("UnknownStage", f'approved names "{name}", which is no stage: use a name under spec.stages')
        if stages[name].approval is None:
            raise SpecError(
                "ApprovalNotRequired",
                f'approved names stage "{name}", which needs no approval: set its approval to Required, or take it out',
            )


def _stage(
    spec: JobSpec,
    index: int,
    recipe: Recipe,
    items: Rows,
    resolved: Mapping[int, ResolvedStage],
    files: Mapping[str, str | None],
) -> ResolvedStage:
    stage = spec.stages[index]
    after = tuple(i for i, other in enumerate(spec.stages) if other.name in stage.after)
    before = [resolved[i] for i in after]
    waits = recipe.gathers or any(earlier.open for earlier in before)
    units: list[Unit] = []
    opened: list[OpenFingerprint] = []
    for number, (item, params) in enumerate(_of_stage(recipe, items)):
        rendered = recipe.render(number, item, params)
        own = recipe.overrides.get(item, {}).get("seed")
        seed = unit_seed(spec.seed, stage.name, item) if own is None else seed_of(item, own)
        text = recipe.text(rendered, item, files)
        fingerprint = OpenFingerprint(text, seed, stage.revision, None if own is None else (stage.name, item))
        if waits:
            opened.append(fingerprint)
            known = ""
        else:
            upstream = {earlier.name: earlier.units[number].fingerprint for earlier in before}
            if rendered.previous:
                upstream[PREVIOUS] = units[-1].fingerprint
            known = fingerprint.close(upstream)
        missing = next((uri for uri in rendered.files if files.get(uri) is None), "") if rendered.files else ""
        units.append(Unit(index, number, known, seed, rendered.previous, missing))
    return ResolvedStage(
        name=stage.name,
        index=index,
        after=after,
        depth=1 + max((earlier.depth for earlier in before), default=0),
        units=tuple(units),
        digest=digest(
            {
                "each": GATHERED if recipe.gathers else None,
                "generate": counting(recipe.template),
                "seed": spec.seed,
                "revision": stage.revision,
                "upstream": [earlier.digest for earlier in before],
            }
        )[:16],
        each=stage.each,
        recipe=recipe,
        open=tuple(opened),
    )


def _of_stage(recipe: Recipe, items: Rows) -> Rows:
    return [(GATHERED, {})] if recipe.gathers else items
