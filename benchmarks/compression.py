"""What compression costs and saves: `python -m benchmarks.compression` (about half a minute, one worker, no
Redis).

Prints the tables of docs/compression.md. They are CPU times and sizes, so what else the machine does matters
little.
"""

import asyncio
import json
import os
import random
import timeit
import zlib
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
os.environ.update(DEBUG="1", ENV_FILE="")
django.setup()

from chat.realtime.compression import Inflater, deflate  # noqa: E402 (Django first)
from chat.realtime.testing import RawSocket, RealtimeServer  # noqa: E402 (Django first)
from chat.realtime.testing.proc import resident  # noqa: E402 (Django first)
from chat.realtime.testing.raw import TEXT, frame  # noqa: E402 (Django first)

SAMPLE = """
the quick brown fox jumps over a lazy dog hello world chat message from today we will meet at station please
bring your own book and coffee before nine thanks for all those pictures see you later
"""
WORDS = SAMPLE.split()
SIZES = (250, 500, 1000, 4000, 16_000, 64_000)
OFFER = "permessage-deflate; client_max_window_bits"
MEMBERS, MESSAGES = 100, 200
IDLE = 500


def chat_message(size: int, seed: int = 1) -> bytes:
    """An envelope as the chat sends it, of about ``size`` bytes, full of words."""
    source = random.Random(seed)
    envelope = {
        "id": "0b1f6f0e-6b1c-4d43-a4d7-6a3f1c1c6f52",
        "type": "chat",
        "room": "lobby",
        "from": f"{source.getrandbits(128):032x}",
        "data": {"content": "", "name": "Ada"},
        "timestamp": "2026-01-15T10:30:00Z",
    }
    rest = size - len(json.dumps(envelope))
    content = ""
    while len(content) < rest:
        content += source.choice(WORDS) + " "
    envelope["data"]["content"] = content[: max(rest, 1)]
    return json.dumps(envelope).encode()


def micros(work, number: int) -> float:
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def codec() -> None:
    """Sizes, and microseconds of one core."""
    print("| message, bytes | level 1 | level 6 | µs, level 1 | µs, level 6 | inflating, µs |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        message = chat_message(size)
        small, smaller = deflate(message, 1), deflate(message, 6)

        def inflate(data: bytes = small) -> None:
            inflater = Inflater(0, b"", 1 << 20)
            inflater.put(data)
            inflater.end()
            inflater.take(65_537)

        number = max(10, 200_000 // size)
        times = [
            micros(lambda message=message: deflate(message, 1), number),
            micros(lambda message=message: deflate(message, 6), number),
            micros(inflate, number),
        ]
        shown = " | ".join(f"{took:.0f}" for took in times)
        print(f"| {len(message):,} | {len(small):,} | {len(smaller):,} | {shown} |")


async def open_socket(server: RealtimeServer, path: str, offer: str | None) -> RawSocket:
    raw = await RawSocket.open(server.port)
    headers = {"Sec_WebSocket_Extensions": offer} if offer else {}
    response = await raw.handshake(path, **headers)
    assert response.status == 101, response
    assert bool(offer) == ("sec-websocket-extensions" in response.headers)
    return raw


def cpu_time(pid: int) -> float:
    """Seconds of CPU time that a process's first thread has had (sched/schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def fan_out(size: int, offer: str | None) -> tuple[float, float]:
    """Microseconds of the worker and bytes on the wire, a delivery: one speaker, a room of 100."""
    server = RealtimeServer(None, env={"MESSAGE_RATE": "0", "BYTES_RATE": "0"}).start()
    try:
        (pid,) = server.workers()
        members = [await open_socket(server, "/api/chat-api/ws/lobby", offer) for _ in range(MEMBERS)]
        heard = [0] * MEMBERS

        async def listen(at: int) -> None:
            while data := await members[at].reader.read(1 << 16):
                heard[at] += len(data)

        tasks = [asyncio.create_task(listen(at)) for at in range(MEMBERS)]
        await asyncio.sleep(1)  # presence
        message = chat_message(size)
        content = json.loads(message)["data"]
        wire = frame(TEXT, json.dumps({"type": "chat", "data": content}).encode())
        before, bytes_before = cpu_time(pid), sum(heard)
        for _ in range(MESSAGES):
            count = heard[0]
            await members[0].send(wire)
            while heard[0] == count:
                await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        spent = (cpu_time(pid) - before) / (MEMBERS * MESSAGES) * 1e6
        received = (sum(heard) - bytes_before) / (MEMBERS * MESSAGES)
        for task in tasks:
            task.cancel()
        for member in members:
            member.writer.transport.abort()
        return spent, received
    finally:
        server.stop(allow_tracebacks=True)
        server.cleanup()


async def memory(offer: str | None, path: str, say: bool) -> float:
    """KiB of the worker a connection: 500 at once, idle, or after ten messages each."""
    server = RealtimeServer(None, env={"ECHO_ENDPOINT": "1", "MESSAGE_RATE": "0"}).start()
    try:
        (pid,) = server.workers()
        for _ in range(50):
            (await open_socket(server, path, offer)).writer.transport.abort()
        await asyncio.sleep(1)
        before = resident(pid)
        sockets = [await open_socket(server, path, offer) for _ in range(IDLE)]
        if say:
            await say_something(sockets, offer)
        await asyncio.sleep(1)
        grown = (resident(pid) - before) / IDLE / 1024
        for raw in sockets:
            raw.writer.transport.abort()
        return grown
    finally:
        server.stop(allow_tracebacks=True)
        server.cleanup()


async def say_something(sockets: list[RawSocket], offer: str | None) -> None:
    """Ten messages of 1,000 bytes from each; those that took compression take their context over."""
    for at, raw in enumerate(sockets):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        for number in range(10):
            payload = chat_message(1000, at * 10 + number)
            if offer:
                payload = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await raw.send(frame(TEXT, payload, rsv=4 if offer else 0))
            await raw.read_frame()


def main() -> None:
    codec()
    print()
    print("| fan-out to 100 | µs a delivery | bytes a delivery |")
    print("| --- | --- | --- |")
    for size in (250, 1000, 16_000):
        for offer in (None, OFFER):
            spent, received = asyncio.run(fan_out(size, offer))
            print(f"| {size:,} bytes, {'compressed' if offer else 'plain'} | {spent:.1f} | {received:,.0f} |")
    print()
    print("| memory of a connection | KiB |")
    print("| --- | --- |")
    chat, echo = "/api/chat-api/ws", "/api/echo/ws"
    for title, offer, path, say in (
        ("idle, nothing agreed on", None, chat, False),
        ("idle, compression agreed on", OFFER, chat, False),
        ("echo, ten messages of 1,000 bytes, plain", None, echo, True),
        ("echo, the same, the client's context of up to 32 KiB kept", OFFER, echo, True),
    ):
        print(f"| {title} | {asyncio.run(memory(offer, path, say)):.1f} |")


if __name__ == "__main__":
    main()
