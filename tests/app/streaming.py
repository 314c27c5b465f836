"""A consumer whose handlers yield."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from chat.realtime import Disconnect, EnvelopeError, Incoming, RealtimeConsumer, on


class Streaming(RealtimeConsumer):
    auth = "none"
    max_streams = 3

    async def connected(self) -> None:
        self.produced = 0
        self.closed: list[str] = []
        self.gate = asyncio.Event()
        await self.channel_layer.group_add(f"test.{self.url['topic']}", self.channel_name)
        await self.channel_layer.group_add(f"test.left.{self.url['topic']}", self.channel_name)
        await self.reply("ready", {"id": self.connection.id})

    @on("count", schema=int)
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @on("endless")
    async def endless(self, message: Incoming) -> AsyncIterator[str]:
        """As fast as it may; tells the topic when it is closed."""
        try:
            while True:
                self.produced += 1
                yield "x" * int(message.data)
        finally:
            self.closed.append("endless")
            await self.tell_closed("endless")

    @on("waiting")
    async def waiting(self, message: Incoming) -> AsyncIterator[str]:
        """One chunk, then nothing until it is closed."""
        try:
            yield "first"
            await self.gate.wait()
            yield "last"
        finally:
            await self.tell_closed("waiting")

    async def tell_closed(self, name: str) -> None:
        topic = f"test.left.{self.url['topic']}"
        await self.channel_layer.group_send(topic, {"type": "my.event", "text": f"{name} closed"})

    @on("stubborn")
    async def stubborn(self, message: Incoming) -> AsyncIterator[str]:
        """Catches its cancellation and goes on."""
        yield "first"
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            pass
        yield "no more"

    @on("failing")
    async def failing(self, message: Incoming) -> AsyncIterator[Any]:
        yield 0
        match message.data:
            case "bug":
                raise RuntimeError("a stream's bug: secret")
            case "error":
                raise EnvelopeError("Sold out.", code="sold_out", retry_after=9, details={"sku": ["gone"]})
            case "unsendable":
                yield object()
            case "disconnect":
                raise Disconnect(4500, "enough")
            case "cancelled":
                raise asyncio.CancelledError

    @on("rows")
    async def rows(self, message: Incoming) -> Any:
        """Rows of the database: a query set is an asynchronous iterator."""
        from chat.models import Room

        return Room.objects.filter(name__startswith=message.data).order_by("name").values("name", "closed")

    @on("open")
    async def open(self, message: Incoming) -> None:
        self.gate.set()

    @on("state")
    async def state(self, message: Incoming) -> Any:
        return {"produced": self.produced, "closed": self.closed}

    async def my_event(self, event: dict[str, Any]) -> None:
        await self.reply("told", event["text"])

    async def produced_wanted(self, event: dict[str, Any]) -> None:
        topic = f"test.left.{self.url['topic']}"
        await self.channel_layer.group_send(topic, {"type": "my.event", "text": str(self.produced)})

    async def disconnect(self, code: int) -> None:
        await self.tell_closed(f"connection {code}")
