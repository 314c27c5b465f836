"""What operators set, in force while the service runs.

Each worker looks at the settings row and at the rooms' last change once a second, on a database thread.
A look costs two small queries (1 ms). It needs no message bus, so it works in every process and after
every kind of change. While the database can't be reached the last known settings hold; a worker that has
never seen them refuses handshakes, since the defaults may be laxer than what an operator has set.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error as DatabaseError
from django.db.models import Count, Max
from django.utils import timezone

from chat import authorizer, rooms
from chat.models import LIMITS, TRANSPORT, ChatSettings, Room
from chat.realtime import CloseCode, Unavailable, config, log
from chat.realtime.database import in_database
from chat.realtime.hub import Hub
from chat.realtime.runtime import on_hub
from chat.validators import validate_room_pattern

logger = logging.getLogger("chat")

UNSETTLED = timedelta(seconds=10)  # how much later a change may be committed than it was stamped
_REALTIME_FIELDS = (
    "max_message_bytes",
    "send_buffer",
    "slow_consumer_policy",
    "heartbeat_interval",
    "heartbeat_timeout",
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that are the chat's own."""

    auth_required: bool = False
    presence_limit: int = 100
    max_room_members: int = 0
    room_pattern: re.Pattern[str] | None = None


_policy = Policy()
_refused_pattern = ""  # the settings' last pattern that can't be used
_watches: dict[Hub, _Watch] = {}


def policy() -> Policy:
    """The chat's settings in force."""
    return _policy


def auth_required() -> bool:
    """AUTH_ENABLED in the environment, or the settings row: either can require a sign-in."""
    return bool(settings.AUTH_ENABLED) or _policy.auth_required


async def ready(hub: Hub) -> None:
    """Before a handshake is decided: have looked at least once, and keep looking.

    Raises Unavailable while the database has not told the settings yet.
    """
    watch = _watch(hub)
    if not watch.known:
        await asyncio.shield(watch.look())
        if not watch.known:
            raise Unavailable("The settings can't be read yet.", retry_after=2)


def _watch(hub: Hub) -> _Watch:
    watch = _watches.get(hub)
    if watch is None:
        for old in [known for known in _watches if known.loop.is_closed()]:
            del _watches[old]
        watch = _watches[hub] = _Watch(hub)
        hub.sweepers.append(watch.sweep)
    return watch


def _attach(hub: Hub) -> None:
    """Look also where nobody comes to the chat: the limits hold for all consumers."""

    def begin(now: float) -> None:
        if hub not in _watches:
            _watch(hub)

    hub.sweepers.append(begin)


on_hub.append(_attach)


class _Watch:
    """One hub's looks at the tables, one at a time. They never raise."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.known = False  # whether what holds is what operators have set, or there is nothing to know
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._version: Any = None  # of the rooms' table, as it was last enforced
        self._enforced: tuple[bool, int] | None = None  # the rules that all connections were held against
        self._again = False

    def sweep(self, now: float) -> None:
        """The hub's tick, once a second."""
        self.look()

    def look(self) -> asyncio.Task[None]:
        """Begin to look, unless a look is under way."""
        if self._task is None or self._task.done():
            self._task = self.hub.loop.create_task(self._look())
        return self._task

    async def _look(self) -> None:
        """Read both tables and put into force what has changed."""
        try:
            async with asyncio.timeout(config.current().query_timeout):
                row, version, rules = await _read(self._version)
                _apply(row)
                if version != self._version:
                    rooms.replace(rules)
                self.known = True
                await self._enforce()
                self._version = version
        except Exception as error:  # noqa: BLE001 (whatever ails the database, chatting goes on; said once)
            self._failed(error)
            return
        if self._failing:
            log.event(logger, logging.WARNING, "settings_readable")
        self._failing = False

    def _failed(self, error: Exception) -> None:
        if not self.known and not _may_tell_later(error):
            # Nothing was ever set, so the defaults hold, for rooms too.
            self.known = True
            rooms.replace({})
        if not self._failing:
            held = "the last known hold" if self.known else "handshakes are refused until they can"
            log.event(logger, logging.ERROR, "settings_unreadable", held=held, reason=type(error).__name__)
        self._failing = True

    async def _enforce(self) -> None:
        """Part with those who may not stay, after a change and once more at the next look: a handshake that
        was decided just before the change may have registered its connection just after it."""
        rules = (auth_required(), rooms.generation())
        if rules == self._enforced and not self._again:
            return
        again, first = rules != self._enforced, self._enforced is None
        if auth_required():
            self._part_with_anonymous()
        await self._recheck()
        if again and not first and authorizer.is_there():  # it may take its time: not this look's
            authorizer.recheck(self.hub)
        self._enforced, self._again = rules, again

    def _part_with_anonymous(self) -> None:
        """A sign-in is required (4501: come back with credentials)."""
        for connection in list(self.hub.connections.values()):
            if connection.user is None and connection.consumer.requires_user():
                connection.close(CloseCode.CREDENTIALS_ENDED, "sign-in required")

    async def _recheck(self) -> None:
        """Part with those who may not be in a room that they are in."""
        members = [
            (connection.consumer, room)
            for connection in self.hub.connections.values()
            for room in getattr(connection.consumer, "entered", ())
        ]
        found = await rooms.rules_of({room for _, room in members})
        for consumer, room in members:
            rule = found.get(room)
            if rule is not None and not consumer.fits(room, rule):
                consumer.withdraw(room)


