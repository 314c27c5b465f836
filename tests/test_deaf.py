"""A worker that hears nothing through Redis notices, says so, and comes back."""

import json
from collections.abc import Iterator

import pytest

from chat.realtime.testing.proxy import RedisProxy, _Messages
from tests.kit import ChatServer, RedisServer, eventually
from tests.scraping import scrape, value

READY = "/api/chat-api/ready"


@pytest.fixture
def line(own_redis: RedisServer) -> Iterator[RedisProxy]:
    """The way to a Redis of this test's own."""
    with RedisProxy(own_redis.port) as proxy:
        yield proxy


def reason(server: ChatServer) -> str | None:
    """Why it is not ready; None while it is."""
    status, _, body = server.get(READY)
    return None if status == 200 else json.loads(body)["error"]["message"]


async def test_a_deaf_worker_subscribes_anew(start_server, line, connect, room):
    """Redis answers but brings no message: the worker notices, counts it, and hears again after a few
    seconds, without a restart."""
    server = start_server(line.url)
    one, other = await connect(server.ws(room)), await connect(server.ws(room))
    await one.send_chat("before")
    await other.expect(type="chat", data={"content": "before"})
    await eventually(lambda: reason(server) is None, "ready")
    line.deafen()
    await one.send_chat("into the void", id="lost")
    await eventually(lambda: value(scrape(server), "realtime_deaf_total"), "deaf", 8)
    await eventually(lambda: reason(server) is None, "ready again", 8)
    await one.send_chat("after")
    await other.expect(type="chat", data={"content": "after"})
    assert "worker_deaf" in server.output()
    assert "worker_hears" in server.output()


async def test_a_worker_that_stays_deaf_goes_on_trying(start_server, line):
    """While no new connection hears either, the worker is unready with the reason and tries again; then it
    comes back."""
    server = start_server(line.url)
    await eventually(lambda: reason(server) is None, "ready")
    line.deafen(for_ever=True)
    words = "Not ready: deaf: it does not hear through redis what it says itself."
    await eventually(lambda: reason(server) == words, "unready", 8)
    await eventually(lambda: value(scrape(server), "realtime_deaf_total") >= 2, "a second attempt", 15)
    assert reason(server) == words
    assert value(scrape(server), "realtime_workers", state="deaf") == 1
    line.hear()
    await eventually(lambda: reason(server) is None, "ready again", 8)
    assert value(scrape(server), "realtime_workers", state="serving") == 1


async def test_a_killed_subscription_is_back_at_once(start_server, own_redis, connect, room):
    """Redis ends the subscribed connection alone: the worker subscribes again within moments and hears on."""
    server = start_server(own_redis.url)
    one = await connect(server.ws(room))
    await one.send_chat("before")
    await one.expect(type="chat")
    with own_redis.client() as redis:
        assert redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1

    await eventually(lambda: value(scrape(server), "realtime_redis_reconnects_total") >= 1, "a reconnect")
    await eventually(lambda: reason(server) is None, "ready")
    await one.send_chat("after", id="n1")
    await one.expect(type="chat", data={"content": "after"})
    assert value(scrape(server), "realtime_deaf_total") == 0


async def test_a_frozen_redis_is_no_deafness(start_server, own_redis):
    """What Redis has not taken can't be heard: then Redis is the reason, not the worker's ears."""
    server = start_server(own_redis.url)
    await eventually(lambda: reason(server) is None, "ready")
    own_redis.freeze()
    assert await eventually(lambda: reason(server), "unready", 10) == "Not ready: redis can't be reached."
    own_redis.thaw()
    await eventually(lambda: reason(server) is None, "ready again", 10)
    assert value(scrape(server), "realtime_deaf_total") == 0


def test_only_messages_are_swallowed():
    """Whatever the pieces in which Redis' answers come, exactly the pub/sub messages are missing."""
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n\r\n\r\n"
    others = [
        b"+PONG\r\n",
        b"$-1\r\n",
        b":7\r\n",
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        b"-ERR no\r\n",
        b"*0\r\n",
    ]
    stream = b"".join(message + other for other in others)
    for size in range(1, len(stream)):
        through = _Messages(swallowing=True)
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert b"".join(map(through, pieces)) == b"".join(others)
