"""`spec.overrides`: values of single units, whatever their items come from. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from carryon_core.errors import SpecError
from carryon_core.fingerprint import canonical
from carryon_core.names import GATHERED
from carryon_core.spec import JobSpec

RESERVED: Final = ("id", "index")
"""Names that params must not have: templates use them for the item itself."""


def overrides_of(spec: JobSpec, ids: Container[str]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Stage -> item id -> params that replace the item's own.

    Args:
        spec: Of the job.
        ids: Of its items. Where these come from data, rows come and go: an override of one that is not there is kept.

    Raises:
        SpecError: One can't hold.
    """
    made: dict[str, dict[str, Mapping[str, Any]]] = {}
    gathers = {stage.name: stage.each == GATHERED for stage in spec.stages}
    for override in spec.overrides:
        where = f'overrides for stage "{override.stage}", item "{override.item}"'
        if override.stage not in gathers:
            raise SpecError("UnknownStage", f"{where}: there is no such stage; use a name under spec.stages")
        if gathers[override.stage]:
            _check_gathered_override(where, override.item, override.params)
        elif override.item not in ids and spec.items.from_ is None:
            raise SpecError("UnknownItem", f"{where}: there is no such item; use the id of one under spec.items")
        if override.item in made.setdefault(override.stage, {}):
            raise SpecError("DuplicateOverride", f"{where} stand there twice: put all params into one")
        check_reserved(where, override.params)
        if "seed" in override.params:
            seed_of(where, override.params["seed"])
        try:
            canonical(override.params)
        except ValueError as error:
            raise SpecError("InvalidOverride", f"{where}: {error}") from None
        made[override.stage][override.item] = override.params
    return made


def _check_gathered_override(where: str, item: str, params: Mapping[str, Any]) -> None:
    if item != GATHERED:
        raise SpecError("UnknownItem", f'{where}: a stage with `each: job` has one unit; write item: "{GATHERED}"')
    if others := sorted(set(params) - {"seed"}):
        raise SpecError(
            "InvalidOverride",
            f"{where}: sets {', '.join(others)}, but a stage with `each: job` has no item whose params they could"
            " replace; set only seed",
        )


def seed_of(where: str, value: Any) -> int:
    """A seed that was given by hand.

    Raises:
        SpecError: It is none.
    """
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(whole, int) or isinstance(whole, bool) or not 0 <= whole < 2**63:
        raise SpecError("InvalidOverride", f"{where}: seed must be a whole number from 0 to {2**63 - 1}")
    return whole


def check_reserved(where: str, params: Mapping[str, Any]) -> None:
    """Look whether params have names that templates use for the item itself.

    Raises:
        SpecError: They do.
    """
    for name in RESERVED:
        if name in params:
            raise SpecError(
                "ReservedParameter",
                f"{where}: params must not be named {name}, because templates use item.{name} for the item's own"
                f" {name}; choose another name",
            )
