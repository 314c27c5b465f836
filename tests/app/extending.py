"""Consumers that use what the layer offers to extend it: middleware, typed messages, concurrency."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from rest_framework import serializers

from chat.realtime import (
    AuthenticationRequired,
    CloseCode,
    Disconnect,
    Incoming,
    MessageLogging,
    MessageMetrics,
    RealtimeConsumer,
    RealtimeError,
    Refused,
    SchemaValidation,
    Timing,
    in_database,
    on,
)
from chat.realtime.connection import State
from chat.realtime.frames import Frame


class TooMany(RealtimeError):
    code = "too_many"
    message = "Not so many at once."
    status = 429
    come_back = True


class Doorkeeper:
    """All four points, ``async def``."""

    async def connect(self, consumer: Any, next: Any) -> None:
        match consumer.handshake.query.get("door"):
            case "refuse":
                raise Refused("The door is shut.", code="shut", status=409, retry_after=7)
            case "limit":
                raise TooMany(retry_after=3)
            case "swallow":
                return
        consumer.storage[self] = ["connect"]
        await next()
        consumer.storage[self].append("connected")

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        match message.type:
            case "answered":
                return {"by": "the doorkeeper"}
            case "limited":
                raise TooMany(retry_after=3)
            case "ended":
                raise Disconnect(CloseCode.CLOSED_BY_ADMINISTRATOR, "enough")
            case "broken":
                raise RuntimeError("a middleware's bug: secret")
            case "seen":
                return consumer.storage[self]
        return await next(message)

    async def disconnect(self, consumer: Any, code: int, next: Any) -> None:
        await next(code + 3000)


class Scribe:
    """Around the message, plain methods."""

    def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        if isinstance(message.data, list):
            message.data = [*message.data, "scribe"]
        return next(message)


class Doubler:
    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        if isinstance(message.data, list):
            message.data = [*message.data, "doubler"]
        result = await next(message)
        return [result, result] if isinstance(result, list) else result


class Guarded(RealtimeConsumer):
    """Middleware around everything."""

    auth = "none"
    middleware = [Doorkeeper(), Scribe, Doubler()]

    async def connected(self) -> None:
        await self.join(f"guarded/{self.url['topic']}")

    @on("echo")
    async def echo(self, message: Incoming) -> Any:
        return message.data

    async def disconnect(self, code: int) -> None:
        topic = f"test.left.{self.url['topic']}"
        await self.channel_layer.group_send(topic, {"type": "my.event", "text": f"left with {code}"})


class Censor:
    """What leaves: changed, held back, doubled, slowly."""

    async def send(self, consumer: Any, frame: Frame, next: Any) -> None:
        content = frame.content
        match content["data"]:
            case "secret":
                return
            case "twice":
                await next(frame)
            case "bug":
                raise RuntimeError("a send middleware's bug")
            case "slow":
                await asyncio.sleep(0.05)
            case "never":
                await asyncio.Event().wait()
        content["seen"] = consumer.connection.id
        await next(Frame.of(content))


class Censored(RealtimeConsumer):
    auth = "none"
    middleware = [Censor()]

    async def connected(self) -> None:
        await self.join(f"censored/{self.url['topic']}")
        await self.reply("ready", {"id": self.connection.id})

    @on("tell")
    async def tell(self, message: Incoming) -> None:
        for word in message.data:
            await self.broadcast(f"censored/{self.url['topic']}", "told", word)

    @on("say")
    async def say(self, message: Incoming) -> Any:
        return message.data

    @on("count")
    async def count(self, message: Incoming) -> AsyncIterator[int]:
        for number in range(message.data):
            yield number

    @on("flood")
    async def flood(self, message: Incoming) -> None:
        for number in range(message.data):
            await self.reply("drop", "slow" if number == 0 else number)

    @on("bye")
    async def bye(self, message: Incoming) -> None:
        await self.reply("last", "slow")
        await self.reply("last", "word")
        await self.close(4001)


class Uncensored(Censored):
    """The same rooms without the middleware: the fast way."""

    middleware = []


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=99)] = 1


class OrderIn(msgspec.Struct):
    address: str
    lines: Annotated[list[Line], msgspec.Meta(min_length=1)]
    express: bool = False


class NoteIn(serializers.Serializer):
    text = serializers.CharField(max_length=20)
    order = serializers.IntegerField()

    def validate_order(self, value: int) -> int:
        from chat.models import Room

        if Room.objects.filter(name=f"order-{value}").exists():
            raise serializers.ValidationError("There is one already.")
        return value


class Typed(RealtimeConsumer):
    """Messages with types."""

    auth = "none"

    @on("order", schema=OrderIn)
    async def order(self, order: OrderIn) -> Any:
        return {"type": type(order).__name__, "items": sum([line.quantity for line in order.lines])}

    @on("note", schema=NoteIn)
    async def note(self, note: dict[str, Any], message: Incoming) -> Any:
        return {"note": dict(note), "of": message.id}

    @on("numbers", schema=list[int])
    async def numbers(self, numbers: list[int]) -> int:
        return sum(numbers)

    @on("unsendable")
    async def unsendable(self, message: Incoming) -> Any:
        return object()

    @on("plain")
    def plain(self, message: Incoming) -> Any:
        return "plain"

    @on.binary
    async def upside_down(self, data: bytes) -> Any:
        if data == b"json":
            return {"size": len(data)}
        return data[::-1]


_meeting = threading.Barrier(2)


@in_database
def wait_for_another() -> str:
    """Two of the database's threads meet here; one alone gives up after a while."""
    _meeting.wait(timeout=4)
    return threading.current_thread().name