def _may_tell_later(error: Exception) -> bool:
    """Whether there are settings that the database could not tell just now. There are none in one without our
    tables, nor in a test that must not ask it (pytest-django's RuntimeError)."""
    if not isinstance(error, DatabaseError | OSError):
        return False
    cause = error.__cause__
    missing = getattr(cause, "sqlstate", None) == "42P01" or str(error).startswith("no such table")
    return not missing


@in_database
def _read(known: Any) -> tuple[ChatSettings, Any, dict[str, rooms.Rule] | None]:
    """The settings, the rooms' version, and their rules where it is not the ``known`` one."""
    version: Any = tuple(Room.objects.aggregate(rooms=Count("pk"), changed=Max("updated_at")).values())
    # A transaction that stamped its change earlier may commit later: for a while each look is a new version.
    changed = version[1]
    if changed is not None and timezone.now() - changed < UNSETTLED:
        version = (*version, object())
    return ChatSettings.load(), version, None if version == known else rooms.read_all()


def _apply(row: ChatSettings) -> None:
    global _policy
    pattern = _pattern(row.room_pattern, _policy.room_pattern)
    _policy = Policy(row.auth_required, row.presence_limit, row.max_room_members, pattern)
    current = config.current()
    wanted = {name: getattr(row, name) for name in _REALTIME_FIELDS} | limits_of(row)
    changes = {name: value for name, value in wanted.items() if value != getattr(current, name)}
    if changes:
        config.apply(**changes)


def limits_of(row: ChatSettings) -> dict[str, int]:
    """Each limit, and what holds for the wire: what was saved, or where it was left empty what the
    environment says."""
    given = default_limits()
    for name in given:
        value = getattr(row, name)
        if value is not None:
            given[name] = value
    return given


def default_limits() -> dict[str, int]:
    """What holds where an operator has set nothing: the environment's word."""
    sections = getattr(settings, "REALTIME", {})
    given: dict[str, int] = sections.get("LIMITS", {}) | sections.get("TRANSPORT", {})
    none = config.Config()
    return {name: given.get(name, getattr(none, name)) for name in (*LIMITS, *TRANSPORT)}


def _pattern(text: str, last: re.Pattern[str] | None) -> re.Pattern[str] | None:
    """The names that are allowed; the ``last`` ones where ``text`` can't be used: ``update()`` and raw SQL
    check nothing, and a pattern that takes for ever would hold up the worker."""
    global _refused_pattern
    if text == (last.pattern if last else "") or (text and text == _refused_pattern):
        return last
    try:
        validate_room_pattern(text)
    except ValidationError:
        _refused_pattern = text
        log.event(logger, logging.ERROR, "room_pattern_refused", held="the last one holds")
        return last
    _refused_pattern = ""
    return re.compile(text) if text else None
