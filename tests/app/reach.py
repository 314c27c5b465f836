"""A consumer whose connections say something of themselves, and a predicate that asks them."""

import asyncio
from typing import Any

from chat.realtime import Incoming, RealtimeConsumer, on, predicate
from chat.realtime.connection import Connection


@predicate("test.heavier")
def heavier(connection: Connection, limit: int) -> bool:
    """Fails for a connection without a weight: a bug, as applications have them."""
    return connection.metadata["weight"] > limit


class Described(RealtimeConsumer):
    """`/test/described/<room>?plan=pro&weight=5`: the query becomes the connection's metadata."""

    async def connected(self) -> None:
        query = self.handshake.query
        self.connection.metadata = {
            key: int(value) if value.isdecimal() else value for key, value in query.items()
        }
        await self.join(self.url["room"])
        await self.reply("ready", {"client_id": self.connection.id})

    @on("ping")
    async def ping(self, message: Incoming) -> None:
        await self.reply("pong", None, id=message.id)

    @on("describe")
    async def describe(self, message: Incoming) -> None:
        data: Any = message.data
        self.connection.metadata = data
        await self.reply("described", self.connection.describe())

    @on("hang")
    async def hang(self, message: Incoming) -> None:
        """A handler that ends only by its time limit."""
        await self.reply("hanging", None)
        await asyncio.Event().wait()
