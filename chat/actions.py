"""What changes the chat's state: saying something, coming into a room and leaving it.

Consumers decide what a client may do and call these. Nothing here waits for a receiver.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from chat import live, presence
from chat.realtime import envelope
from chat.realtime.census import Census
from chat.realtime.connection import Connection
from chat.realtime.errors import LayerUnavailable
from chat.realtime.frames import Frame
from chat.realtime.groups import room_group
from chat.realtime.hub import FRAME, Hub

# Every connection of the chat: those in rooms and those in none.
GLOBAL_GROUP = "chat.global"

_UNAVAILABLE = LayerUnavailable()
_censuses: dict[Hub, Census] = {}


def say(connection: Connection, room: str | None, data: dict[str, Any], ref: str | None) -> None:
    """Publish a chat message to a room, or to everybody. The sender is told by ``ack`` when the layer has
    accepted it (where it gave an id, ``ref``), or by ``error`` ``unavailable`` when it has not."""
    ident, payload = envelope.encode("chat", data, room=room, sender=connection.id, user=connection.user)
    group = GLOBAL_GROUP if room is None else room_group(room)
    message = {"type": FRAME, "data": payload}
    connection.hub.layer.publish(group, message, partial(_said, connection, room, ident, ref))


def _said(connection: Connection, room: str | None, ident: str, ref: str | None, outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        answer = envelope.error(_UNAVAILABLE.code, _UNAVAILABLE.message, ref=ref, retry_after=1)
    elif ref is None:
        return
    else:
        answer = envelope.encode("ack", {"ref": ref, "id": ident}, room=room)[1]
    connection.push(Frame(answer))


async def enter(connection: Connection, room: str) -> int:
    """Make a connection a member of a room and count it: of its endpoint's own as of one that it joins.

    Returns the room's members on all workers. Raises Full, LayerUnavailable.
    """
    group = room_group(room)
    census = _census(connection.hub)
    members = await census.enter(group, live.policy().max_room_members)
    try:
        await connection.hub.join(group, connection)
    except BaseException:
        census.leave(group)
        raise
    return members


async def check_room_for_one(hub: Hub, room: str) -> None:
    """Raise what ``enter`` would raise now."""
    await _census(hub).check(room_group(room), live.policy().max_room_members)


def leave(connection: Connection, room: str, *, announced: bool = True) -> None:
    """End a membership; the others are told, if they were told that it began."""

    def tell(left: int) -> None:
        if announced and left:
            presence.announce(connection, room, "offline", left)

    group = room_group(room)
    connection.hub.leave(group, connection)
    presence.forget(connection.hub, room)
    _census(connection.hub).leave(group, tell)


def _census(hub: Hub) -> Census:
    census = _censuses.get(hub)
    if census is None:
        for old in [known for known in _censuses if known.loop.is_closed()]:
            del _censuses[old]
        census = _censuses[hub] = Census(hub)
    return census
