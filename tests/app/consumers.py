"""Consumers as developers write them: what Channels' documents teach, on our base class and on theirs."""

import asyncio
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)

from chat.realtime import (
    Incoming,
    RealtimeConsumer,
    RealtimeError,
    Unauthenticated,
    abroadcast_room,
    broadcast_room,
    on,
)


class Habits(RealtimeConsumer):
    """A consumer from Channels' tutorial, with our base class in the place of theirs."""

    groups: ClassVar[list[str]] = ["test.everybody"]

    async def connect(self) -> None:
        self.topic = self.scope["url_route"]["kwargs"]["topic"]
        match self.handshake.query.get("how"):
            case "deny":
                raise DenyConnection
            case "close":
                await self.close()
            case "accept":
                raise AcceptConnection
            case "protocol":
                await self.accept("chosen", headers=[(b"x-habit", b"kept")])
            case "goodbye":
                await self.accept()
                await self.send_json({"said": "goodbye"})
                await self.close(4001)
                return
            case _:
                await self.accept()
        await self.channel_layer.group_add(f"test.{self.topic}", self.channel_name)
        await self.send_json({"hello": self.topic, "user": self.scope["user"].get_username()})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"echo": value}:
                await self.send_json({"echo": value})
            case {"add": group}:
                await self.channel_layer.group_add(group, self.channel_name)
                await self.send_json({"added": group})
            case {"discard": group}:
                await self.channel_layer.group_discard(group, self.channel_name)
                await self.send_json({"discarded": group})
            case {"group_send": group, "event": event}:
                await self.channel_layer.group_send(group, event)
            case {"send": channel, "event": event}:
                await self.channel_layer.send(channel or self.channel_name, event)
            case {"channel": _}:
                await self.send_json({"type": "channel", "name": self.channel_name})
            case {"close": code}:
                await self.send_json({"last": "word"})
                await self.close(code)
            case {"binary": size}:
                await self.send(bytes_data=bytes(size))
            case {"unsendable": _}:
                await self.send_json({"no": object()})
            case {"stop": _}:
                raise StopConsumer
            case {"slow": seconds}:
                await asyncio.sleep(seconds)
                await self.send_json({"slow": "done"})
            case _:
                raise KeyError(f"secret of the server: {content}")

    async def my_event(self, event: dict[str, Any]) -> None:
        await self.send_json({"event": event["text"]})

    async def slow_event(self, event: dict[str, Any]) -> None:
        await self.send_json({"slow event": "begins"})
        await asyncio.sleep(0.05)
        await self.send_json({"slow event": "ends"})

    async def failing_event(self, event: dict[str, Any]) -> None:
        raise RuntimeError("an event handler's bug")

    async def closing_event(self, event: dict[str, Any]) -> None:
        await self.close(4002, "as an event asked")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_send(
            f"test.left.{self.topic}", {"type": "my.event", "text": f"left with {code}"}
        )


class OutOfStock(RealtimeError):
    code = "out_of_stock"
    message = "There is none left."


class Counter(RealtimeConsumer):
    """A consumer our way: checked envelopes to the handlers of their types."""

    auth = "none"

    async def connected(self) -> None:
        self.count = 0
        await self.join(f"counter/{self.url['topic']}")
        await self.reply("ready", {"id": self.connection.id})

    @on("add")
    async def add(self, message: Incoming) -> None:
        await asyncio.sleep(0)
        self.count += message.data
        await self.reply("sum", self.count, id=message.id)

    @on("tell")
    async def tell(self, message: Incoming) -> None:
        receipt = await abroadcast_room(f"counter/{self.url['topic']}", "told", message.data)
        await self.reply("receipt", {"id": receipt.id, "workers": receipt.workers})

    @on("tell-sync")
    async def tell_from_async_code(self, message: Incoming) -> None:
        broadcast_room("anywhere", "told", message.data)

    @on("leave")
    async def stop_listening(self, message: Incoming) -> None:
        await self.leave(f"counter/{self.url['topic']}")
        await self.reply("left", None)

    @on("buy")
    async def buy(self, message: Incoming) -> None:
        raise OutOfStock(retry_after=60)

    @on("fail")
    async def fail(self, message: Incoming) -> None:
        raise RuntimeError("a handler's bug: secret")


class MembersOnly(RealtimeConsumer):
    """Only signed-in users, and of those not all."""

    auth = "required"

    async def authorize(self) -> None:
        if self.user.get_username().startswith("stranger"):
            raise Unauthenticated("Not you.", code="unauthenticated")


class Stock(AsyncWebsocketConsumer):
    """Channels' own base class, nothing of ours but the layer."""

    groups: ClassVar[list[str]] = ["test.stock"]

    async def connect(self) -> None:
        await self.accept()
        await self.channel_layer.group_add(
            f"test.{self.scope['url_route']['kwargs']['topic']}", self.channel_name
        )
        await self.send(text_data="hello")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if bytes_data is not None:
            await self.send(bytes_data=bytes_data)
        elif text_data == "bye":
            await self.close(4003)
        else:
            topic = self.scope["url_route"]["kwargs"]["topic"]
            await self.channel_layer.group_send(f"test.{topic}", {"type": "my.event", "text": text_data})

    async def my_event(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class StockJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"echo": content})


class StockSync(WebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        async_to_sync(self.channel_layer.group_add)("test.sync", self.channel_name)
        self.send(text_data="hello")

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        event = {"type": "my.event", "text": text_data}
        async_to_sync(self.channel_layer.group_send)("test.sync", event)

    def my_event(self, event: dict[str, Any]) -> None:
        self.send(text_data=event["text"])
