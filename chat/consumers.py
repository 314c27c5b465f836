"""The chat's endpoints: everybody, one room, and the resources. docs/protocol.md is their contract."""

from __future__ import annotations

import unicodedata
from typing import Any

from msgspec import UNSET

from chat import actions, live, passwords
from chat.membership import RoomMember, client_ref, rights
from chat.realtime import (
    BadRequest,
    EnvelopeError,
    Incoming,
    SignInConsumer,
    config,
    envelope,
    heartbeat,
    hooks,
    on,
)
from chat.realtime.consumer import ref_of
from chat.realtime.frames import Frame
from chat.realtime.runtime import get_hub
from chat.resources.consumer import ResourceConsumer

MAX_NAME = 64  # characters of a visitor's display name


class ChatConsumer(RoomMember, SignInConsumer):
    """What both endpoints share. ``room`` is None for the global one."""

    subprotocols = ["chat.v1"]  # for browsers, which offer a token beside a real one
    application_pings = True
    _asked = 0  # the state of the rights on which it was let in

    # --- the handshake ----------------------------------------------------------------------------

    async def admit(self) -> None:
        await live.ready(get_hub())
        await super().admit()

    def requires_user(self) -> bool:
        return live.auth_required()

    async def authorize(self) -> None:
        if "password" in self.handshake.query:
            raise BadRequest(
                "A password has no place in an address, which is logged and kept: send it in the header "
                "X-Room-Password, or in a join message."
            )
        self.name = display_name(self.handshake.query.get("name"))
        if self.room is not None:
            self._asked = rights()
            await self.may_enter(self.room, passwords.given(self.scope.get("headers") or []))

    def initial_groups(self) -> list[str]:
        return [*super().initial_groups(), actions.GLOBAL_GROUP]

    async def connect(self) -> None:
        if self.name is not None:
            self.connection.metadata = {"name": self.name}
        if self.room is not None:
            while self._asked != rights():  # changed before this connection was there to be looked at
                self._asked = rights()
                await self.may_stay(self.room)
        await self.accept()

    def opened(self) -> None:
        self.connection.push(Frame(envelope.encode("system", self._welcome(), room=self.room)[1]))

    async def connected(self) -> None:
        if self.room is None:
            return
        self.greet(self.room, self.members)
        if self.handshake.query.get("members") in ("1", "true"):
            await self.send_members(self.room)

    def draining(self) -> None:
        self.connection.push(Frame(envelope.encode("system", {"event": "draining"}, room=self.room)[1]))

    # --- messages ---------------------------------------------------------------------------------

    def check_message(self, message: Incoming) -> None:
        if message.room is not None and message.type not in ("join", "leave"):
            self.must_be_in(message.room)

    @on("chat")
    async def chat(self, message: Incoming) -> None:
        """Something to say, to the room or to everybody."""
        data = message.data
        content = data.get("content") if type(data) is dict else None
        if type(content) is not str or not content:
            raise EnvelopeError("A chat message needs data.content, a text that is not empty.")
        ref = client_ref(message)
        room = message.room
        if room is None and self.room is not None:
            room = self.room
            self.must_be_in(room)  # it may have left its endpoint's room
        if hooks.publishing:
            await actions.say_through_hooks(self.connection, room, data, ref)
        else:
            actions.say(self.connection, room, data, ref)
        await self.hub.layer.relief()

    @on("ping")
    async def ping(self, message: Incoming) -> None:
        """The client measures its way: the same id and data come back."""
        data = {} if message.data is UNSET else message.data
        await self.reply("pong", data, id=ref_of(message))

    @on("pong")
    async def pong(self, message: Incoming) -> None:
        """An answer to a server's ping: it tells how far away the client is."""
        heartbeat.answered(self.connection, message.id)

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
                "rooms": settings.max_rooms,
                "message_rate": settings.message_rate,
                "message_burst": settings.message_burst,
            },
            "heartbeat": {
                "interval": settings.heartbeat_interval,
                "timeout": settings.heartbeat_timeout,
            },
        }


class GlobalChatConsumer(ChatConsumer):
    """``/api/chat-api/ws``: no room, or the one that the query names."""

    async def authorize(self) -> None:
        self.room = self.handshake.query.get("room")
        await super().authorize()


class RoomChatConsumer(ChatConsumer):
    """``/api/chat-api/ws/{room}``: the path names the room, whatever the query says."""

    async def authorize(self) -> None:
        self.room = self.url["room"]
        await super().authorize()


class ChatResourceConsumer(ResourceConsumer):
    """``/api/resources/ws``, by the chat's settings."""

    async def admit(self) -> None:
        await live.ready(get_hub())
        await super().admit()

    def requires_user(self) -> bool:
        return live.auth_required()


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
