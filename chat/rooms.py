"""Who may join a room: the rules of the rooms that have a row, kept in memory.

A handshake looks here. `chat.live` reads the rules anew when the tables change (it looks every second), so
a handshake costs no query; with more rooms than MAX_RULES, one a room and worker (1.5 ms).
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import Error as DatabaseError
from django.db.models import QuerySet

from chat.models import Access, Room
from chat.realtime import Forbidden, NotFound, Unavailable, config, control
from chat.realtime.database import in_database

# Room names come from clients: so many rules are kept, the least recently used ones go.
MAX_RULES = 10_000

NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a room's row says; the defaults are for rooms without one."""

    access: str = Access.EVERYONE
    closed: bool = False
    password: str = ""  # its hash, where it has one
    members: frozenset[Any] = frozenset()  # user ids, where it is for members only

    def admits(self, user: Any) -> bool:
        if self.closed:
            return False
        if self.access == Access.SIGNED_IN:
            return bool(user.is_authenticated)
        if self.access == Access.MEMBERS:
            return bool(user.is_authenticated) and user.pk in self.members
        return True


_rules: OrderedDict[str, Rule] = OrderedDict()
_generation = 0  # grows with every change of the rules
_complete = False  # whether every room that has a row is in there
_OPEN = Rule()


def check_name(name: str, pattern: re.Pattern[str] | None) -> None:
    """Raise NotFound(``invalid_room``) for what can't be a room's name here."""
    if NAME.fullmatch(name) is None or (pattern is not None and pattern.fullmatch(name) is None):
        raise NotFound("There is no room of this name.", code="invalid_room")


async def check_access(name: str, user: Any) -> Rule:
    """The room's rule, which admits the user. Raises Forbidden, or Unavailable when the database can't tell
    in time."""
    rule = await rule_of(name)
    if not rule.admits(user):
        raise Forbidden("This room is closed." if rule.closed else "You may not join this room.")
    return rule


async def rule_of(name: str) -> Rule:
    """The rule for a (valid) room name. Raises Unavailable."""
    rule = _rules.get(name)
    if _complete:
        return rule or _OPEN
    if rule is not None:
        _rules.move_to_end(name)
        return rule
    asked = _generation
    try:
        async with asyncio.timeout(config.current().query_timeout):
            found = await read_rules([name])
    except (TimeoutError, DatabaseError):
        raise Unavailable("The database does not answer.", retry_after=5) from None
    if asked != _generation:  # what was read may be older than the change
        return await rule_of(name)
    rule = _rules[name] = found.get(name, _OPEN)
    while len(_rules) > MAX_RULES:
        _rules.popitem(last=False)
    return rule


@in_database
def read_rules(names: Iterable[str]) -> dict[str, Rule]:
    """The rules of those rooms that have a row."""
    return _read(Room.objects.filter(name__in=list(names)))


def read_all() -> dict[str, Rule] | None:
    """The rules of all rooms, on a database thread; None when they are too many to keep."""
    return _read(Room.objects.all()) if Room.objects.count() <= MAX_RULES else None


def _read(found: QuerySet[Room]) -> dict[str, Rule]:
    members: dict[Any, set[Any]] = {}
    through = Room.members.through.objects.filter(room__in=found.filter(access=Access.MEMBERS))
    for room_id, user_id in through.values_list("room_id", "user_id"):
        members.setdefault(room_id, set()).add(user_id)
    return {
        room.name: Rule(room.access, room.closed, room.password, frozenset(members.get(room.pk, ())))
        for room in found
    }


def replace(rules: dict[str, Rule] | None) -> None:
    """The table may have changed: these are its rules; None: ask for each."""
    global _complete, _generation
    if rules is not None and _complete and rules == _rules:
        return
    _complete = rules is not None
    _generation += 1
    _rules.clear()
    _rules.update(rules or {})


def generation() -> int:
    """The number of the rules in force; another one after each change."""
    return _generation


def recheck(*, user: Any = None, room: str | None = None) -> None:
    """Have every worker ask again whether those inside may stay: in all rooms, in one, a user's, or both.

    Call it when what an authorizer looks at has changed, after the commit (``transaction.on_commit``).
    ``user`` is a user or its primary key. For sync and async code.
    """
    key = getattr(user, "pk", user)
    control.tell("recheck_rooms", {"user": None if key is None else str(key), "room": room})


async def rules_of(names: set[str]) -> dict[str, Rule]:
    """The rules of those rooms that have a row; from memory where all are kept."""
    if _complete:
        return {name: _rules[name] for name in names & _rules.keys()}
    found: dict[str, Rule] = {}
    every = sorted(names)
    for start in range(0, len(every), 1000):  # SQLite takes 32,766 values in one query
        found |= await read_rules(every[start : start + 1000])
    return found
