"""A worker dies, the supervisor dies, a new version comes: who notices what."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Iterator

import pytest

from chat.realtime.testing.proc import alive
from chat.realtime.testing.workers import ask, pids
from tests.kit import ChatServer, RawSocket, RedisServer, eventually, on_each_worker
from tests.reconnecting import Returning, missed
from tests.traffic import ACCEPTED, Pulse, Talker

figures = logging.getLogger("tests.figures")

REPLACED = 6.0  # seconds until a dead worker's successor serves
FORGOTTEN = 9.0  # seconds until a dead worker's members are no longer counted
AT_ONCE = 0.5  # seconds


@pytest.fixture(scope="module")
def redis_here() -> Iterator[RedisServer]:
    """A Redis for these tests' servers: on one Redis all workers count as one service."""
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


async def test_a_killed_worker_is_replaced(redis_here, start_server, connect, room):
    """SIGKILL of one worker: its clients lose their line, the other's notice nothing, a new worker serves in
    its place within seconds, and its members leave the room's count."""
    server = start_server(redis_here.url, workers=2)
    dying, staying = await on_each_worker(server, lambda: connect(server.ws(room)))
    await asyncio.to_thread(server.change_settings, max_room_members=2)
    bystander = await on_each_worker(server, lambda: connect(server.ws()))
    [watcher] = [client for client in bystander if client.worker == staying.worker]
    await eventually(lambda: _status(server, room, 429), "a full room")
    workers = await pids(server)
    async with Talker(staying, "ada") as ada, Pulse.of(watcher) as pulse:
        server.signal(signal.SIGKILL, workers[dying.worker])
        killed = time.monotonic()
        assert (await dying.closed())[0] == 1006
        await eventually(lambda: _new_worker(server, workers), "a new worker", REPLACED)
        replaced = time.monotonic()
        await eventually(lambda: _status(server, room, 101), "a place in the room", FORGOTTEN)
        forgotten = time.monotonic()
        ada.talking = False
        await eventually(lambda: not ada.unanswered, "all answers")
    figures.info(
        "worker killed: replaced after %.2f s, members forgotten after %.2f s, slowest ping of others %.3f s",
        replaced - killed,
        forgotten - killed,
        pulse.slowest,
    )
    assert ada.with_answer(ACCEPTED) == ada.said.keys() == ada.heard.keys()
    assert max(pulse.slowest, ada.slowest_answer) < AT_ONCE
    assert len(await ask(server, "stats")) == 2


async def test_workers_end_without_their_supervisor(redis_here, start_server, connect):
    """SIGKILL of the supervisor: the workers say 1001 and end; nothing is left on the port."""
    server = start_server(redis_here.url, workers=2)
    clients = await on_each_worker(server, lambda: connect(server.ws()))
    workers = server.workers()
    server.kill()
    killed = time.monotonic()
    assert {(await client.closed())[0] for client in clients} == {1001}
    await eventually(lambda: not any(alive(pid) for pid in workers), "no worker left")
    figures.info("supervisor killed: workers ended after %.2f s", time.monotonic() - killed)
    with pytest.raises(ConnectionRefusedError):
        await RawSocket.open(server.port)


async def test_a_version_that_does_not_start(redis_here, start_server, connect, tmp_path):
    """SIGHUP with a broken version: the old workers stay. When one of them dies, the others serve on, until
    the version is mended and SIGHUP puts it in their place."""
    broken = tmp_path / "broken"
    server = start_server(
        redis_here.url, workers=2, settings="tests.fault_settings", env={"FAULT_BROKEN": str(broken)}
    )
    dying, staying = await on_each_worker(server, lambda: connect(server.ws()))
    workers = await pids(server)
    broken.touch()
    server.signal(signal.SIGHUP)
    await asyncio.to_thread(server.wait_for_output, "old workers stay")
    for client in (dying, staying):
        await client.round_trip()
    server.signal(signal.SIGKILL, workers[dying.worker])
    await eventually(
        lambda: server.output().count("does not start, made") >= 6 or not server.running, "attempts", 20
    )
    await staying.round_trip()
    broken.unlink()
    server.signal(signal.SIGHUP)
    assert (await staying.closed(10))[0] == 1001
    await eventually(lambda: _new_worker(server, workers), "a new worker")


async def test_a_rolling_restart_under_traffic(redis_here, start_server, room):
    """SIGHUP: every worker is replaced; clients that come back after 1001 go on chatting, none misses an
    accepted message while it is connected, and the port answers all the time."""
    server = start_server(redis_here.url, workers=2)
    before = set(server.workers())
    rooms = [f"{room}-{number}" for number in range(2)]
    members = [Returning(server.ws(rooms[number % 2]), f"member{number}") for number in range(12)]
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member)
        await eventually(lambda: all(len(m.accepted) > 10 for m in members), "chatting", 10)
        health = await stack.enter_async_context(Pulse(lambda: _health(server), every=0))
        server.signal(signal.SIGHUP)
        began = time.monotonic()
        await eventually(
            lambda: len(server.workers()) == 2 and not before & set(server.workers()), "new workers", 30
        )
        took = time.monotonic() - began
        marks = [len(m.accepted) for m in members]
        await eventually(
            lambda: all(len(m.accepted) > mark + 20 for m, mark in zip(members, marks, strict=True)),
            "chatting on new workers",
            10,
        )
        for member in members:
            member.talking = False
        silent = time.monotonic()
        await eventually(lambda: time.monotonic() - silent > 0.6, "the last messages")
    lost = missed(members[::2]) + missed(members[1::2])
    refusals = [status for member in members for status in member.refusals]
    gaps = [
        after.began - before.ended
        for member in members
        for before, after in zip(member.stays, member.stays[1:], strict=False)
    ]
    unanswered = [answer for answer in health.answers if answer != 200]
    figures.info(
        "rolling restart: %.2f s, %d messages accepted, %d lost, refusals %s, longest absence %.2f s, "
        "health asked %d times: not answered %s, slowest %.3f s",
        took,
        sum(len(member.accepted) for member in members),
        len(lost),
        refusals,
        max(gaps),
        len(health.answers),
        unanswered,
        health.slowest,
    )
    assert lost == []
    assert all(len(member.stays) > 1 for member in members)
    assert {stay.code for member in members for stay in member.stays[:-1]} == {1001}
    assert all(member.connected for member in members)
    assert set(refusals) <= {503}
    assert unanswered == []
    assert max(gaps) < 2
    assert not [error for member in members for error in member.errors]


async def _status(server: ChatServer, room: str, status: int) -> bool:
    raw = await RawSocket.open(server.port)
    try:
        return (await raw.handshake(f"/api/chat-api/ws/{room}")).status == status
    except (OSError, EOFError):
        return False
    finally:
        await raw.close()


async def _new_worker(server: ChatServer, known: dict[str, int]) -> bool:
    """Whether a worker that was not known answers a handshake."""
    raw = await RawSocket.open(server.port)
    try:
        response = await raw.handshake()
        welcome = (await raw.read_frame()).payload.decode()
    finally:
        await raw.close()
    return response.status == 101 and not any(f'"client_id":"{worker}' in welcome for worker in known)


async def _health(server: ChatServer) -> int:
    """The status of GET health on a new connection; 0 where it was not answered, -1 where it was refused."""
    try:
        raw = await RawSocket.open(server.port)
    except OSError:
        return -1
    try:
        await raw.send(b"GET /api/chat-api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return (await raw.read_response()).status
    except (OSError, EOFError):
        return 0
    finally:
        await raw.close()
