"""Handlers that fail, hang or cancel themselves, and a database that answers nothing, on a real server."""

import asyncio
import json
import logging
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import ChatServer, RawSocket, RedisServer, eventually, on_each_worker
from tests.traffic import Pulse

figures = logging.getLogger("tests.figures")

HANDLER, QUERY = 1.0, 1.0  # seconds that a handler and a database question have on this server
AT_ONCE = 0.5  # seconds


@pytest.fixture(scope="module")
def freeze_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """While this file exists, the server's database answers nothing."""
    flag = tmp_path_factory.mktemp("handlers") / "frozen"
    yield flag
    flag.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def faulty(freeze_database: Path) -> Iterator[ChatServer]:
    """Two workers with handlers that misbehave; their tracebacks are wanted."""
    redis = RedisServer().start()
    config = {"handler_timeout": HANDLER, "query_timeout": QUERY}
    server = ChatServer(
        redis.url,
        workers=2,
        settings="tests.fault_settings",
        env={"FAULT_CONFIG": json.dumps(config), "FAULT_FREEZE": str(freeze_database)},
    ).start()
    try:
        yield server
    finally:
        freeze_database.unlink(missing_ok=True)
        server.stop(allow_tracebacks=True)
        redis.stop()
        server.cleanup()
        redis.cleanup()


@pytest.fixture
def faults(faulty: ChatServer) -> str:
    return f"ws://127.0.0.1:{faulty.port}/faults/ws"


@pytest.mark.parametrize("kind", ["bug", "sleep", "thread", "cancel"])
async def test_a_handler_that_fails_or_hangs_is_answered(faulty, faults, connect, kind):
    """The client gets one `internal` error in time, with a number that is in the log beside nothing that the
    client said; its socket lives on, with the messages behind in order, and others notice nothing."""
    client = await connect(faults)
    bystanders = await on_each_worker(faulty, lambda: connect(faults))
    async with Pulse.of(await connect(faulty.ws())) as pulse:
        began = time.monotonic()
        await client.send({"type": kind, "data": 3, "id": "the-ref", "secret": "not for the log"})
        await client.send({"type": "echo", "id": "behind"})
        error = await client.expect(type="error")
        took = time.monotonic() - began
        await client.expect(type="echo", id="behind")
    figures.info("handler %s: answered after %.2f s, others' slowest ping %.3f s", kind, took, pulse.slowest)
    assert error["data"]["code"] == "internal"
    assert error["data"]["ref"] == "the-ref"
    number = re.search(r"error ([0-9a-f]{8})", error["data"]["message"])
    assert number, error
    log = faulty.output()
    assert f"message_failed error={number[1]} " in log
    assert f"type={kind} consumer=FaultConsumer connection={client.id}" in log
    assert "not for the log" not in log
    assert took < HANDLER + 1.5
    assert pulse.slowest < AT_ONCE
    for other in bystanders:
        await other.send({"type": "echo", "id": 1})
        await other.expect(type="echo", id=1)
        assert not [frame for frame in other.received if frame["type"] == "error"]


@pytest.mark.parametrize("path", ["exits", "exits-at-once"])
async def test_a_handler_that_exits_is_a_bug_of_its_own(faulty, connect, path):
    """`sys.exit()` in a handler, on its thread, in a middleware: one `internal` error with its number; in a
    stream a `stream.error`; in an event's method or in sending a line in the log. The socket and the workers
    live on."""
    workers = faulty.workers()
    client = await connect(f"ws://127.0.0.1:{faulty.port}/faults/{path}")
    for kind in ("in_handler", "in_thread", "in_middleware"):
        await client.send({"type": kind, "id": kind})
        error = await client.expect(type="error", data={"code": "internal", "ref": kind})
        number = re.search(r"error ([0-9a-f]{8})", error["data"]["message"])
        assert number, error
        line = f"message_failed error={number[1]} kind=SystemExit type={kind} "
        await eventually(lambda line=line: line in faulty.output(), line)
    await client.send({"type": "in_stream", "id": 1})
    await client.expect(type="stream.error", id=1, data={"code": "internal", "chunks": 1})
    for kind, name in (("in_event", "event_failed"), ("in_sending", "send_middleware_failed")):
        await client.send({"type": kind, "id": kind})
        line = f"{name} error="
        await eventually(lambda line=line: line in faulty.output(), line)
    await client.send({"type": "echo", "id": "behind"})
    await client.expect(type="echo", id="behind")
    assert faulty.workers() == workers


