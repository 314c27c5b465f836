"""Who follows what: subscriptions to the same rows are one group, and get the same bytes.

Decisions only: a group takes what a row was and is, and says what its members are to be told. No socket, no
database, no task.
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
    from .heard import Change, Word
    from .resource import ModelResource

CREATED, UPDATED, DELETED = "create", "update", "delete"

MOST_TOUCHED = 5_000  # rows that change while a snapshot is read; if they are more it is read again


def extra_of(resource: ModelResource, query: Query) -> frozenset[str]:
    """Columns that only a hook's filter names: no change is told with them."""
    return frozenset(query.filters.columns() - {one.attname for one in resource.filter_columns.values()})


def has_to_look(resource: ModelResource, query: Query) -> bool:
    """Whether a changed row has to be looked at for each user, since a change does not say enough: rows are
    not everybody's, or not all of the table's, or a hook asks for what no client may."""
    return not resource.is_fixed or bool(extra_of(resource, query))


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
        self.extra = extra_of(resource, query)
        self.looks = has_to_look(resource, query)
        self.asked = None if self.extra else query.filters.key()
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

    def decide(
        self, change: Change, after: Row | None, word: Word | None = None, repeated: bool = False
    ) -> str | None:
        """What a change made of a row for these members, who were told ``word`` of it a moment ago.

        ``after``: the row as it is now. ``repeated``: that is what was told.
        """
        test = self.test
        has = after is not None and test(after)
        if word is None:
            had = change.unknown or (change.before is not None and test(change.before))
        elif repeated and has:
            return None
        else:
            had = (word.row is not None and test(word.row)) or word.leaves_out(change, test)
        if has:
            return UPDATED if had else CREATED
        return DELETED if had else None


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
        self.overrun = False  # they were too many
        self.looking: set[Any] = set()  # rows that are about to be looked at again, for this group alone
        self.apart: set[Any] = set()  # rows that it knows otherwise than ``main``

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

    def touch(self, key: Any) -> None:
        """A row has changed. Noted while rows are read: it has to be looked at again."""
        if self.collecting:
            if len(self.touched) < MOST_TOUCHED:
                self.touched.add(key)
            else:
                self.overrun = True

    def begin(self) -> None:
        """Rows are about to be read."""
        self.collecting, self.overrun = True, False
        self.touched.clear()

    def reset(self) -> None:
        """Changes were missed: nothing is known of rows any more."""
        self.held = {}
        self.loaded = False
        self.looking.clear()
        self.apart.clear()

    @property
    def is_too_large(self) -> bool:
        """Whether it follows twice as many rows as a subscription may begin with."""
        return len(self.held) > 2 * self.resource.max_followed
