"""Thousands of connections come and go in every way there is, and leave nothing behind."""

import asyncio
import contextlib
import logging
import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chat.realtime.testing.proc import resident
from chat.realtime.testing.raw import CLOSE, TEXT, frame, header
from chat.realtime.testing.workers import ask
from tests.kit import ChatServer, Client, RawSocket, RedisServer, eventually, on_each_worker

figures = logging.getLogger("tests.figures")

MB = 1024 * 1024
COUNT = 2000
AT_A_TIME = 100
GROWTH = 3 * MB  # of a worker's memory, that an allocator may keep


@pytest.fixture(scope="module")
def redis_here() -> Iterator[RedisServer]:
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


@pytest.fixture(scope="module")
def _many_files() -> Iterator[None]:
    """As many open sockets in this process as the system allows."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(scope="module")
def watched(redis_here: RedisServer, _many_files: None) -> Iterator[ChatServer]:
    """Two workers that tell what they hold."""
    env = {"CONNECT_RATE": "0"}  # all come from one address, as fast as they can
    server = ChatServer(redis_here.url, workers=2, settings="tests.fault_settings", env=env).start()
    yield server
    server.stop()
    server.cleanup()


@pytest.mark.timeout(150)  # two thousand handshakes take 25 s beside other tests
async def test_2000_connections_leave_nothing_behind(watched, redis_here, connect):
    """Tasks, hub, census, Redis subscriptions and keys, sockets, file descriptors and objects are what they
    were; memory nearly."""
    inspectors = await on_each_worker(watched, lambda: connect(_faults(watched)))
    for _ in range(2):  # pools, caches and the allocator have their size
        await _come_and_go(watched, COUNT)
        await _all_at_once(watched, COUNT)
    accepted = sum(worker["accepted"] for worker in await ask(watched, "stats"))
    before = await _settled(inspectors, redis_here)
    for worker in before[:2]:
        alone = [worker[name] for name in ("connections", "open", "sockets", "applications")]
        assert alone == [1, 1, 1, 1], f"more than the inspector itself: {worker}"
    memory = {pid: resident(pid) for pid in watched.workers()}
    began = time.monotonic()
    await _come_and_go(watched, COUNT)
    await _all_at_once(watched, COUNT)
    took = time.monotonic() - began

    async def same() -> bool:
        return await _held(inspectors, redis_here) == before

    try:
        await eventually(same, "the state from before", 10)
    finally:
        figures.info("leaks: before %s, after %s", before, await _held(inspectors, redis_here))
    growth = [resident(pid) - size for pid, size in memory.items()]
    accepted = sum(worker["accepted"] for worker in await ask(watched, "stats")) - accepted
    figures.info(
        "leaks: %d connections (%d accepted, %d open at once) in %.1f s, growth %s MB",
        2 * COUNT,
        accepted,
        COUNT,
        took,
        [round(size / MB, 2) for size in growth],
    )
    assert accepted > COUNT + COUNT // 2
    assert max(growth) < GROWTH


async def _come_and_go(server: ChatServer, count: int) -> None:
    """So many connections, some at a time, each ending in another way."""
    ways = [
        _politely,
        _abruptly,
        _by_half,
        _in_the_middle,
        _too_big,
        _too_early,
        _refused,
        _plainly,
        _as_guest,
    ]
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int) -> None:
        async with turns:
            # What the other side's end looks like is not the point here.
            with contextlib.suppress(OSError, EOFError):
                await ways[number % len(ways)](server, f"room-{number % 37}")

    await asyncio.gather(*[one(number) for number in range(count)])


async def _all_at_once(server: ChatServer, count: int) -> None:
    """So many connections that are open together; half of them are closed, half are cut."""
    opened: list[RawSocket] = []
    while len(opened) < count:
        more = [RawSocket.upgraded(server.port, f"/api/chat-api/ws/hall-{n % 20}") for n in range(AT_A_TIME)]
        opened += await asyncio.gather(*more)
    connections = sum(worker["connections"] for worker in await ask(server, "stats"))
    assert connections == count + 2  # the inspectors
    for number, raw in enumerate(opened):
        if number % 2:
            raw.writer.transport.abort()
        else:
            raw.writer.write(frame(CLOSE, (1000).to_bytes(2, "big")))
            raw.writer.close()


async def _politely(server: ChatServer, room: str) -> None:
    """Says something, closes, waits for the answer."""
    raw = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    await raw.send_json({"type": "chat", "data": {"content": "hello"}, "id": "1"})
    await raw.send_frame(CLOSE, (1000).to_bytes(2, "big"))
    await raw.expect_close()
    await raw.close()


async def _abruptly(server: ChatServer, room: str) -> None:
    """Resets the line."""
    raw = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    await raw.send_json({"type": "ping"})
    raw.writer.transport.abort()


async def _by_half(server: ChatServer, room: str) -> None:
    """Sends a FIN and reads on."""
    raw = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}?members=1")
    raw.writer.write_eof()
    await raw.expect_end()
    await raw.close()


async def _in_the_middle(server: ChatServer, room: str) -> None:
    """Goes in the middle of a message."""
    raw = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    await raw.send(frame(TEXT, b'{"type":"chat"', fin=False) + header(TEXT, 5000)[:1])
    await raw.close()


async def _too_big(server: ChatServer, room: str) -> None:
    """Is parted with."""
    raw = await RawSocket.upgraded(server.port, "/api/chat-api/ws")
    await raw.send(header(TEXT, 65_537) + b"mask" + b"x" * 1000)
    assert await raw.expect_close() == 1009
    await raw.expect_end()
    await raw.close()


async def _too_early(server: ChatServer, room: str) -> None:
    """Asks, and goes before the answer."""
    raw = await RawSocket.open(server.port)
    await raw.send(
        f"GET /api/chat-api/ws/{room} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    raw.writer.transport.abort()


async def _refused(server: ChatServer, room: str) -> None:
    raw = await RawSocket.open(server.port)
    assert (await raw.handshake("/api/chat-api/ws/not%20a%20room")).status == 404
    await raw.close()


async def _plainly(server: ChatServer, room: str) -> None:
    raw = await RawSocket.open(server.port)
    await raw.send(f"GET /api/chat-api/ws/{room} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert (await raw.read_response()).status == 426
    await raw.close()


async def _as_guest(server: ChatServer, room: str) -> None:
    """Another consumer, whose disconnect() takes a moment."""
    raw = await RawSocket.upgraded(server.port, "/faults/ws?linger=0.01")
    await raw.send_json({"type": "echo"})
    await raw.read_frame()
    raw.writer.transport.abort()


def _faults(server: ChatServer) -> str:
    return f"ws://127.0.0.1:{server.port}/faults/ws"


async def _settled(inspectors: list[Client], redis: RedisServer) -> list[dict[str, Any]]:
    """What is held once it no longer changes."""
    last: list[dict[str, Any]] = []
    since = time.monotonic()

    async def quiet() -> bool:
        nonlocal last, since
        now = await _held(inspectors, redis)
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    await eventually(quiet, "quiet", 15)
    return last


async def _held(inspectors: list[Client], redis: RedisServer) -> list[dict[str, Any]]:
    """What each worker holds, and Redis."""
    held = []
    for inspector in inspectors:
        await inspector.send({"type": "state"})
        held.append((await inspector.expect(type="state"))["data"])
    with redis.client() as client:
        keys = sorted(key.rpartition(":")[0] for key in client.keys("*"))
        channels = client.pubsub_channels()
        numbers = dict(client.pubsub_numsub(*channels))
        held.append({"keys": keys, "channels": len(channels), "subscriptions": sum(numbers.values())})
    return held
