"""Who may be in a room, decided by an app's code, after the rules of the rooms' rows.

An authorizer is a coroutine function ``may_join(room, user, claims, connection)`` that returns True, or
raises a Forbidden with words for the client. The setting ``CHAT = {"AUTHORIZER": "teams.rooms.may_join"}``
names it, or it is registered; with several, all have to say yes. Whatever else one does, it did not say yes:
an error, another answer and silence all keep people out. docs/rooms.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from chat.realtime import Forbidden, Refused, Unavailable, config, control
from chat.realtime.errors import BUGS
from chat.realtime.hub import Hub
from chat.realtime.log import event, failure

logger = logging.getLogger("chat")

AT_ONCE = 16  # memberships of one worker that are asked about at the same time, in a re-check

Claims = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Visitor:
    """The connection that wants in, as an authorizer sees it."""

    id: str | None  # None while its handshake is being decided
    address: str | None
    user_agent: str
    name: str | None  # what a visitor calls themself: nobody has checked it


Authorizer = Callable[[str, Any, Claims, Visitor], Awaitable[bool]]

_registered: list[Authorizer] = []
_calls = 0  # for a re-check, so far


def register(authorizer: Authorizer) -> Authorizer:
    """Ask this one too, from now on; call it when the apps are ready. Can be used as a decorator."""
    if not iscoroutinefunction(authorizer):
        raise ImproperlyConfigured(f"A room authorizer is an `async def`; {authorizer!r} is not.")
    if authorizer not in _registered:
        _registered.append(authorizer)
    return authorizer


def unregister(authorizer: Authorizer) -> None:
    _registered.remove(authorizer)


def is_there() -> bool:
    """Whether anybody has to be asked."""
    return bool(_registered) or bool(_path())


async def check(room: str, user: Any, claims: Claims, visitor: Visitor) -> None:
    """Raise Forbidden, or what refusal the authorizer raised; Unavailable where it could not tell in time."""
    for authorizer in _all():
        try:
            async with asyncio.timeout(config.current().query_timeout):
                answer = await authorizer(room, user, claims, visitor)
        except Refused:
            raise
        except BUGS as error:  # whatever ails it: it did not say yes
            event(logger, logging.ERROR, "authorizer_failed", error=error, room=room, connection=visitor.id)
            raise _unknown() from None
        if answer is not True:
            raise Forbidden("You may not join this room.")


def _unknown() -> Unavailable:
    return Unavailable("Whether you may join can't be told now. Try again.", retry_after=5)


def _all() -> list[Authorizer]:
    path = _path()
    if not path:
        return _registered
    try:
        return [_named(path), *_registered]
    except ImproperlyConfigured as error:
        event(logger, logging.ERROR, "authorizer_failed", error=error)
        raise _unknown() from None


def _path() -> str:
    found: str = getattr(settings, "CHAT", {}).get("AUTHORIZER") or ""
    return found


@lru_cache(maxsize=8)
def _named(path: str) -> Authorizer:
    try:
        found: Authorizer = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"CHAT['AUTHORIZER'] can't be imported: {error}") from error
    if not iscoroutinefunction(found):
        raise ImproperlyConfigured(f"CHAT['AUTHORIZER'] ({path}) is no `async def`.")
    return found


@checks.register
def check_setting(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """A misspelt path would keep everybody out: say so at the start."""
    try:
        if _path():
            _named(_path())
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="chat.E101")]
    return []


# --- asking again, of those inside ------------------------------------------------------------------------


def calls() -> int:
    """How often a re-check was called for: who was let in before the last one has to be asked about again."""
    return _calls


class _Queue:
    """The memberships of one worker that are to be asked about."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[Any, str], None] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def add(self, consumer: Any, room: str) -> None:
        self.waiting[consumer, room] = None
        if len(self.tasks) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _work(self) -> None:
        while self.waiting:
            consumer, room = next(iter(self.waiting))
            del self.waiting[consumer, room]
            try:
                await consumer.recheck(room)
            except BUGS as error:  # the others are still to be asked about
                failure(logger, "recheck_failed", error, connection=consumer.connection, room=room)


_queues: dict[Hub, _Queue] = {}


def recheck_one(consumer: Any) -> None:
    """Begin to ask again whether a connection may stay in its rooms."""
    queue = _queue_of(consumer.hub)
    for room in consumer.entered:
        queue.add(consumer, room)


def recheck(hub: Hub, *, user: str | None = None, room: str | None = None) -> int:
    """Begin to ask again whether this worker's members may stay: all, or those of a user, a room, or both.

    Returns how many memberships that are.
    """
    global _calls
    _calls += 1
    queue = _queue_of(hub)
    found = 0
    for connection in hub.connections.values():
        if user is not None and (connection.user is None or str(connection.user["id"]) != user):
            continue
        for entered in getattr(connection.consumer, "entered", ()):
            if room is None or entered == room:
                queue.add(connection.consumer, entered)
                found += 1
    return found


def _queue_of(hub: Hub) -> _Queue:
    queue = _queues.get(hub)
    if queue is None:
        for old in [known for known in _queues if known.loop.is_closed()]:
            del _queues[old]
        queue = _queues[hub] = _Queue()
    return queue


@control.command("recheck_rooms")
def _recheck(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return {"checking": recheck(hub, user=args.get("user"), room=args.get("room"))}
