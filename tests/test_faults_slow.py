"""Clients that read too slowly: nobody waits for them, and they cost no more than their buffers."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator

import pytest

from chat.realtime.testing.proc import peak_resident, reset_peak, resident
from chat.realtime.testing.raw import TEXT
from chat.realtime.testing.workers import ask
from tests.kit import ChatServer, QuietSocket, RedisServer, eventually, on_each_worker

figures = logging.getLogger("tests.figures")

MB = 1024 * 1024
BUFFER = 64  # messages that wait for one slow client
SIZE = 4096  # bytes of a message's content


@pytest.fixture(scope="module")
def slowly() -> Iterator[ChatServer]:
    """Two workers of which settings change and numbers are read, on a Redis of their own."""
    redis = RedisServer().start()
    server = ChatServer(redis.url, workers=2).start()
    yield server
    server.stop()
    redis.stop()
    server.cleanup()
    redis.cleanup()


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "drop_newest"])
async def test_a_slow_consumer_holds_up_nobody(slowly, connect, room, policy):
    """The others get everything at once and in order; the slow one gets what its policy says, and the numbers
    that operators see tell of it."""
    buffer = BUFFER + ["close", "drop_oldest", "drop_newest"].index(policy)
    await _change_settings(slowly, connect, send_buffer=buffer, slow_consumer_policy=policy)
    fast = await on_each_worker(slowly, lambda: connect(slowly.ws(room)))
    slow = await QuietSocket.upgraded(slowly.port, f"/api/chat-api/ws/{room}?name=slow")
    before = await _totals(slowly)
    count = 2000
    slowest = await _say(fast, count, SIZE)

    after = await _totals(slowly)
    if policy == "close":
        frames, code = await slow.frames_until_close(0.5)
        heard = _numbers(frames)
        assert code == 4413
        assert heard == list(range(len(heard)))
        assert len(heard) < count
        assert after["slow_closed"] - before["slow_closed"] == 1
        table = await asyncio.to_thread(slowly.command, "chat_stats", "--json")
        assert json.loads(table.stdout)["totals"]["slow_closed"] == after["slow_closed"]
    else:
        described = await _connection(slowly, "slow")
        assert described["queue_depth"] == buffer
        heard = await _drain(slow, count if policy == "drop_oldest" else None)
        dropped = after["dropped"] - before["dropped"]
        assert described["dropped"] == dropped == count - len(heard)
        assert dropped > 0
        kept = list(range(len(heard)))
        if policy == "drop_oldest":
            kept = [*range(len(heard) - buffer), *range(count - buffer, count)]
        assert heard == kept
        # It reads again, so it gets everything again.
        await fast[0].send_chat("again")
        assert "again" in await _next_content(slow)
    slow.close()
    figures.info(
        "slow consumer, %s: %d of %d heard, slowest delivery to a fast one %.3f s",
        policy,
        len(heard),
        count,
        slowest,
    )
    assert slowest < 0.5


async def test_a_slow_consumer_costs_its_buffer_only(slowly, connect, room):
    """20,000 messages of 4 KiB to a room in which one member reads nothing: no worker grows by 10 MB."""
    await _change_settings(slowly, connect, send_buffer=256, slow_consumer_policy="drop_oldest")
    fast = await on_each_worker(slowly, lambda: connect(slowly.ws(room)))
    slow = [await QuietSocket.upgraded(slowly.port, f"/api/chat-api/ws/{room}") for _ in range(2)]
    await _say(fast, 500, SIZE)  # buffers and pools have their size
    workers = slowly.workers()
    for pid in workers:
        reset_peak(pid)
    before = {pid: resident(pid) for pid in workers}
    began = time.monotonic()
    slowest = await _say(fast, 20_000, SIZE)
    growth = {pid: peak_resident(pid) - size for pid, size in before.items()}
    for one in slow:
        one.close()
    figures.info(
        "slow consumer, memory: 20,000 messages in %.1f s, growth %s MB, slowest delivery %.3f s",
        time.monotonic() - began,
        [round(size / MB, 1) for size in growth.values()],
        slowest,
    )
    assert max(growth.values()) < 10 * MB


async def _say(fast, count: int, size: int) -> float:
    """The first of them says numbers; each hears all, in order. Returns the slowest delivery in seconds."""
    sent: list[float] = []
    padding = "x" * size

    async def hear(client) -> float:
        slowest, number = 0.0, 0
        async with asyncio.timeout(60):
            while number < count:
                text = await client.socket.recv()
                start = text.find('"content":"#')
                if start < 0:
                    continue
                assert int(text[start + 12 : start + 18]) == number
                slowest = max(slowest, time.monotonic() - sent[number])
                number += 1
                heard[client] = number
        return slowest

    heard = dict.fromkeys(fast, 0)
    hearing = [asyncio.create_task(hear(client)) for client in fast]
    head = '{"type":"chat","data":{"content":"#'
    for number in range(count):
        sent.append(time.monotonic())
        await fast[0].socket.send(f'{head}{number:06d}{padding}"}}}}')
        while number - min(heard.values()) > 32 and not any(task.done() for task in hearing):
            await asyncio.sleep(0)
    return max(await asyncio.gather(*hearing))


def _numbers(frames) -> list[int]:
    messages = [json.loads(found.payload) for found in frames if found.opcode == TEXT]
    return [int(message["data"]["content"][1:7]) for message in messages if message["type"] == "chat"]


async def _drain(slow: QuietSocket, last: int | None) -> list[int]:
    """The numbers that come, up to the last one, or until no more do."""
    heard: list[int] = []
    while last is None or not heard or heard[-1] != last - 1:
        try:
            heard += _numbers(await slow.read_frames(0.5))
        except TimeoutError:
            break
    return heard


async def _next_content(slow: QuietSocket) -> str:
    frames = await slow.read_frames()
    return json.loads(frames[-1].payload)["data"]["content"]


async def _change_settings(server: ChatServer, connect, **fields) -> None:
    """Save settings and wait until they are in force on every worker; ``send_buffer`` tells."""
    await asyncio.to_thread(server.change_settings, **fields)

    async def look() -> bool:
        clients = await on_each_worker(server, lambda: connect(server.ws()))
        for client in clients:
            await client.close()
        return all(c.welcome["data"]["limits"]["send_buffer"] == fields["send_buffer"] for c in clients)

    await eventually(look, "the new settings on both workers")


async def _totals(server: ChatServer) -> dict[str, int]:
    """What all workers together say of slow clients."""
    workers = await ask(server, "stats")
    assert len(workers) == server.worker_count
    return {name: sum(worker[name] for worker in workers) for name in ("dropped", "slow_closed")}


async def _connection(server: ChatServer, name: str) -> dict:
    workers = await ask(server, "connections")
    [found] = [known for worker in workers for known in worker["connections"] if known["name"] == name]
    return found
