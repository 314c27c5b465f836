"""Stopping, in time and in order, whatever handlers and clients do. (Restarts: test_deploy_restart.py.)"""

import asyncio
import json
import logging
import signal
import time
from collections.abc import Iterator

import pytest

from chat.realtime.testing.proc import alive
from chat.realtime.testing.raw import TEXT, frame
from chat.realtime.testing.workers import pids
from tests.kit import ChatServer, Client, QuietSocket, RawSocket, RedisServer, eventually
from tests.traffic import ACCEPTED, Talker

figures = logging.getLogger("tests.figures")

LIMIT = 3.0  # seconds that these servers have to stop
AT_ONCE = 1.0  # seconds


@pytest.fixture(scope="module")
def redis_here() -> Iterator[RedisServer]:
    """A Redis for these tests' servers: on one Redis all workers count as one service."""
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


def _faulty(redis: RedisServer, start_server, workers: int = 2) -> ChatServer:
    """A server with handlers that hang, and ``LIMIT`` seconds to stop."""
    return start_server(
        redis.url,
        workers=workers,
        settings="tests.fault_settings",
        arguments=("--shutdown-timeout", str(LIMIT)),
    )


async def test_sigterm_says_goodbye_to_everybody(redis_here, start_server, connect, room):
    """Every client of both workers gets 1001, also one that has just come, after all that was accepted before
    it; then the server is gone, with status 0, at once."""
    faulty = _faulty(redis_here, start_server)
    clients = [await connect(faulty.ws(room)) for _ in range(20)]
    idle = [await RawSocket.open(faulty.port) for _ in range(4)]
    async with Talker(clients[0], "ada", every=0.001) as ada, Talker(clients[1], "bob", every=0.001) as bob:
        await eventually(lambda: len(ada.heard) > 100, "chatting")
        late = asyncio.gather(*[connect(faulty.ws(room)) for _ in range(4)])
        young = await late
        ada.talking = bob.talking = False
        await eventually(lambda: not ada.unanswered and not bob.unanswered, "all accepted")
        accepted = ada.with_answer(ACCEPTED) | bob.with_answer(ACCEPTED)
        began = time.monotonic()
        faulty.signal(signal.SIGTERM)
        codes = await asyncio.gather(*[client.closed() for client in [*clients[2:], *young]])
        said = time.monotonic() - began
        status = await asyncio.to_thread(faulty.popen.wait, LIMIT)
        took = time.monotonic() - began
    figures.info("SIGTERM: 1001 to %d clients after %.3f s, exit after %.3f s", len(codes), said, took)
    assert {code for code, _ in codes} == {1001}
    assert {talker.client.socket.protocol.close_rcvd.code for talker in (ada, bob)} == {1001}
    assert status == 0
    assert took < AT_ONCE
    for client in clients[2:]:
        heard = {frame["data"]["content"] for frame in client.received if frame["type"] == "chat"}
        assert accepted <= heard
    for raw in idle:
        assert await raw.expect_end(1) == b""
        await raw.close()


async def test_the_stop_keeps_its_limit_whatever_holds_the_workers_up(redis_here, start_server, connect):
    """Four workers are told to stop: in one handlers hang, wait on threads and linger in disconnect(); in one
    the event loop is blocked; one runs no Python any more; one is put to sleep by the system. All clients
    that can be reached get 1001 at once, and the server is gone in time, with status 0."""
    server = _faulty(redis_here, start_server, workers=4)
    hanging, blocked, spinning, asleep = (await _clients_of(server, connect)).values()
    for client, kind in zip(hanging, ("sleep", "thread", "thread"), strict=False):
        await client.send({"type": kind, "data": 60})
    await blocked[0].send({"type": "block", "data": 60})
    await spinning[0].send({"type": "spin"})
    server.signal(signal.SIGSTOP, (await pids(server))[asleep[0].worker])

    began = time.monotonic()
    server.signal(signal.SIGTERM)
    codes = await asyncio.gather(*[client.closed() for client in hanging])
    said = time.monotonic() - began
    assert {code for code, _ in codes} == {1001}
    assert said < AT_ONCE
    await _ends_in_time(server, began, "hanging, blocked, spinning and sleeping workers")
    cut = [client for clients in (blocked, spinning, asleep) for client in clients]
    assert {(await client.closed())[0] for client in cut} == {1006}


async def test_clients_that_do_not_answer_hold_nothing_up(redis_here, start_server):
    """Clients that ignore the close frame, and ones that read nothing with a full send buffer, are left when
    they have had their time; nobody new is let in meanwhile."""
    server = _faulty(redis_here, start_server)
    ignoring = [await RawSocket.upgraded(server.port) for _ in range(2)]
    pings = frame(TEXT, json.dumps({"type": "ping", "data": "x" * 60_000}).encode())
    stuck = [await QuietSocket.upgraded(server.port) for _ in range(2)]
    await asyncio.gather(*[one.flood(pings, 80 * len(pings), patience=0.3) for one in stuck])
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert [await raw.expect_close() for raw in ignoring] == [1001, 1001]
    await eventually(lambda: _refuses(server), "a closed port", AT_ONCE)
    await _ends_in_time(server, began, "clients that do not answer")
    for one in stuck:
        one.close()
    for raw in ignoring:
        await raw.close()


async def _clients_of(server: ChatServer, connect) -> dict[str, list[Client]]:
    """Worker → clients of the app that misbehaves on demand, four at least; their disconnect() lingers."""
    found: dict[str, list[Client]] = {}
    url = f"ws://127.0.0.1:{server.port}/faults/ws?linger=60"

    async def enough() -> bool:
        # Several at once: alone, the worker that was idle last takes them all.
        for client in await asyncio.gather(*[connect(url) for _ in range(16)]):
            found.setdefault(client.worker, []).append(client)
        return len(found) == server.worker_count and min(map(len, found.values())) >= 4

    await eventually(enough, "four clients of each worker")
    return found


async def _refuses(server: ChatServer) -> bool:
    """Whether nobody listens on the port any more."""
    try:
        await (await RawSocket.open(server.port)).close()
    except ConnectionRefusedError:
        return True
    return False


async def _ends_in_time(server: ChatServer, began: float, what: str) -> None:
    """Exit status 0 within the limit, and no worker left."""
    workers = server.workers()
    status = await asyncio.to_thread(server.popen.wait, LIMIT + 5)
    took = time.monotonic() - began
    figures.info("SIGTERM with %s: exit %s after %.2f s of %.1f", what, status, took, LIMIT)
    assert status == 0
    assert took <= LIMIT + 0.5  # to notice it on a busy machine
    await eventually(lambda: not any(alive(pid) for pid in workers), "no worker left", 1)
