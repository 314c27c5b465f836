"""Middleware on a real server: around the handshake, messages, what leaves, and the end."""

import asyncio

import pytest
from django.core.exceptions import ImproperlyConfigured

from chat.realtime import RealtimeConsumer
from chat.realtime.middleware import Chain, chain_of, project_middleware
from tests.app import extending
from tests.kit import QuietSocket, RawSocket
from tests.test_consumer_server import habits, url_of


async def guarded(server, connect, room, query=""):
    return await connect(url_of(server, f"guarded/{room}{query}"), welcomed=False)


async def test_connect_middleware_refuses_with_its_status_and_code(app_server, room):
    """Before the upgrade, and told alike to the plain GET that asks; any RealtimeError has its status."""
    for door, status, code, retry in (
        ("refuse", 409, "shut", "7"),
        ("limit", 429, "too_many", "3"),
        ("swallow", 403, "forbidden", None),
    ):
        raw = await RawSocket.open(app_server.port)
        response = await raw.handshake(f"/test/guarded/{room}?door={door}")
        await raw.close()
        assert (response.status, response.code) == (status, code)
        assert response.headers.get("retry-after") == retry
        assert app_server.get(f"/test/guarded/{room}?door={door}")[0] == status
    assert app_server.get(f"/test/guarded/{room}")[0] == 426


async def test_connect_middleware_is_around_the_opening(app_server, connect, room):
    """What it keeps in the consumer's storage before and after ``next`` is there for the messages."""
    client = await guarded(app_server, connect, room)
    await client.send({"type": "seen", "id": 1})
    await client.expect(type="reply", id=1, data=["connect", "connected"])
    other = await guarded(app_server, connect, room)
    await other.send({"type": "seen", "id": 1})
    await other.expect(type="reply", id=1, data=["connect", "connected"])


async def test_receive_middleware_changes_messages_and_replies_in_its_order(app_server, connect, room):
    """The first is the outermost; plain and async methods mix; a handler's value comes back through them."""
    client = await guarded(app_server, connect, room)
    await client.send({"type": "echo", "id": "e", "data": ["me"]})
    both = ["me", "scribe", "doubler"]
    await client.expect(type="reply", id="e", data=[both, both])


async def test_receive_middleware_answers_refuses_and_ends(app_server, connect, room):
    """Without calling ``next``: a reply, an error, a close with a code; its bug is ``internal``."""
    client = await guarded(app_server, connect, room)
    await client.send({"type": "answered", "id": "a"})
    await client.expect(type="reply", id="a", data={"by": "the doorkeeper"})
    await client.send({"type": "limited", "id": "l"})
    await client.expect(type="error", data={"code": "too_many", "ref": "l", "retry_after": 3})
    await client.send({"type": "broken", "id": "b"})
    error = await client.expect(type="error", data={"code": "internal", "ref": "b"})
    assert "secret" not in error["data"]["message"]
    await client.send({"type": "nobody's", "id": "n"})
    await client.expect(type="error", data={"code": "unknown_type", "ref": "n"})
    await client.send({"type": "ended"})
    assert await client.closed() == (4510, "enough")


async def test_disconnect_middleware_is_around_the_end(app_server, connect, room):
    """It sees the close code, and what it passes on is what ``disconnect`` gets."""
    [witness] = await habits(app_server, connect, room, 1)
    await witness.send({"add": f"test.left.{room}"})
    await witness.expect(added=f"test.left.{room}")
    client = await guarded(app_server, connect, room)
    await client.close(1000)
    await witness.expect(event="left with 4000")


