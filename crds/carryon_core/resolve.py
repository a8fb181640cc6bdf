"""From a spec to its units: items numbered, templates rendered, fingerprints computed. Pure; once a generation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from carryon_core import layout, templates
from carryon_core.errors import SpecError
from carryon_core.fingerprint import canonical, digest, unit_fingerprint, unit_seed
from carryon_core.pod_template import check_template
from carryon_core.spec import JobSpec, Stage

UNIT_LONGEST: Final = 64 * 1024
"""Characters of one unit's configuration: it must travel in an assignment."""
_RESERVED: Final = ("id", "index")


@dataclass(frozen=True, slots=True)
class Unit:
    """One item at one stage.

    Attributes:
        stage: Index of the stage.
        item: Index of the item; 0 where the stage gathers.
        fingerprint: What the unit is made from, 64 hex digits; "" while what it gathers is not known.
        seed: The unit's own seed.
        previous: It takes inputs from the same stage's unit of the item before.
        missing: Uri of a file it needs that is not there, "" where all are.
    """

    stage: int
    item: int
    fingerprint: str
    seed: int
    previous: bool = False
    missing: str = ""


@dataclass(frozen=True)
class ResolvedStage:
    """One stage, and its units in the order of the items.

    Attributes:
        after: Indexes of the stages that units take their inputs from.
        depth: Stages on the longest way to this one, itself included.
        digest: Changes when the stage's generator, or one upstream, changes for all items.
    """

    name: str
    index: int
    after: tuple[int, ...]
    depth: int
    units: tuple[Unit, ...]
    digest: str


@dataclass(frozen=True)
class ResolvedJob:
    """Everything a job wants, in the order of its spec.

    Attributes:
        ids: Item ids; their positions are the indexes that index sets refer to.
        items: JSON lines with ids and params, as the job's own copy in the bucket.
        items_digest: SHA-256 of that text, 64 hex digits.
    """

    namespace: str
    name: str
    ids: tuple[str, ...]
    items: str
    items_digest: str
    stages: tuple[ResolvedStage, ...]

    @cached_property
    def total(self) -> int:
        """Units of all stages."""
        return sum(len(stage.units) for stage in self.stages)

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """Item id -> index."""
        return {item: index for index, item in enumerate(self.ids)}

    def unit(self, stage: int, item: int) -> Unit:
        """The unit of an item at a stage."""
        return self.stages[stage].units[item]

    def units(self) -> Iterator[Unit]:
        """All units, stage by stage."""
        for stage in self.stages:
            yield from stage.units

    def prefix(self, unit: Unit) -> str:
        """Where the unit lies in the bucket."""
        return layout.unit_prefix(
            self.namespace, self.name, self.stages[unit.stage].name, self.ids[unit.item], unit.fingerprint
        )


