"""A room's limit holds on all workers, whatever happened to Redis or to a worker meanwhile.

The tests share a server and a Redis: each leaves both as it found them, working.
"""

import asyncio
import itertools
import signal
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from chat.realtime.groups import room_group
from chat.realtime.testing.workers import pids
from tests.kit import ChatServer, Client, RawSocket, RedisServer, eventually, on_each_worker

MARK = 255  # a send buffer that tells the settings of these tests from the defaults
STALE = 9.0  # seconds until the members of a dead worker are no longer counted


@pytest.fixture(scope="module")
def redis_to_break() -> Iterator[RedisServer]:
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


@pytest.fixture(scope="module")
def limited(redis_to_break: RedisServer) -> Iterator[ChatServer]:
    """Two workers; a room has two members at most."""
    server = ChatServer(redis_to_break.url, workers=2).start()
    try:
        server.change_settings(max_room_members=2, send_buffer=MARK)
        yield server
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture(autouse=True)
async def _in_force(limited):
    """The limit is in force on both workers, and both count: a worker does so from its first room on."""
    rooms = (f"counting-{number}" for number in itertools.count())

    async def look() -> bool:
        clients = await on_each_worker(limited, lambda: Client.connect(limited.ws(next(rooms))))
        for client in clients:
            await client.close()
        return all(client.welcome["data"]["limits"]["send_buffer"] == MARK for client in clients)

    await eventually(look, "the new settings on both workers")


async def test_a_limit_survives_what_a_frozen_redis_did_late_or_never(limited, redis_to_break, connect):
    """Who left or was refused while Redis was frozen takes no place afterwards; who stayed keeps one."""
    gone = [await connect(limited.ws(room)) for room in ("left", "left", "left-too", "left-too")]
    kept = [await connect(limited.ws("kept")) for _ in range(2)]
    redis_to_break.freeze()
    try:
        began = time.monotonic()
        refused = asyncio.gather(*[_status(limited, "refused") for _ in range(4)])
        for client in gone:
            await client.close()
        assert await refused == [503] * 4
        # Later than every deadline: what is not written by now is given up.
        await eventually(lambda: time.monotonic() - began > 4, "the publish deadline", 5)
    finally:
        redis_to_break.thaw()
    # A worker whose key ran out meanwhile is as good as dead until it says that it lives.
    await eventually(lambda: len(_alive(redis_to_break)) == 2, "two workers that live")
    await eventually(lambda: _counted(redis_to_break, "kept") == 2, "two members")
    assert await _back(limited, "kept") == 429
    for room in ("left", "left-too", "refused"):
        pair = await asyncio.gather(*[_joined(limited, connect, room) for _ in range(2)])
        assert await _status(limited, room) == 429
        for client in pair:
            await client.close()
    for client in kept:
        await client.round_trip()


async def test_a_limit_survives_a_redis_that_lost_its_data(limited, redis_to_break, connect):
    """After a restart without data the members who never left are counted again."""
    members = [await connect(limited.ws("full")) for _ in range(2)]
    redis_to_break.restart()
    await eventually(lambda: _counted(redis_to_break, "full") == 2, "two members")
    assert await _back(limited, "full") == 429
    await members[0].close()
    await _joined(limited, connect, "full")
    assert await _status(limited, "full") == 429


async def test_a_limit_survives_a_worker_that_slept(limited, redis_to_break, connect):
    """A worker that was stopped for longer than its word counts is counted again when it goes on."""
    member = await connect(limited.ws("slept"))
    asleep = (await pids(limited))[member.worker]
    limited.signal(signal.SIGSTOP, asleep)
    try:
        await eventually(lambda: len(_alive(redis_to_break)) == 1, "a worker that is taken for dead", STALE)
        # Only the other worker answers now; in doing so it strikes the sleeping one off this room's list.
        await eventually(lambda: _joins_awake(limited, "slept"), "a join")
        await eventually(lambda: _counted(redis_to_break, "slept") == 0, "an empty room")
    finally:
        limited.signal(signal.SIGCONT, asleep)
    await member.round_trip()
    await eventually(lambda: _counted(redis_to_break, "slept") == 1, "one member")


async def _status(server: ChatServer, room: str) -> int:
    """What a handshake for the room gets; an accepted one is closed at once."""
    raw = await RawSocket.open(server.port)
    try:
        return (await raw.handshake(f"/api/chat-api/ws/{room}")).status
    finally:
        await raw.close()


async def _back(server: ChatServer, room: str) -> int:
    """``_status`` once the workers have their Redis again."""

    async def ask() -> int | None:
        status = await _status(server, room)
        return None if status == 503 else status

    return await eventually(ask, "an answer other than 503", 3)


async def _joined(server: ChatServer, connect, room: str) -> Client:
    """A member, as soon as there is a place."""

    async def try_it() -> Client | None:
        try:
            return await connect(server.ws(room))
        except InvalidStatus as refusal:
            if refusal.response.status_code != 429:
                raise
            return None

    return await eventually(try_it, f"a place in {room!r}")


async def _joins_awake(server: ChatServer, room: str) -> bool:
    """Whether one can join; a stopped worker does not answer."""
    try:
        async with asyncio.timeout(0.5):
            return await _status(server, room) == 101
    except TimeoutError:
        return False


def _alive(redis: RedisServer) -> list[str]:
    with redis.client() as client:
        return client.keys("chat:worker:*")


def _counted(redis: RedisServer, room: str) -> int:
    """The members that Redis counts in a room, of workers that live."""
    with redis.client() as client:
        counts = client.hgetall(f"chat:census:{room_group(room)}")
    alive = {key.rpartition(":")[2] for key in _alive(redis)}
    return sum(int(count) for worker, count in counts.items() if worker in alive)
