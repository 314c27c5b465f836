"""Who follows what: subscriptions to the same rows are one group, and get the same bytes.

Decisions only: a group takes what a row was and is, and says what its members are to be told. No socket, no
database, no task. Which groups a row concerns is found by what their filters ask to be equal: a change costs
as much as there are subscriptions that it concerns, not as there are subscriptions.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from .options import Query
from .rights import everybody_reads
from .tracking import Row

if TYPE_CHECKING:
    from asyncio import Task

    from chat.realtime.connection import Connection

    from .entering import Gate
    from .resource import ModelResource

CREATED, UPDATED, DELETED = "create", "update", "delete"


class Group:
    """Subscriptions to the same rows and columns. Nothing is remembered of its members: every row is
    everybody's, and what it was says whether they had it."""

    def __init__(self, key: Hashable, resource: ModelResource, query: Query, user: Any = None) -> None:
        """``user``: whose rows they are, where rows are not everybody's."""
        self.key = key
        self.id = "sub-" + secrets.token_hex(8)
        self.resource = resource
        self.query = query
        self.user = user
        self.test: Callable[[Row], bool] = query.filters.compile()
        self.members: dict[Any, dict[Connection, None]] = {}  # by the user's key
        self.size = 0
        self.waiting = 0  # who are about to be members
        self.gate: Gate | None = None  # where those come in who want a snapshot
        self.open = everybody_reads(resource)  # nobody needs to be asked whether they may

    def add(self, connection: Connection, user: Any) -> None:
        members = self.members.setdefault(user, {})
        if connection not in members:
            members[connection] = None
            self.size += 1

    def discard(self, connection: Connection, user: Any) -> bool:
        """Whether it was a member."""
        members = self.members.get(user)
        if members is None or connection not in members:
            return False
        del members[connection]
        self.size -= 1
        if not members:
            del self.members[user]
        return True

    def connections(self) -> Iterable[Connection]:
        if len(self.members) == 1:
            return next(iter(self.members.values()))
        return [connection for members in self.members.values() for connection in members]

    def decide(self, key: Any, before: Row | None, after: Row | None, unknown: bool) -> str | None:
        """What happened to the row for these members. ``unknown``: nobody knows what it was."""
        had = before is not None and self.test(before)
        has = after is not None and self.test(after)
        if has:
            return UPDATED if had or unknown else CREATED
        return DELETED if had or unknown else None


class Following(Group):
    """A group that remembers which rows its members have: where that differs from user to user, and for
    those who just got a snapshot (``main`` is the group that they will be in).

    ``held``: primary key → the digest of the row as the members know it, or None where it is not kept.
    """

    def __init__(
        self, key: Hashable, resource: ModelResource, query: Query, user: Any, main: Group | None = None
    ) -> None:
        super().__init__(key, resource, query, user)
        self.main = main
        if main is not None:
            self.id = main.id
        self.held: dict[Any, bytes | None] = {}
        self.loaded = self.collecting = False
        self.loading: Task[None] | None = None
        self.touched: set[Any] = set()  # rows that changed while it was loaded

    @property
    def compares(self) -> bool:
        """Whether a row that looks as it was told is told again."""
        return self.main is not None

    def decide_held(self, key: Any, has: bool, told: bytes | None, changed: bool) -> str | None:
        """What happened to the row, which the members see now (``has``), with the digest ``told``; remembers
        it. ``changed``: whether the change left another row than it found. If it did, and the members know
        the row as it is now, they have it from their snapshot."""
        had = key in self.held
        if not has:
            if had:
                del self.held[key]
            return DELETED if had else None
        if had and changed and self.compares and self.held[key] == told:
            return None
        self.held[key] = told if self.compares else None
        return UPDATED if had else CREATED

    @property
    def is_too_large(self) -> bool:
        """Whether it follows twice as many rows as a subscription may begin with."""
        return len(self.held) > 2 * self.resource.max_followed


class Index:
    """The groups of one resource, by the value that a row must have to concern them."""

    def __init__(self) -> None:
        self.groups: dict[Hashable, Group] = {}
        self._by_values: dict[tuple[str, ...], dict[tuple[Any, ...], dict[Group, None]]] = {}
        self._rest: dict[Group, None] = {}

    def add(self, group: Group) -> None:
        self.groups[group.key] = group
        asked = group.query.filters.key()
        if asked is None:
            self._rest[group] = None
            return
        names, values = asked
        table = self._by_values.setdefault(names, {})
        for value in values:
            table.setdefault(value, {})[group] = None

    def remove(self, group: Group) -> bool:
        """Whether it was there."""
        if self.groups.pop(group.key, None) is None:
            return False
        asked = group.query.filters.key()
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
