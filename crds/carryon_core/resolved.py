"""What a spec comes to: its stages and their units, each with what it is made from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from carryon_core import layout
from carryon_core.fingerprint import OpenFingerprint
from carryon_core.names import GATHERED
from carryon_core.recipe import Recipe, Rendered


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
        each: "job" where the stage gathers, else "item".
        recipe: How its units are rendered again.
        open: Of a stage that gathers, or comes after one: its units' fingerprints but for what is upstream.
    """

    name: str
    index: int
    after: tuple[int, ...]
    depth: int
    units: tuple[Unit, ...]
    digest: str
    each: str = "item"
    recipe: Recipe | None = field(default=None, repr=False, compare=False)
    open: tuple[OpenFingerprint, ...] = field(default=(), repr=False, compare=False)

    @property
    def gathers(self) -> bool:
        """It has one unit, of the whole job."""
        return self.each == GATHERED

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the units, in order."""
        return tuple(unit.fingerprint for unit in self.units)

    @cached_property
    def lacking(self) -> tuple[Unit, ...]:
        """Units that need a file which is not there."""
        return tuple(unit for unit in self.units if unit.missing)

    @cached_property
    def chained(self) -> bool:
        """Some of its units take inputs from the item before."""
        return any(unit.previous for unit in self.units)

    @cached_property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """(stage, item) of the units, in order."""
        return tuple((self.index, number) for number in range(len(self.units)))


@dataclass(frozen=True)
class ResolvedJob:
    """Everything a job wants, in the order of its spec.

    Attributes:
        ids: Item ids; their positions are the indexes that index sets refer to.
        items: JSON lines with ids and params, as the job's own copy in the bucket.
        items_digest: SHA-256 of that text, 64 hex digits.
        params: Of the items.
        digests: Uri of a file that units name -> SHA-256 of its content, None where it is not there.
        variant: Digest of what units are made from besides stages and items: overrides and files.
        warnings: What the spec asks for that is not done: sentences.
    """

    namespace: str
    name: str
    ids: tuple[str, ...]
    items: str
    items_digest: str
    stages: tuple[ResolvedStage, ...]
    params: tuple[Mapping[str, Any], ...] = field(default=(), repr=False, compare=False)
    digests: Mapping[str, str | None] = field(default_factory=dict, repr=False, compare=False)
    variant: str = ""
    warnings: tuple[str, ...] = ()

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

    @cached_property
    def order(self) -> tuple[ResolvedStage, ...]:
        """The stages, each after those that it takes inputs from."""
        return tuple(sorted(self.stages, key=lambda stage: stage.depth))

    @cached_property
    def remembered(self) -> dict[Any, Any]:
        """Room for what `standing` found out and need not compute again; nothing in it says anything new."""
        return {}

    def item_id(self, stage: int, item: int) -> str:
        """Id of the item that a stage's unit is of; `GATHERED` where the stage gathers."""
        return GATHERED if self.stages[stage].gathers else self.ids[item]

    def item_index(self, stage: int, item: str) -> int | None:
        """Index of a stage's unit by that id, None where there is none."""
        if self.stages[stage].gathers:
            return 0 if item == GATHERED else None
        return self.index_of.get(item)

    def upstream(self, before: int, item: int) -> tuple[int, int]:
        """(stage, item) of the unit in the stage `before` from which an item's unit takes its inputs."""
        return before, 0 if self.stages[before].gathers else item

    def rendered(self, unit: Unit) -> Rendered:
        """What a unit's templates make, with its files and inputs as such."""
        stage = self.stages[unit.stage]
        assert stage.recipe is not None
        params = {} if stage.gathers else self.params[unit.item]
        return stage.recipe.render(unit.item, self.item_id(unit.stage, unit.item), params)

    def generate(self, unit: Unit) -> dict[str, Any]:
        """The generator's configuration of a unit after templating, as JSON: rendered again each time."""
        return self.rendered(unit).plain(self.digests)

    def prefix(self, unit: Unit) -> str:
        """Where the unit lies in the bucket.

        Raises:
            ValueError: Its fingerprint is not known yet.
        """
        item = self.item_id(unit.stage, unit.item)
        if not unit.fingerprint:
            raise ValueError(f'stage "{self.stages[unit.stage].name}", unit "{item}" has no fingerprint yet')
        return layout.unit_prefix(self.namespace, self.name, self.stages[unit.stage].name, item, unit.fingerprint)