class Parallel(RealtimeConsumer):
    """Up to three handlers at once."""

    auth = "none"
    concurrency = 3

    async def connected(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.running = self.most = 0
        await self.join(f"parallel/{self.url['topic']}")
        await self.channel_layer.group_add(f"test.{self.url['topic']}", self.channel_name)
        await self.reply("ready", {"id": self.connection.id})

    @on("wait")
    async def wait(self, message: Incoming) -> Any:
        """Says when it begins; ends when an event opens its gate."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.reply("began", message.data)
        try:
            await self.gate(message.data).wait()
            return {"done": message.data, "most": self.most}
        finally:
            self.running -= 1

    @on("outlast")
    async def outlast(self, message: Incoming) -> None:
        """Works on for a moment when its socket has gone."""
        self.running += 1
        await self.reply("began", message.data)
        while self.connection.state is State.OPEN:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        self.running -= 1

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    @on("meet")
    async def meet(self, message: Incoming) -> Any:
        return await wait_for_another()

    @on("fail")
    async def fail(self, message: Incoming) -> None:
        raise RuntimeError("a handler's bug: secret")

    async def gate_opened(self, event: dict[str, Any]) -> None:
        self.gate(event["gate"]).set()

    async def disconnect(self, code: int) -> None:
        topic = f"test.left.{self.url['topic']}"
        event = {"type": "my.event", "text": f"left, {self.running} running"}
        await self.channel_layer.group_send(topic, event)


class Serial(Parallel):
    """The same, one after another."""

    concurrency = 1


class HookedBase(RealtimeConsumer):
    """Hooks are registered for this class, and so for those derived from it (`tests/app/hooks.py`)."""

    auth = "none"


class Hooked(HookedBase):
    subprotocols = ["v2", "v1"]

    async def connected(self) -> None:
        await self.reply("ready", {"id": self.connection.id, "subprotocol": self.subprotocol})

    @on("echo")
    async def echo(self, message: Incoming) -> Any:
        return message.data


class Strict(RealtimeConsumer):
    auth = "none"
    subprotocols = ["strict.v1"]
    subprotocol_required = True


class Reports(RealtimeConsumer):
    """Hears what the hooks report."""

    auth = "none"

    async def connected(self) -> None:
        await self.join(f"reports/{self.url['topic']}")
        await self.reply("ready", None)


class Shipped(RealtimeConsumer):
    """The middleware that comes with the layer."""

    middleware = [
        MessageLogging(),
        MessageMetrics(),
        Timing(slow=0.05),
        AuthenticationRequired("secret"),
        SchemaValidation({"numbers": list[int]}),
    ]

    @on("numbers")
    async def numbers(self, message: Incoming) -> int:
        return sum(message.data)

    @on("secret")
    async def secret(self, message: Incoming) -> str:
        return "for users"

    @on("slow")
    async def slow(self, message: Incoming) -> None:
        await asyncio.sleep(0.06)

    @on("handled")
    async def handled(self, message: Incoming) -> Any:
        return dict(self.hub.counters.outcomes)


class MembersArea(RealtimeConsumer):
    middleware = [AuthenticationRequired]