@pytest.mark.parametrize("place", ["authorize", "connect", "connected", "disconnect"])
async def test_exiting_around_messages_ends_one_socket(faulty, connect, place):
    """`sys.exit()` before the upgrade is a 500, after it a close with 1011, at the end a line in the log that
    names the consumer; others' sockets and the workers stay."""
    workers = faulty.workers()
    others = await on_each_worker(faulty, lambda: connect(f"ws://127.0.0.1:{faulty.port}/faults/ws"))
    seen = faulty.output().count("Exits called sys.exit(2)")
    raw = await RawSocket.open(faulty.port)
    response = await raw.handshake(f"/faults/exits?in={place}")
    assert response.status == (500 if place in ("authorize", "connect") else 101)
    if place == "connected":
        assert await raw.expect_close() == 1011
    await raw.close()
    await eventually(lambda: faulty.output().count("Exits called sys.exit(2)") > seen, "a line in the log")
    for other in others:
        await other.send({"type": "echo", "id": place})
        await other.expect(type="echo", id=place)
    assert faulty.workers() == workers


async def test_a_database_that_does_not_answer(faulty, freeze_database, connect, room):
    """Handshakes with a session are refused with 503 in time; anonymous ones, chatting, pings and health go
    on at once; when it answers again, so do handshakes."""
    user = await asyncio.to_thread(faulty.create_user, "ada")
    known = await on_each_worker(faulty, lambda: connect(faulty.ws(room)))
    freeze_database.touch()
    try:
        health = Pulse(lambda: asyncio.to_thread(faulty.get, "/api/chat-api/health"), every=0.1)
        async with Pulse.of(known[0]) as pulse, health:
            began = time.monotonic()
            signed_in = [_handshake(faulty, f"{room}", Cookie=user.cookie) for _ in range(3)]
            anonymous = [_handshake(faulty, name) for name in (room, f"{room}-new", f"{room}-newer")]
            answers = await asyncio.gather(*signed_in, *anonymous)
            took = time.monotonic() - began
            await known[1].send_chat("still here", id="accepted")
            await known[1].expect(type="ack")
        await known[0].expect(type="chat", data={"content": "still here"})
    finally:
        freeze_database.unlink()
    times = [took for _, took in answers]
    figures.info(
        "database frozen: %s within %.2f s, ping %.3f s, health %.3f s",
        [status for status, _ in answers],
        took,
        pulse.slowest,
        health.slowest,
    )
    assert [status for status, _ in answers] == [503] * 3 + [101] * 3
    assert max(times[:3]) < QUERY + 1
    assert max(times[3:]) < AT_ONCE
    assert max(pulse.slowest, health.slowest) < AT_ONCE
    assert {status for status, _, _ in health.answers} == {200}

    async def recovered() -> bool:
        found = await asyncio.gather(
            *[_handshake(faulty, room, Cookie=user.cookie, Origin=faulty.origin) for _ in range(4)]
        )
        return [status for status, _ in found] == [101] * 4

    await eventually(recovered, "signed-in handshakes again", 4)


async def test_a_worker_that_never_saw_its_settings_lets_nobody_in(start_server, tmp_path):
    """A server that starts while its database does not answer can't know whether a sign-in is required."""
    flag = tmp_path / "frozen"
    config = json.dumps({"query_timeout": 0.3})
    server = start_server(
        None, settings="tests.fault_settings", env={"FAULT_FREEZE": str(flag), "FAULT_CONFIG": config}
    )
    await asyncio.to_thread(server.change_settings, auth_required=True)
    flag.touch()
    server.signal(signal.SIGHUP)
    old = server.workers()
    await eventually(lambda: len(server.workers()) == 1 and server.workers() != old, "a new worker", 10)
    for room in ("", "any"):
        assert (await _handshake(server, room))[0] == 503
    flag.unlink()

    async def status() -> int | None:
        found = (await _handshake(server, ""))[0]
        return None if found == 503 else found

    assert await eventually(status, "an answer") == 401


async def _handshake(server: ChatServer, room: str, **headers: str) -> tuple[int, float]:
    """The status of a handshake, and how long it took."""
    raw = await RawSocket.open(server.port)
    began = time.monotonic()
    if "Cookie" in headers:
        headers.setdefault("Origin", server.origin)
    status = (await raw.handshake(f"/api/chat-api/ws/{room}".rstrip("/"), **headers)).status
    took = time.monotonic() - began
    await raw.close()
    return status, took
