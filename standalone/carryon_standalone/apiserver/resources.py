"""What this server serves: one `Resource` for each kind, and the registry that finds it by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from carryon_standalone.apiserver.errors import FieldError, Named
from carryon_standalone.apiserver.schema import ANYTHING, Structural
from carryon_standalone.apiserver.storage import Key, Object

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column. `cell` may return None for an empty cell."""

    name: str
    type: str
    description: str
    cell: Callable[[Object], Any]
    format: str = ""
    priority: int = 0


def _nothing(value: Object) -> None:
    del value


def _no_errors(value: Object, old: Object | None) -> list[FieldError]:
    del value, old
    return []


def _no_fields(value: Object) -> Fields:
    del value
    return {}


@dataclass(frozen=True, slots=True)
class Strategy:
    """What is particular to a built-in kind.

    Args:
        prepare: Fills in what a real server does when an object is created (status, phase).
        default: Fills in defaults, at every write.
        validate: Says what is wrong with the new object, given the old one.
        fields: Selectable fields beyond metadata.name and metadata.namespace.
        empty: What an object of this kind says that says nothing: the fields that Go writes although they are empty.
            Nobody comes to own them by creating one.
    """

    prepare: Callable[[Object], None] = _nothing
    default: Callable[[Object], None] = _nothing
    validate: Callable[[Object, Object | None], list[FieldError]] = _no_errors
    fields: Callable[[Object], Fields] = _no_fields
    empty: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as it is served.

    Args:
        storage_version: The version that objects are stored in, where it is another one.
        shape: The schema. That of a built-in kind only holds the types this server relies on and how lists merge.
        structural: The same, compiled.
        custom: Whether it comes from a CustomResourceDefinition: its rules differ in details.
        virtual: Answered when created, never stored (access reviews).
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    list_kind: str = ""
    storage_version: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strategy: Strategy = field(default_factory=Strategy)
    shape: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    structural: Structural = ANYTHING
    custom: bool = False
    virtual: bool = False
    counts_generation: bool = False
    deletion_returns_object: bool = False

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_kind(self) -> str:
        """The first part of this kind's storage keys."""
        return f"{self.group}/{self.plural}"

    @property
    def has_status(self) -> bool:
        """Whether spec and status are written apart."""
        return "status" in self.subresources

    @property
    def listed_as(self) -> str:
        """The kind of a list of these."""
        return self.list_kind or f"{self.kind}List"

    def key(self, namespace: str, name: str) -> Key:
        """Where an object of this kind lies."""
        return Key(self.storage_kind, namespace if self.namespaced else "", name)

    def named(self, name: str) -> Named:
        """As errors about storage call it: `mediajobs.media.example.com "g1"`."""
        return Named(self.group, self.plural, name)

    def kind_named(self, name: str) -> Named:
        """As errors about content call it: `MediaJob.media.example.com "g1"`."""
        return Named(self.group, self.kind, name)


class Registry:
    """All resources that are served now; custom ones come and go with their definitions."""

    def __init__(self, builtins: tuple[Resource, ...]) -> None:
        self._builtins = {(each.group, each.version, each.plural): each for each in builtins}
        self._custom: dict[str, tuple[Resource, ...]] = {}
        self._found = dict(self._builtins)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at a path."""
        return self._found.get((group, version, plural))

    def storing(self, storage_kind: str) -> Resource | None:
        """A resource that serves a kind of storage keys."""
        return next((each for each in self._found.values() if each.storage_kind == storage_kind), None)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._found.values())

    def define(self, definition: str, resources: tuple[Resource, ...]) -> None:
        """Serve (or serve differently) what a CustomResourceDefinition defines; nothing when `resources` is empty."""
        if resources:
            self._custom[definition] = resources
        else:
            self._custom.pop(definition, None)
        custom = (each for defined in self._custom.values() for each in defined)
        self._found = self._builtins | {(each.group, each.version, each.plural): each for each in custom}