async def test_send_middleware_sees_all_that_leaves_in_order(app_server, connect, room):
    """Replies, pushes, errors and broadcasts pass it: changed, doubled, held back, waited for; order holds.
    Members of the same room whose consumer has none get the broadcasts as they are."""
    client = await connect(url_of(app_server, f"censored/{room}"), welcomed=False)
    ready = await client.expect(type="ready")
    mine = ready["data"]["id"]
    assert ready["seen"] == mine
    plain = await connect(url_of(app_server, f"uncensored/{room}"), welcomed=False)
    await plain.expect(type="ready")
    words = ["slow", "secret", 1, "twice", "bug", "slow", 2]
    await client.send({"type": "tell", "data": words})
    told = await client.take(6, type="told")
    assert [frame["data"] for frame in told] == ["slow", 1, "twice", "twice", "slow", 2]
    assert [frame.get("seen") for frame in told] == [mine, mine, None, mine, mine, mine]
    heard = await plain.take(7, type="told")
    assert [frame["data"] for frame in heard] == words
    assert all("seen" not in frame for frame in heard)
    await client.send({"type": "say", "id": "s", "data": "secret"})
    await client.send({"type": "say", "id": "t", "data": "aloud"})
    await client.expect(type="reply", id="t", seen=mine)
    assert [frame for frame in client.received if frame.get("id") == "s"] == []
    await client.send("no JSON")
    await client.expect(type="error", seen=mine, data={"code": "invalid_json"})


async def test_a_close_comes_after_what_send_middleware_still_has(app_server, connect, room):
    """Frames that wait for the chain leave before the close frame."""
    client = await connect(url_of(app_server, f"censored/{room}"), welcomed=False)
    await client.send({"type": "bye"})
    await client.expect(type="last", data="slow")
    await client.expect(type="last", data="word")
    assert (await client.closed())[0] == 4001


async def test_slow_send_middleware_makes_only_its_own_handler_wait(app_server, connect, room):
    """More replies than the buffer holds: the handler waits for the chain, none is lost, order holds."""
    client = await connect(url_of(app_server, f"censored/{room}"), welcomed=False)
    await client.expect(type="ready")
    await client.send({"type": "flood", "data": 600})
    frames = await client.take(600, type="drop")
    assert [frame["data"] for frame in frames] == ["slow", *range(1, 600)]


async def test_a_client_that_does_not_read_is_closed_behind_send_middleware_too(app_server, connect, room):
    """Its buffer is bounded as everybody's: more than that and it is closed, or cut; others miss nothing."""
    quiet = await QuietSocket.upgraded(app_server.port, f"/test/censored/{room}")
    plain = await connect(url_of(app_server, f"uncensored/{room}"), welcomed=False)
    await plain.expect(type="ready")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                app_server.adjango(
                    "from chat.realtime import broadcast_room\n"
                    "for number in range(400):\n    broadcast_room(room, 'told', 'x' * 60_000)",
                    room=f"censored/{room}",
                )
            )
            await plain.take(400, limit=20, type="told")
        frames, code = await quiet.frames_until_close(limit=20)
    finally:
        quiet.close()
    assert code in (4413, 1006)
    assert len(frames) < 400


class Named:
    def __init__(self) -> None:
        self.connects = 0

    async def connect(self, consumer, next):
        self.connects += 1
        await next()


class Bare(RealtimeConsumer):
    pass


class Own(RealtimeConsumer):
    middleware = [extending.Scribe]


def test_the_projects_middleware_is_around_every_consumers(settings):
    """``REALTIME["MIDDLEWARE"]`` names it; one object serves all classes; each class is composed once."""
    settings.REALTIME = {"MIDDLEWARE": ["tests.test_middleware.Named"]}
    for consumer in (Bare, Own):
        consumer.__dict__.get("_composed") and delattr(consumer, "_composed")
    bare, own = chain_of(Bare), chain_of(Own)
    assert [type(one) for one in bare.middleware] == [Named]
    assert [type(one) for one in own.middleware] == [Named, extending.Scribe]
    assert bare.middleware[0] is own.middleware[0]
    assert chain_of(Own) is own
    assert bare.receive is bare.send is bare.disconnect is None
    del Bare._composed, Own._composed


@pytest.mark.parametrize("wrong", ["no.such.Middleware", "tests.test_middleware.nothing", object()])
def test_what_is_no_middleware_is_a_configuration_error(settings, wrong):
    """A name that does not exist, or a thing with none of the methods."""
    settings.REALTIME = {"MIDDLEWARE": [wrong]}
    with pytest.raises(ImproperlyConfigured):
        Chain(project_middleware())
