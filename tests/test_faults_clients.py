"""Clients that die, fall silent or never finish what they began: they are parted with in time."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from chat.realtime.testing.proc import open_files
from chat.realtime.testing.raw import CLOSE, PING, PONG, TEXT, frame
from tests.kit import ChatServer, QuietSocket, RawSocket, RedisServer, eventually

figures = logging.getLogger("tests.figures")

INTERVAL, TIMEOUT = 1.0, 1.5  # seconds of silence until a ping; from the ping until the end
GONE = INTERVAL + TIMEOUT + 1.0  # seconds: a look is taken once a second


@pytest.fixture(scope="module")
def redis_here() -> Iterator[RedisServer]:
    """A Redis for these tests' servers: on one Redis all workers count as one service."""
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


@pytest.fixture(scope="module")
def impatient(redis_here: RedisServer) -> Iterator[ChatServer]:
    """Two workers that give a silent client 2.5 seconds, and a handshake 2."""
    server = ChatServer(
        redis_here.url,
        workers=2,
        arguments=("--ping-interval", str(INTERVAL), "--ping-timeout", str(TIMEOUT)),
        settings="tests.fault_settings",
        env={"FAULT_CONFIG": json.dumps({"handshake_timeout": 2.0})},
    ).start()
    yield server
    server.stop()
    server.cleanup()


async def test_a_silent_peer_is_gone_and_a_live_one_stays(impatient, connect, room):
    """Who answers no ping is parted with (4408) and no longer a member, in time; who answers pings, or sends
    anything at all, stays; who answers too late has sent something, and stays too."""
    watcher = await connect(impatient.ws(room))
    began = time.monotonic()
    silent = [
        await RawSocket.upgraded(impatient.port, f"/api/chat-api/ws/{room}?name=silent") for _ in range(2)
    ]
    deaf = await QuietSocket.upgraded(impatient.port, f"/api/chat-api/ws/{room}?name=silent")
    pongs = await RawSocket.upgraded(impatient.port, f"/api/chat-api/ws/{room}")
    data = await RawSocket.upgraded(impatient.port, f"/api/chat-api/ws/{room}")
    ends = asyncio.create_task(_ends(silent))
    answering = asyncio.create_task(_answer_pings(pongs))
    sending = asyncio.create_task(_send_now_and_then(data))
    beating = asyncio.create_task(_until_closed(watcher))
    codes, took = await ends
    assert codes == [4408, 4408]
    assert INTERVAL + TIMEOUT - 0.6 < took < GONE
    await eventually(lambda: _offline(watcher) >= 3, "three members less", GONE)
    figures.info(
        "silent peers: closed after %.2f s, members no more after %.2f s", took, time.monotonic() - began
    )
    assert [frame.opcode for frame in (await deaf.frames_until_close())[0] if frame.opcode != TEXT] == [PING]
    deaf.close()

    await eventually(lambda: time.monotonic() - began > 3 * (INTERVAL + TIMEOUT), "three timeouts", 8)
    for task in (answering, sending, beating):
        assert not task.done()
        task.cancel()
    for raw in (pongs, data):
        await raw.send_json({"type": "ping", "id": "still here"})
        await _pong(raw)
        await raw.close()
    for raw in silent:
        await raw.close()


async def test_whoever_reads_nothing_goes_whatever_it_sends(impatient, connect):
    """A full send buffer holds no socket beyond its end: not by a close frame, nor by bytes after ours."""
    before = {pid: open_files(pid) for pid in impatient.workers()}
    pings = frame(TEXT, json.dumps({"type": "ping", "data": "x" * 60_000}).encode())
    stuck = [await QuietSocket.upgraded(impatient.port) for _ in range(3)]
    await asyncio.gather(*[one.flood(pings, 80 * len(pings), patience=0.3) for one in stuck])
    await stuck[0].send(frame(CLOSE, (1000).to_bytes(2, "big")))

    async def dribble() -> None:
        while True:
            try:
                stuck[1].sock.send(b"x")
            except OSError:
                pass
            await asyncio.sleep(0.1)

    dribbling = asyncio.create_task(dribble())
    began = time.monotonic()
    await eventually(
        lambda: all(open_files(pid) <= count for pid, count in before.items()), "closed sockets", GONE + 4
    )
    figures.info("clients that read nothing: sockets closed after %.2f s", time.monotonic() - began)
    dribbling.cancel()
    for one in stuck:
        one.close()


async def test_slow_handshakes_are_cut(impatient):
    """A connection that says nothing, stops in the middle of its request, or drips byte by byte ends when the
    handshake's time is over, at 15 seconds in the settings that users run."""
    from chat.realtime.config import Config

    assert Config().handshake_timeout == 15

    async def ends(first: bytes, drip: bytes) -> float:
        raw = await RawSocket.open(impatient.port)
        began = time.monotonic()
        raw.writer.write(first)
        end = asyncio.create_task(raw.expect_end(10))
        while not end.done():
            raw.writer.write(drip)
            await asyncio.wait({end}, timeout=0.05)
        took = time.monotonic() - began
        await raw.close()
        return took

    head = b"GET /api/chat-api/ws HTTP/1.1\r\nHost: x\r\n"
    times = await asyncio.gather(
        ends(b"", b""),
        ends(head, b""),
        ends(head + b"X-Slow: ", b"x"),
        ends(b"", b"G"),
        ends(head + b"Content-Length: 9\r\n", b""),
    )
    figures.info("slow handshakes: %s", ", ".join(f"{took:.2f} s" for took in times))
    assert all(1.9 < took < 3.5 for took in times), times


def _offline(watcher) -> int:
    return sum(
        frame["type"] == "presence" and frame["data"] == {"status": "offline", "name": "silent"}
        for frame in watcher.received
    )


async def _until_closed(client) -> None:
    """Read, and by reading answer pings."""
    try:
        while True:
            await client.next(60)
    except ConnectionClosed:
        return


async def _ends(sockets: list[RawSocket]) -> tuple[list[int], float]:
    """The close codes of peers that read but answer nothing, and how long it took."""
    began = time.monotonic()
    codes = await asyncio.gather(*[raw.expect_close(GONE + 3) for raw in sockets])
    return codes, time.monotonic() - began


async def _answer_pings(raw: RawSocket) -> None:
    while True:
        found = await raw.read_frame(60)
        assert found.opcode != CLOSE, found
        if found.opcode == PING:
            await raw.send_frame(PONG, found.payload)


async def _send_now_and_then(raw: RawSocket) -> None:
    while True:
        await raw.send_json({"type": "pong"})
        await asyncio.sleep(INTERVAL)


async def _pong(raw: RawSocket) -> None:
    while True:
        found = await raw.read_frame()
        assert found.opcode != CLOSE, found
        if found.opcode == TEXT and json.loads(found.payload)["type"] == "pong":
            return
