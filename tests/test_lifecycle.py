"""The order of a connection's life: what comes before what, and what is not heard any more."""

import asyncio

import pytest
from channels.testing import WebsocketCommunicator

from chat.realtime import CloseCode, RealtimeConsumer, envelope, on
from chat.realtime.connection import State


class Orders(RealtimeConsumer):
    """Notes what happens to it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.notes: list[str] = []
        self.may_go = asyncio.Event()
        made.append(self)

    async def connect(self):
        await self.accept()
        await self.may_go.wait()
        self.notes.append("connected")

    @on("note")
    async def note(self, message):
        self.notes.append("note")

    async def my_event(self, event):
        event.pop("type")  # what many Channels handlers do
        self.notes.append(event["text"])
        await self.send_json(event)

    async def disconnect(self, code):
        self.notes.append("disconnect")


made: list[Orders] = []


@pytest.fixture(autouse=True)
def nobody_made():
    made.clear()


@pytest.fixture
async def orders(layer):
    """Two connected consumers of the same group, still in ``connect``."""
    communicators = [WebsocketCommunicator(Orders.as_asgi(), "/") for _ in range(2)]
    for communicator in communicators:
        accepted, _ = await communicator.connect()
        assert accepted
    for consumer in made:
        await consumer.channel_layer.group_add("orders", consumer.channel_name)
    yield communicators
    for consumer in made:
        consumer.may_go.set()
    for communicator in communicators:
        await communicator.disconnect()


async def test_an_event_waits_until_connect_has_returned(orders):
    """Events that come while `connect` still works are handled after it, in order."""
    await made[0].channel_layer.group_send("orders", {"type": "my.event", "text": "one"})
    await made[0].channel_layer.group_send("orders", {"type": "my.event", "text": "two"})
    assert await orders[0].receive_nothing(timeout=0.05)
    made[0].may_go.set()
    await orders[0].receive_json_from()
    await orders[0].receive_json_from()
    assert made[0].notes == ["connected", "one", "two"]


async def test_each_member_gets_an_event_of_its_own(orders):
    """A handler that changes its event takes nothing from the other members."""
    for consumer in made:
        consumer.may_go.set()
    await made[0].channel_layer.group_send("orders", {"type": "my.event", "text": "one"})
    for communicator in orders:
        assert await communicator.receive_json_from() == {"text": "one"}


async def test_a_closed_client_is_not_heard_any_more(orders):
    """What a client says after we have closed its connection reaches no handler."""
    made[0].may_go.set()
    await orders[0].send_json_to({"type": "note"})
    made[0].connection.close(CloseCode.CREDENTIALS_ENDED)
    await orders[0].send_json_to({"type": "note"})
    closing = await orders[0].receive_output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 4501)
    await orders[0].disconnect(4501)
    assert made[0].notes.count("note") <= 1
    assert made[0].connection.state is State.CLOSED


async def test_access_withdrawn_during_the_handshake_is_not_forgotten(layer):
    """A connection that is closed before its accept is refused."""

    class Late(RealtimeConsumer):
        async def connect(self):
            self.connection.close(CloseCode.ACCESS_WITHDRAWN)
            await self.accept()

    accepted, _ = await WebsocketCommunicator(Late.as_asgi(), "/").connect()
    assert not accepted


async def test_sending_before_the_accept_is_a_bug_that_is_told(layer):
    """`send_json` before `accept` raises instead of losing the message."""

    class Early(RealtimeConsumer):
        async def connect(self):
            with pytest.raises(RuntimeError, match="Accept the connection"):
                await self.send_json({"too": "early"})
            await self.accept()

    communicator = WebsocketCommunicator(Early.as_asgi(), "/")
    accepted, _ = await communicator.connect()
    assert accepted
    await communicator.disconnect()


async def test_receive_json_may_call_the_handlers(layer):
    """A consumer that overrides `receive_json` and calls `super()` keeps its `@on` handlers."""

    class Both(RealtimeConsumer):
        async def receive_json(self, content, **kwargs):
            await super().receive_json({**content, "type": "echo"})

        @on("echo")
        async def echo(self, message):
            await self.reply("echo", message.data)

    communicator = WebsocketCommunicator(Both.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_json_to({"data": {"x": 1}})
    answer = await communicator.receive_json_from()
    assert (answer["type"], answer["data"]) == ("echo", {"x": 1})
    await communicator.disconnect()


@pytest.mark.parametrize(
    ("content", "code"),
    [([], "invalid_message"), ({}, "invalid_message"), ({"type": "x", "data": 2**64}, "invalid_json")],
)
def test_checked_content_is_refused_like_a_frame(content, code):
    """`envelope.check` refuses what `decode` would."""
    with pytest.raises(envelope.EnvelopeError) as refused:
        envelope.check(content)
    assert refused.value.code == code
