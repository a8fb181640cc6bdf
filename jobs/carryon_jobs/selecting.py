"""Units as they are typed: "clip/dunes", "clip/7", "clip/9-11", "reel", by ids or by the indexes of status. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carryon_core.names import GATHERED
from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec, Stage
from carryon_jobs.errors import Unknown


def stage_of(spec: JobSpec, name: str) -> Stage:
    """The stage of that name.

    Raises:
        Unknown: There is none.
    """
    found = next((stage for stage in spec.stages if stage.name == name), None)
    if found is None:
        known = ", ".join(stage.name for stage in spec.stages)
        raise Unknown(f'there is no stage "{name}": name one of {known}')
    return found


def units(spec: JobSpec, ids: Sequence[str], texts: Sequence[str]) -> dict[str, IndexSet]:
    """Stage name -> indexes of the units that were typed; a stage alone means all of its units.

    Raises:
        Unknown: One of them is no unit of this job.
    """
    index_of = {item: index for index, item in enumerate(ids)}
    made: dict[str, IndexSet] = {}
    for text in texts:
        name, slash, item = text.partition("/")
        stage = stage_of(spec, name)
        found = indexes(stage, index_of, item) if slash else _all(stage, index_of)
        made[name] = made.get(name, IndexSet()) | found
    return made


def indexes(stage: Stage, index_of: Mapping[str, int], item: str) -> IndexSet:
    """Indexes of a stage's units, by an id or by ranges of indexes; an id goes first.

    Raises:
        Unknown: There is no such unit.
    """
    if stage.each == GATHERED:
        if item in (GATHERED, "0"):
            return IndexSet([0])
        raise Unknown(f'stage "{stage.name}" has one unit: name it {stage.name}/{GATHERED}')
    if item in index_of:
        return IndexSet([index_of[item]])
    try:
        found = IndexSet.parse(item)
    except ValueError:
        found = IndexSet()
    if not found or found - IndexSet.span(len(index_of)):
        raise Unknown(f'stage "{stage.name}" has no item "{item}": see `carryon units NAME`')
    return found


def one(spec: JobSpec, ids: Sequence[str], text: str) -> tuple[Stage, str]:
    """The stage and the item id of a single unit.

    Raises:
        Unknown: It is none, or several.
    """
    name, slash, item = text.partition("/")
    stage = stage_of(spec, name)
    if not slash:
        raise Unknown(f'"{text}" is a stage: name one of its units, such as {name}/{_example(stage, ids)}')
    found = list(indexes(stage, {each: index for index, each in enumerate(ids)}, item))
    if len(found) > 1:
        raise Unknown(f'"{text}" are several units: name one of them')
    return stage, GATHERED if stage.each == GATHERED else ids[found[0]]


def item_ids(stage: Stage, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Ids of a stage's items that were typed, without the stage.

    Raises:
        Unknown: One of them is none.
    """
    index_of = {item: index for index, item in enumerate(ids)}
    made: list[str] = []
    for text in texts:
        found = indexes(stage, index_of, text.removeprefix(f"{stage.name}/"))
        made += [GATHERED if stage.each == GATHERED else ids[index] for index in found]
    return list(dict.fromkeys(made))


def _all(stage: Stage, index_of: Mapping[str, int]) -> IndexSet:
    return IndexSet.span(1 if stage.each == GATHERED else len(index_of))


def _example(stage: Stage, ids: Sequence[str]) -> str:
    return GATHERED if stage.each == GATHERED else next(iter(ids), "ITEM")
