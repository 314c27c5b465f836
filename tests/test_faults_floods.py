"""Clients that send without end: the server's memory stays where it is, and the others do not notice."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat.realtime.testing.proc import peak_resident, reset_peak, resident
from chat.realtime.testing.raw import BINARY, CONTINUATION, PING, TEXT, frame, header
from tests.kit import ChatServer, QuietSocket, RedisServer, on_each_worker
from tests.traffic import Pulse

figures = logging.getLogger("tests.figures")

MB = 1024 * 1024
OTHERS = 0.3  # seconds that another client's round trip may take meanwhile, beyond what holds up this process
GROWTH = 10 * MB  # of one worker's memory, at its peak
WHOLE_BUFFER = 32 * MB  # the same, where 256 answers of 60 KB wait for the one client


@pytest.fixture(scope="module")
def freeze_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, the flooded server's database answers nothing."""
    return tmp_path_factory.mktemp("flood") / "frozen"


@pytest.fixture(scope="module")
def flooded(freeze_database: Path) -> Iterator[ChatServer]:
    redis = RedisServer().start()
    server = ChatServer(
        redis.url, workers=2, settings="tests.fault_settings", env={"FAULT_FREEZE": str(freeze_database)}
    ).start()
    try:
        yield server
    finally:
        freeze_database.unlink(missing_ok=True)
        server.stop()
        redis.stop()
        server.cleanup()
        redis.cleanup()


def _text(message: dict) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


BIG = "x" * 60_000
# What is sent again and again, how many bytes of it by each socket, how many sockets, allowed growth.
FLOODS = {
    "big messages without an answer": (_text({"type": "pong", "data": BIG}), 100 * MB, 1, GROWTH),
    "big invalid messages": (frame(TEXT, b'{"type":"' + BIG.encode()), 100 * MB, 1, GROWTH),
    "big pings": (_text({"type": "ping", "data": BIG}), 100 * MB, 1, WHOLE_BUFFER),
    "big chat messages": (_text({"type": "chat", "data": {"content": BIG}}), 100 * MB, 1, WHOLE_BUFFER),
    "tiny pings": (_text({"type": "ping"}) * 100, 2 * MB, 2, GROWTH),
    "tiny messages without an answer": (_text({"type": "pong"}) * 100, MB, 2, GROWTH),
    "tiny invalid messages": (frame(TEXT, b"{") * 500, MB // 4, 2, GROWTH),
    "tiny binary messages": (frame(BINARY) * 500, MB // 8, 2, GROWTH),
    "ping frames": (frame(PING, b"x" * 125) * 50, 12 * MB, 2, GROWTH),
    "empty ping frames": (frame(PING) * 500, MB // 8, 2, GROWTH),
    "empty fragments": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 100_000, MB, 2, GROWTH),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_costs_its_sender_only(flooded, connect, room, kind):
    """Who sends without reading is read no faster than it is served: bounded memory, quick others."""
    piece, total, count, allowed = FLOODS[kind]
    floods = [await QuietSocket.upgraded(flooded.port, f"/api/chat-api/ws/{room}") for _ in range(count)]
    taken, growth, slowest = await _flood(flooded, connect, [flood.flood(piece, total) for flood in floods])
    for flood in floods:
        flood.close()
    _tell(kind, taken, growth, slowest)
    assert growth < allowed
    assert slowest < OTHERS


async def test_what_follows_an_oversize_message_is_never_kept(flooded, connect):
    """A header that claims a terabyte, or one byte too many, is answered with 1009; a flood behind it is
    thrown away."""
    floods = [await QuietSocket.upgraded(flooded.port) for _ in range(2)]

    async def overflow(flood: QuietSocket, size: int) -> int:
        await flood.send(header(TEXT, size) + b"mask")
        return await flood.flood(b"x" * 100_000, 100 * MB)

    sizes = (1 << 40, 65_537)
    work = [overflow(flood, size) for flood, size in zip(floods, sizes, strict=True)]
    taken, growth, slowest = await _flood(flooded, connect, work)
    codes = [(await flood.frames_until_close())[1] for flood in floods]
    for flood in floods:
        flood.close()
    _tell("oversize", taken, growth, slowest)
    assert growth < GROWTH
    assert slowest < OTHERS
    assert codes == [1009, 1009]


async def test_a_flood_before_the_answer_to_the_handshake_ends_the_line(flooded, freeze_database, connect):
    """Who sends frames without waiting to be let in is cut after some 64 KiB."""
    others = await on_each_worker(flooded, lambda: connect(flooded.ws("bystanders")))
    floods = [await QuietSocket.open(flooded.port) for _ in range(2)]
    freeze_database.touch()
    try:
        for number, flood in enumerate(floods):
            await flood.ask_upgrade(f"/api/chat-api/ws/never-seen-{number}")
        work = [flood.flood(frame(PING) * 500, 100 * MB) for flood in floods]
        taken, growth, slowest = await _flood(flooded, connect, work, others)
    finally:
        freeze_database.unlink()
    for flood in floods:
        flood.close()
    _tell("before the handshake", taken, growth, slowest)
    assert growth < GROWTH
    assert slowest < OTHERS
    assert taken < 10 * MB  # the kernel's buffers took it


async def test_a_request_head_without_end_ends_the_line(flooded, connect):
    """Neither an endless request line nor endless headers are kept."""
    floods = [await QuietSocket.open(flooded.port) for _ in range(2)]
    await floods[0].send(b"GET /")
    await floods[1].send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    pieces = (b"a" * 100_000, b"X-Header: nothing\r\n" * 1000)
    work = [flood.flood(piece, 100 * MB) for flood, piece in zip(floods, pieces, strict=True)]
    taken, growth, slowest = await _flood(flooded, connect, work)
    for flood in floods:
        flood.close()
    _tell("request heads", taken, growth, slowest)
    assert growth < GROWTH
    assert slowest < OTHERS
    assert taken < 20 * MB


async def _flood(server, connect, work, others=None) -> tuple[int, int, float]:
    """Let the floods run beside a client on each worker: bytes taken, growth, the slowest round trip."""
    if others is None:
        others = await on_each_worker(server, lambda: connect(server.ws("bystanders")))
    workers = server.workers()
    for pid in workers:
        reset_peak(pid)
    before = {pid: resident(pid) for pid in workers}
    pulses = [Pulse.of(other, every=0.02) for other in others]
    own = Pulse(lambda: asyncio.sleep(0.01), every=0)  # a busy machine is not the server's fault
    async with pulses[0], pulses[1], own:
        taken = sum(await asyncio.gather(*work))
    growth = max(peak_resident(pid) - size for pid, size in before.items())
    slowest = max(pulse.slowest for pulse in pulses)
    return taken, growth, slowest if slowest < OTHERS else slowest - own.slowest


def _tell(kind: str, taken: int, growth: int, slowest: float) -> None:
    figures.info(
        "%s: %.1f MB taken, growth %.1f MB, slowest round trip of the others %.3f s",
        kind,
        taken / MB,
        growth / MB,
        slowest,
    )