def parse_items(text: str) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Read back the items that `ResolvedJob.items` holds: (id, params) in order."""
    # Not splitlines: JSON leaves line separators such as U+2028 as they are.
    rows = (json.loads(line) for line in text.split("\n") if line)
    return tuple((row["id"], row.get("params", {})) for row in rows)


def resolve(namespace: str, name: str, spec: JobSpec) -> ResolvedJob:
    """The units of a job.

    Raises:
        SpecError: Something is wrong that schema and CEL could not see.
    """
    try:
        return _resolve(namespace, name, spec)
    except RecursionError:
        raise _too_deep() from None


def _resolve(namespace: str, name: str, spec: JobSpec) -> ResolvedJob:
    if spec.pod_template is not None:
        check_template(spec.pod_template)
    items = _items(spec)
    order = _topological(spec.stages)
    lines = "".join(canonical({"id": item, "params": params or None}) + "\n" for item, params in items)

    resolved: dict[int, ResolvedStage] = {}
    for index in order:
        resolved[index] = _stage(namespace, name, spec, index, items, resolved)
    return ResolvedJob(
        namespace=namespace,
        name=name,
        ids=tuple(item for item, _ in items),
        items=lines,
        items_digest=hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest(),
        stages=tuple(resolved[index] for index in range(len(spec.stages))),
    )


def _items(spec: JobSpec) -> Sequence[tuple[str, Mapping[str, Any]]]:
    if spec.items.count is not None:
        return [(str(index), {}) for index in range(spec.items.count)]
    items = spec.items.list_ or []
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise SpecError(
                "DuplicateItem", f'items.list has the id "{item.id}" twice: give each item an id of its own'
            )
        seen.add(item.id)
        for name in _RESERVED:
            if name in item.params:
                raise SpecError(
                    "ReservedParameter",
                    f'item "{item.id}": params must not be named {name}, because templates use item.{name} for the'
                    f" item's own {name}; choose another name",
                )
    return [(item.id, item.params) for item in items]


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


def _stage(
    namespace: str,
    name: str,
    spec: JobSpec,
    index: int,
    items: Sequence[tuple[str, Mapping[str, Any]]],
    resolved: Mapping[int, ResolvedStage],
) -> ResolvedStage:
    stage = spec.stages[index]
    after = tuple(i for i, other in enumerate(spec.stages) if other.name in stage.after)
    try:
        template = stage.generate.model_dump(by_alias=True, mode="json", exclude_defaults=True, exclude_none=True)
    except ValueError:
        raise _too_deep() from None
    common = {
        "job": {"name": name, "namespace": namespace},
        "stage": {"name": stage.name},
        "inputs": {spec.stages[i].name: templates.FileRef(spec.stages[i].name) for i in after},
    }
    try:
        templates.check(template)
    except templates.TemplateError as error:
        raise SpecError("InvalidTemplate", f'stage "{stage.name}": {error}') from None
    units = tuple(
        _unit(spec, stage, index, number, item, params, template, common, {i: resolved[i] for i in after})
        for number, (item, params) in enumerate(items)
    )
    return ResolvedStage(
        name=stage.name,
        index=index,
        after=after,
        depth=1 + max((resolved[i].depth for i in after), default=0),
        units=units,
        digest=digest(
            {
                "generate": template,
                "seed": spec.seed,
                "revision": stage.revision,
                "upstream": [resolved[i].digest for i in after],
            }
        )[:16],
    )


def _unit(
    spec: JobSpec,
    stage: Stage,
    stage_index: int,
    number: int,
    item: str,
    params: Mapping[str, Any],
    template: Mapping[str, Any],
    common: Mapping[str, Any],
    before: Mapping[int, ResolvedStage],
) -> Unit:
    scope = {**common, "item": {**params, "id": item, "index": number}}
    try:
        rendered = templates.render(template, scope)
        if "command" in rendered:
            rendered = {**rendered, "command": _as_command(rendered["command"])}
        generate = _plain(rendered)
        size = len(canonical(generate))
    except templates.TemplateError as error:
        raise SpecError("InvalidTemplate", f'stage "{stage.name}", item "{item}": {error}') from None
    except ValueError as error:
        raise SpecError("InvalidParameter", f'stage "{stage.name}", item "{item}": {error}') from None
    if size > UNIT_LONGEST:
        raise SpecError(
            "UnitTooLarge",
            f'stage "{stage.name}", item "{item}": its configuration is {size} characters after templating; keep it'
            f" under {UNIT_LONGEST}",
        )
    seed = unit_seed(spec.seed, stage.name, item)
    upstream = {earlier.name: earlier.units[number].fingerprint for earlier in before.values()}
    return Unit(
        stage=stage_index,
        item=number,
        fingerprint=unit_fingerprint(generate, seed, stage.revision, upstream),
        seed=seed,
        generate=generate,
    )


def _too_deep() -> SpecError:
    return SpecError("InvalidParameter", "params nest lists and mappings too deep: keep them to a hundred levels")


def _plain(value: Any) -> Any:
    """JSON of what a template made: references to files are written out as {"$input": {...}}."""
    match value:
        case templates.FileRef(stage=stage, name=name):
            return {"$input": {"stage": stage, "name": name}}
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value


def _as_command(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """Programs take text: arguments and variables that a template made into something else are written out."""

    def written(part: Any) -> Any:
        return part if isinstance(part, str | templates.FileRef) else templates.as_text(part)

    env = [{**each, "value": written(each.get("value", ""))} for each in command.get("env", ())]
    return {**command, "args": [written(part) for part in command["args"]], **({"env": env} if env else {})}
