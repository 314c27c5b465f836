"""What changes the chat's state: saying something, coming into a room and leaving it.

Consumers decide what a client may do and call these. Nothing here waits for a receiver.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from chat import live, presence
from chat.realtime import Receipt, envelope, hooks
from chat.realtime.census import Place
from chat.realtime.connection import Connection
from chat.realtime.errors import Full, LayerUnavailable, Refused
from chat.realtime.frames import Frame
from chat.realtime.groups import room_group
from chat.realtime.hooks import PublishContext
from chat.realtime.hub import FRAME
from chat.realtime.questions import publish

# Every connection of the chat: those in rooms and those in none.
GLOBAL_GROUP = "chat.global"

ROOM_AGAIN = 5  # seconds after which it may be tried whether a full room has a place

_UNAVAILABLE = LayerUnavailable()


def say(connection: Connection, room: str | None, data: dict[str, Any], ref: str | None) -> None:
    """Publish a chat message to a room, or to everybody. The sender is told by ``ack`` when the layer has
    accepted it (where it gave an id, ``ref``), or by ``error`` ``unavailable`` when it has not."""
    ident, payload = envelope.encode("chat", data, room=room, sender=connection.id, user=connection.user)
    message = {"type": FRAME, "data": payload}
    connection.hub.layer.publish(_group(room), message, partial(_said, connection, room, ident, ref))


async def say_through_hooks(
    connection: Connection, room: str | None, data: dict[str, Any], ref: str | None
) -> None:
    """``say`` where hooks at BEFORE_PUBLISH or AFTER_PUBLISH are registered. Raises what they raise."""

    async def publish_it(context: PublishContext) -> Receipt:
        ident, payload = envelope.encode(
            context.type, context.data, room=room, sender=connection.id, user=connection.user
        )
        message = {"type": FRAME, "data": payload}
        return Receipt(ident, await publish(connection.hub.layer, _group(room), message))

    context = PublishContext(type="chat", data=data, room=room, sender=connection.id)
    try:
        receipt = await hooks.around_publish(context, publish_it)
    except LayerUnavailable as error:
        _said(connection, room, "", ref, error)
    else:
        _said(connection, room, receipt.id, ref, None)


def _group(room: str | None) -> str:
    return GLOBAL_GROUP if room is None else room_group(room)


def _said(connection: Connection, room: str | None, ident: str, ref: str | None, outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        answer = envelope.error(_UNAVAILABLE.code, _UNAVAILABLE.message, ref=ref, retry_after=1)
    elif ref is None:
        return
    else:
        answer = envelope.encode("ack", {"ref": ref, "id": ident}, room=room)[1]
    connection.push(Frame(answer))


def room_place(room: str) -> Place:
    """A room's count of members on all workers, and its limit."""
    return Place(room_group(room), live.policy().max_room_members, _room_full)


async def enter(connection: Connection, room: str) -> int:
    """Make a connection a member of one more room and count it.

    Returns the room's members on all workers. Raises Full, LayerUnavailable.
    """
    group = room_group(room)
    totals = await connection.consumer.count_in([room_place(room)])
    try:
        await connection.hub.join(group, connection)
    except BaseException:
        connection.consumer.count_out([group])
        raise
    members: int = totals[group]
    return members


def leave(connection: Connection, room: str, *, announced: bool = True) -> None:
    """End a membership; the others are told, if they were told that it began."""

    def tell(left: dict[str, int]) -> None:
        if announced:
            tell_left(connection, room, left[group])

    group = room_group(room)
    connection.hub.leave(group, connection)
    presence.forget(connection.hub, room)
    connection.consumer.count_out([group], tell)


def tell_left(connection: Connection, room: str, members: int) -> None:
    """A member has gone: tell the ``members`` that are left."""
    if members:
        presence.announce(connection, room, "offline", members)


def _room_full() -> Refused:
    return Full(retry_after=ROOM_AGAIN)
