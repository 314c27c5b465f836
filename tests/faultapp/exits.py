"""A consumer that calls ``sys.exit()``, as a command line does, wherever an application's code runs."""

import sys
from collections.abc import AsyncIterator
from typing import Any

from channels.db import database_sync_to_async

from chat.realtime import Incoming, RealtimeConsumer, on


class Exiting:
    """Middleware that exits at messages and at frames which ask for it."""

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        if message.type == "in_middleware":
            sys.exit(2)
        return await next(message)

    async def send(self, consumer: Any, frame: Any, next: Any) -> None:
        if b"unsendable" in frame.payload:
            sys.exit(2)
        await next(frame)


class Exits(RealtimeConsumer):
    """``?in=connect`` (or ``authorize``, ``connected``, ``disconnect``): that method exits."""

    auth = "none"
    middleware = (Exiting(),)

    async def authorize(self) -> None:
        self.exit_in("authorize")

    async def connect(self) -> None:
        self.exit_in("connect")
        await self.accept()

    async def connected(self) -> None:
        self.exit_in("connected")
        await self.reply("system", {"event": "welcome", "client_id": self.connection.id})

    async def disconnect(self, code: int) -> None:
        self.exit_in("disconnect")

    def exit_in(self, place: str) -> None:
        if self.handshake.query.get("in") == place:
            sys.exit(2)

    @on("in_handler")
    async def in_handler(self, message: Incoming) -> None:
        sys.exit("usage: a text for a terminal")

    @on("in_thread")
    async def in_thread(self, message: Incoming) -> None:
        await database_sync_to_async(sys.exit)(2)

    @on("in_middleware")
    async def in_middleware(self, message: Incoming) -> None:
        """Never reached."""

    @on("in_stream")
    async def in_stream(self, message: Incoming) -> AsyncIterator[int]:
        yield 1
        sys.exit(2)

    @on("in_event")
    async def in_event(self, message: Incoming) -> None:
        """Sends itself an event whose method exits."""
        await self.channel_layer.send(self.channel_name, {"type": "leave.now"})

    async def leave_now(self, event: dict[str, Any]) -> None:
        sys.exit(2)

    @on("in_sending")
    async def in_sending(self, message: Incoming) -> str:
        return "unsendable"

    @on("echo")
    async def echo(self, message: Incoming) -> None:
        await self.reply("echo", message.data, id=message.id)


class ExitsAtOnce(Exits):
    """The same with handlers that run beside each other."""

    concurrency = 2
