"""The groups of one model in this worker, and which of them a change may concern.

They are found by what their filters ask to be equal: a change costs as much as there are subscriptions that
it may concern, not as there are subscriptions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .groups import Following, Group
from .tracking import Row

if TYPE_CHECKING:
    from .resource import ModelResource


class Followers:
    """Who follows a model here."""

    def __init__(self) -> None:
        self.indexes: dict[ModelResource, Index] = {}
        self.following: dict[Following, None] = {}  # those of the groups that remember

    def __bool__(self) -> bool:
        return bool(self.indexes)

    def __iter__(self) -> Iterator[Group]:
        return iter([group for index in self.indexes.values() for group in index.groups.values()])

    def find(self, resource: ModelResource, key: Hashable) -> Group | None:
        index = self.indexes.get(resource)
        return None if index is None else index.groups.get(key)

    def add(self, group: Group) -> None:
        self.indexes.setdefault(group.resource, Index()).add(group)
        if isinstance(group, Following):
            self.following[group] = None

    def remove(self, group: Group) -> bool:
        """Forget a group; whether it was there."""
        index = self.indexes.get(group.resource)
        if index is None or not index.remove(group):
            return False
        if not index.groups:
            del self.indexes[group.resource]
        if isinstance(group, Following):
            del self.following[group]
        return True

    def concerned(self, rows: Iterable[Row | None]) -> list[Group]:
        """The groups that a change between these rows may concern."""
        rows = list(rows)
        return [group for index in self.indexes.values() for group in index.concerned(rows)]

    def touch(self, key: Any) -> None:
        """A change of this row was heard: who is just reading rows has to look at it again."""
        for group in self.following:
            group.touch(key)


class Index:
    """The groups of one resource, by the value that a row must have to concern them."""

    def __init__(self) -> None:
        self.groups: dict[Hashable, Group] = {}
        self._by_values: dict[tuple[str, ...], dict[tuple[Any, ...], dict[Group, None]]] = {}
        self._rest: dict[Group, None] = {}

    def add(self, group: Group) -> None:
        self.groups[group.key] = group
        asked = group.asked
        if asked is None:
            self._rest[group] = None
            return
        names, values = asked
        table = self._by_values.setdefault(names, {})
        for value in values:
            table.setdefault(value, {})[group] = None

    def remove(self, group: Group) -> bool:
        """Whether it was there."""
        if self.groups.get(group.key) is not group:
            return False
        del self.groups[group.key]
        asked = group.asked
        if asked is None:
            del self._rest[group]
            return True
        names, values = asked
        table = self._by_values.get(names, {})
        for value in set(values):
            del table[value][group]
            if not table[value]:
                del table[value]
        if not table:
            self._by_values.pop(names, None)
        return True

    def concerned(self, rows: Iterable[Row | None]) -> list[Group]:
        """The groups that a change between these rows may concern."""
        found = dict(self._rest)
        for row in rows:
            if row is not None:
                for names, table in self._by_values.items():
                    groups = table.get(tuple([row[name] for name in names]))
                    if groups is not None:
                        found.update(groups)
        return list(found)
