"""The chat's two endpoints: everybody, and one room. docs/protocol.md is their contract."""

from __future__ import annotations

import unicodedata
from typing import Any

from msgspec import UNSET

from chat import actions, live, presence, rooms
from chat.realtime import (
    BadRequest,
    EnvelopeError,
    Incoming,
    LayerUnavailable,
    RealtimeConsumer,
    config,
    envelope,
    on,
)
from chat.realtime.connection import State
from chat.realtime.consumer import ref_of
from chat.realtime.frames import Frame
from chat.realtime.groups import room_group
from chat.realtime.runtime import get_hub

MAX_NAME = 64  # characters of a visitor's display name


class ChatConsumer(RealtimeConsumer):
    """What both endpoints share. ``room`` is None for the global one."""

    room: str | None = None
    name: str | None = None
    members = 0  # in the room on all workers, when this connection came
    _counted = False

    # --- the handshake ----------------------------------------------------------------------------

    async def admit(self) -> None:
        await live.ready(get_hub())
        await super().admit()

    def requires_user(self) -> bool:
        return live.auth_required()

    async def authorize(self) -> None:
        self.name = display_name(self.handshake.query.get("name"))
        if self.room is not None:
            await rooms.check_access(self.room, self.user)
            if self.scope["type"] == "http":  # only asks; a handshake is counted in ``connect``
                await actions.check_room_for_one(get_hub(), self.room)

    def initial_groups(self) -> list[str]:
        groups = [*super().initial_groups(), actions.GLOBAL_GROUP]
        if self.room is not None:
            groups.append(room_group(self.room))
        return groups

    async def connect(self) -> None:
        self.connection.room = self.room
        if self.name is not None:
            self.connection.metadata = {"name": self.name}
        if self.room is not None:
            self.members = await actions.enter(self.connection, self.room)
            self._counted = True
        await self.accept()

    def opened(self) -> None:
        self.connection.push(Frame(envelope.encode("system", self._welcome(), room=self.room)[1]))

    async def connected(self) -> None:
        if self.room is None:
            return
        presence.announce(self.connection, self.room, "online", self.members)
        if self.handshake.query.get("members") in ("1", "true"):
            await self._send_members(self.room)

    def _forget(self, code: int) -> None:
        if self._counted and self.room is not None:
            self._counted = False
            opened = self.connection.state is not State.CONNECTING
            super()._forget(code)
            actions.leave(self.connection, self.room, opened)
        else:
            super()._forget(code)

    def draining(self) -> None:
        self.connection.push(Frame(envelope.encode("system", {"event": "draining"}, room=self.room)[1]))

    # --- messages ---------------------------------------------------------------------------------

    def check_message(self, message: Incoming) -> None:
        if message.room is not None and message.room != self.room:
            raise EnvelopeError("You are not in that room.", code="not_in_room")

    @on("chat")
    async def chat(self, message: Incoming) -> None:
        """Something to say, to the room or to everybody."""
        data = message.data
        content = data.get("content") if type(data) is dict else None
        if type(content) is not str or not content:
            raise EnvelopeError("A chat message needs data.content, a text that is not empty.")
        ref = ref_of(message)
        if ref is not None and (type(ref) is not str or len(ref) > envelope.MAX_ID_LENGTH):
            raise EnvelopeError(f"A message's id is a text of at most {envelope.MAX_ID_LENGTH} characters.")
        actions.say(self.connection, self.room, data, ref)
        await self.hub.layer.relief()

    @on("ping")
    async def ping(self, message: Incoming) -> None:
        """The client measures its way: the same id and data come back."""
        data = {} if message.data is UNSET else message.data
        await self.reply("pong", data, id=ref_of(message))

    @on("pong")
    async def pong(self, message: Incoming) -> None:
        """An answer to a server's ping: a sign of life, and that was counted when it came."""

    # --- frames of our own ------------------------------------------------------------------------

    def _welcome(self) -> dict[str, Any]:
        settings = config.current()
        return {
            "event": "welcome",
            "client_id": self.connection.id,
            "room": self.room,
            "user": self.connection.user,
            "limits": {
                "max_message_bytes": settings.max_message_bytes,
                "send_buffer": settings.send_buffer,
                "presence_limit": live.policy().presence_limit,
            },
            "heartbeat": {
                "interval": settings.heartbeat_interval,
                "timeout": settings.heartbeat_timeout,
            },
        }

    async def _send_members(self, room: str) -> None:
        """Say who is in the room, on all workers; asked once a moment, however many come at once."""
        try:
            members, total = await presence.members_of(self.hub, room)
        except LayerUnavailable:
            return  # the next connection asks again; presence tells of those who come
        data = {"event": "members", "members": members, "truncated": total > len(members)}
        await self.connection.send(Frame(envelope.encode("system", data, room=room)[1]))


class GlobalChatConsumer(ChatConsumer):
    """``/api/chat-api/ws``: no room, or the one that the query names."""

    async def authorize(self) -> None:
        room = self.handshake.query.get("room")
        if room is not None:
            rooms.check_name(room, live.policy().room_pattern)
            self.room = room
        await super().authorize()


class RoomChatConsumer(ChatConsumer):
    """``/api/chat-api/ws/{room}``: the path names the room, whatever the query says."""

    async def authorize(self) -> None:
        room = self.url["room"]
        rooms.check_name(room, live.policy().room_pattern)
        self.room = room
        await super().authorize()


def display_name(text: str | None) -> str | None:
    """A visitor's name from the query, trimmed. Raises BadRequest."""
    if text is None:
        return None
    name = text.strip()
    if not name:
        return None
    if len(name) > MAX_NAME or any(unicodedata.category(char)[0] == "C" for char in name):
        raise BadRequest(f"A name has 1 to {MAX_NAME} characters, and no control characters.")
    return name
