"""What operators set, in force while the service runs.

Each worker looks at the settings row and at the rooms' last change once a second, on a database thread.
A look costs two small queries (1 ms). It needs no message bus, so it works in every process and after
every kind of change. While the database can't be reached the last known settings hold.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.db.models import Count, Max
from django.utils import timezone

from chat import rooms
from chat.models import ChatSettings, Room
from chat.realtime import CloseCode, config
from chat.realtime.hub import Hub
from chat.realtime.runtime import get_hub

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
_version: Any = None  # of the rooms' table
_look: asyncio.Task[None] | None = None
_failing = False


def policy() -> Policy:
    """The chat's settings in force."""
    return _policy


def auth_required() -> bool:
    """AUTH_ENABLED in the environment, or the settings row: either can require a sign-in."""
    return bool(settings.AUTH_ENABLED) or _policy.auth_required


async def ready(hub: Hub) -> None:
    """Before a handshake is decided: have looked at least once, and keep looking."""
    if watch not in hub.sweepers:
        hub.sweepers.append(watch)
        await look()


def watch(now: float) -> None:
    """The hub's tick, once a second."""
    global _look
    if _look is None or _look.done():
        _look = asyncio.get_running_loop().create_task(look())


async def look() -> None:
    """Read both tables and put into force what has changed."""
    global _failing, _version
    try:
        async with asyncio.timeout(config.current().query_timeout):
            row, version, rules = await _read(_version)
    except Exception as error:  # noqa: BLE001 (whatever ails the database, chatting goes on; said once)
        if not _failing:
            logger.error("the chat's settings can't be read, the last known hold: %s", type(error).__name__)
        _failing = True
        return
    if _failing:
        logger.warning("the chat's settings can be read again")
    _failing = False
    was_open = not auth_required()
    _apply(row)
    if was_open and auth_required():
        _part_with_anonymous()
    if version != _version:
        first, _version = _version is None, version
        if rooms.replace(rules) and not first:
            await _recheck()


@database_sync_to_async
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
    pattern = _policy.room_pattern
    if (pattern.pattern if pattern else "") != row.room_pattern:
        pattern = re.compile(row.room_pattern) if row.room_pattern else None
    _policy = Policy(row.auth_required, row.presence_limit, row.max_room_members, pattern)
    current = config.current()
    changes = {
        name: getattr(row, name) for name in _REALTIME_FIELDS if getattr(row, name) != getattr(current, name)
    }
    if changes:
        config.apply(**changes)


def _part_with_anonymous() -> None:
    """A sign-in is required from now on (4501: come back with credentials)."""
    for connection in list(get_hub().connections.values()):
        if connection.user is None and connection.consumer.requires_user():
            connection.close(CloseCode.CREDENTIALS_ENDED, "sign-in required")


async def _recheck() -> None:
    """The rooms changed: part with those who may not stay (4503)."""
    connections = [c for c in get_hub().connections.values() if c.room is not None]
    found = await rooms.rules_of({c.room for c in connections if c.room is not None})
    for connection in connections:
        rule = found.get(connection.room or "")
        if rule is not None and not rule.admits(connection.consumer.user):
            connection.close(CloseCode.ACCESS_WITHDRAWN)
