"""Who lives, how far away, and who takes too long: with a heartbeat of half a second and a limit of two."""

import asyncio
import contextlib
import json
import signal
import struct

import pytest

from chat.realtime.heartbeat import Step, decide
from chat.realtime.testing.raw import CLOSE, CONTINUATION, PING, PONG, TEXT, frame, header
from tests.kit import ChatServer, QuietSocket, RawSocket, eventually

PINGED = "/test/pinged"
UNLIMITED = {"MESSAGE_RATE": "0", "BYTES_RATE": "0"}
TIMES = ("--ping-interval", "0.5", "--ping-timeout", "1.5")
LIMIT = 2.0  # seconds of silence until a peer is gone
LATER = LIMIT + 2.5  # seconds after which every heartbeat has had its time


@pytest.fixture(scope="module")
def server():
    """One worker, two seconds for everything."""
    env = UNLIMITED | {"READ_TIMEOUT": "2", "WRITE_TIMEOUT": "2"}
    server = ChatServer(None, env=env, arguments=TIMES, settings="tests.settings")
    try:
        yield server.start()
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture
async def raw(server):
    """A socket of ours at `/test/pinged`, that answers no ping unless told to."""
    raw = await RawSocket.open(server.port)
    assert (await raw.handshake(PINGED)).status == 101
    yield raw
    await raw.close()


async def rtt_of(raw: RawSocket) -> float | None:
    await raw.send_json({"type": "rtt"})
    while (seen := await raw.read_frame()).opcode != TEXT:
        pass
    return json.loads(seen.payload)["data"]


async def next_ping(raw: RawSocket) -> bytes:
    while (seen := await raw.read_frame()).opcode != PING:
        assert seen.opcode != CLOSE, seen
    return seen.payload


# --- the decision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "asked", "step"),
    [
        (100, 90, Step.NOTHING),
        (100, 75.1, Step.NOTHING),
        (100, 75, Step.PING),  # a busy peer is asked too, to measure the way
        (70, 60, Step.PING),
        (70, 71, Step.NOTHING),  # asked, and has time to answer
        (41, 66, Step.NOTHING),
        (40, 66, Step.GONE),
        (40, 99.5, Step.NOTHING),  # asked only now: it was we who stood still
        (0, 0, Step.PING),  # silent for ever, and never asked
    ],
)
def test_what_a_peer_has_coming(seen, asked, step):
    """At second 100, with pings each 25 and an end after 60."""
    assert decide(100, seen, asked, 25, 60) is step


def test_a_dead_peer_is_gone_in_time_whatever_the_settings():
    """Looked at each second, for all intervals up to half the timeout: never before it, at most a second
    after."""
    for timeout in (2, 10, 58):
        for interval in (0.5, 1, timeout / 3, timeout / 2):
            now, asked = 0.0, 0.0
            while (step := decide(now, 0.0, asked, interval, timeout)) is not Step.GONE:
                asked = now if step is Step.PING else asked
                now += 1
                assert now < timeout + 3
            assert timeout <= now <= timeout + 1


# --- round-trip time -------------------------------------------------------------------------------------


async def test_the_way_there_and_back_is_measured(raw):
    """Nothing is known before the first answered ping; then what the client took to answer, each time
    anew."""
    assert await rtt_of(raw) is None
    payload = await next_ping(raw)
    await asyncio.sleep(0.4)
    await raw.send_frame(PONG, payload)
    first = await rtt_of(raw)
    assert 0.4 <= first < 1.5
    await raw.send_frame(PONG, await next_ping(raw))
    second = await rtt_of(raw)
    assert 0 <= second < 0.3


async def test_a_pong_that_answers_nothing_measures_nothing(raw):
    """Unasked, invented and repeated pongs are signs of life, and tell of no distance."""
    await raw.send_frame(PONG)
    await raw.send_frame(PONG, struct.pack("!d", 0.0))
    payload = await next_ping(raw)
    await raw.send_frame(PONG, payload[:-1] + bytes([payload[-1] ^ 1]))
    assert await rtt_of(raw) is None
    await raw.send_frame(PONG, payload)
    measured = await rtt_of(raw)
    await raw.send_frame(PONG, payload)
    assert await rtt_of(raw) == measured


async def test_a_busy_client_is_measured_too(raw):
    """One that never falls silent is pinged all the same."""
    payloads = []
    async with asyncio.timeout(5):
        while not payloads:
            await raw.send_json({"type": "rtt"})
            seen = await raw.read_frame()
            if seen.opcode == PING:
                payloads.append(seen.payload)
    await raw.send_frame(PONG, payloads[0])
    await rtt_of(raw)  # the answer to the last question of above
    assert await rtt_of(raw) is not None


async def test_operators_see_it(start_server, connect, redis):
    """The list of connections tells the round-trip time in seconds."""
    server = start_server(redis.url, arguments=TIMES)
    client = await connect(server.ws())

    async def measured() -> bool:
        await client.round_trip()
        table = await asyncio.to_thread(server.command, "chat_connections", "--json")
        (found,) = [c for c in json.loads(table.stdout)["connections"] if c["id"] == client.id]
        return found["rtt"] is not None and 0 <= found["rtt"] < 1

    await eventually(measured, "a measured way", 10)


# --- application pings -----------------------------------------------------------------------------------


async def test_the_server_sends_ping_messages_where_it_is_told_to(start_server):
    """With APP_PING_INTERVAL each client gets `ping`; its `pong` with the same id tells the way."""
    server = start_server(env={"APP_PING_INTERVAL": "1"}, settings="tests.settings")
    raw = await RawSocket.open(server.port)
    assert (await raw.handshake(PINGED)).status == 101
    ping = json.loads((await raw.read_frame()).payload)
    assert ping["type"] == "ping"
    await asyncio.sleep(0.3)
    await raw.send_json({"type": "pong", "id": "another"})
    assert await rtt_of(raw) is None
    await raw.send_json({"type": "pong", "id": ping["id"]})
    assert 0.3 <= await rtt_of(raw) < 1.5
    again = json.loads((await raw.read_frame()).payload)
    assert again["type"] == "ping"
    assert again["id"] != ping["id"]
    await raw.close()


async def test_by_default_there_are_no_ping_messages(raw):
    """Only protocol pings come."""
    for _ in range(3):
        await raw.send_frame(PONG, await next_ping(raw))


# --- the dead --------------------------------------------------------------------------------------------


async def test_a_half_open_peer_leaves_its_rooms(server, connect, room):
    """One that answers nothing is closed with 4408, and the others see it go."""
    dead = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    alive = await connect(server.ws(room))
    assert await dead.expect_close(LATER) == 4408
    await alive.expect(type="presence", data={"status": "offline"}, limit=LATER)
    await dead.close()


# --- the living ------------------------------------------------------------------------------------------


async def test_a_slow_upload_is_no_death(server):
    """Who sends a byte each third of a second, and answers no ping, lives, up to the message's own
    deadline."""
    raw = await RawSocket.open(server.port)
    assert (await raw.handshake(PINGED)).status == 101
    wire = frame(TEXT, json.dumps({"type": "rtt"}).encode())
    for message in range(4):
        for at in range(0, len(wire), 6):
            await raw.send(wire[at : at + 6])
            await asyncio.sleep(0.25)
        while (seen := await raw.read_frame()).opcode != TEXT:
            assert seen.opcode == PING, (message, seen)
    await raw.close()


async def test_a_client_whose_handler_works_is_not_cut(raw):
    """While its 32 messages wait we don't read, so we can't hear it: the clock stands still."""
    await raw.send_json({"type": "work", "data": 4})
    await raw.send(frame(TEXT, b'{"type":"rtt"}') * 100)
    answers = 0
    while answers < 101:
        seen = await raw.read_frame(LATER)
        assert seen.opcode in (TEXT, PING), seen
        answers += seen.opcode == TEXT
    assert answers == 101


async def test_a_slow_reader_that_takes_something_is_not_cut(server, connect, room):
    """It takes a little of what waits each half second, says nothing, and gets all of it."""
    reader = await QuietSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    speaker = await connect(server.ws(room))
    text, count = "x" * 60_000, 150
    for _ in range(count):
        await speaker.send_chat(text)
        await speaker.expect(type="chat")
    loop = asyncio.get_running_loop()
    until, taken = loop.time() + LATER, 0
    while loop.time() < until:
        taken += len(await reader.read())
        await asyncio.sleep(0.2)
        await speaker.round_trip()
    assert taken < count * 60_000, "the reader was too fast for this test"
    while taken < count * 60_000:
        more = len(await reader.read())
        assert more, "the line ended"
        taken += more
    reader.close()


async def test_a_server_that_stood_still_cuts_nobody(server, connect):
    """After a pause of the worker longer than the limit, its clients are still there."""
    client = await connect(server.ws())
    await client.round_trip()
    (worker,) = server.workers()
    server.signal(signal.SIGSTOP, worker)
    try:
        await asyncio.sleep(LIMIT + 1)
    finally:
        server.signal(signal.SIGCONT, worker)
    reading = asyncio.create_task(client.socket.recv())
    await asyncio.sleep(LATER)
    assert not reading.done(), reading
    reading.cancel()
    await asyncio.wait({reading})
    await client.round_trip()


# --- deadlines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        frame(TEXT, b"x", fin=False),
        header(TEXT, 1000) + b"mask",
        b"\x81",
        frame(TEXT, b"x", fin=False) + frame(PING) * 3,
    ],
    ids=["a fragment", "a frame", "a header", "pings between"],
)
async def test_a_message_has_a_deadline(raw, start):
    """What is begun and not ended within two seconds closes with 4408, however many pings are answered."""
    await raw.send(start)
    began = asyncio.get_running_loop().time()
    while (seen := await raw.read_frame(LATER)).opcode != CLOSE:
        if seen.opcode == PING and start[:1] != b"\x81":
            await raw.send_frame(PONG, seen.payload)
    assert seen.close_code == 4408
    assert asyncio.get_running_loop().time() - began > LIMIT - 0.3


async def test_dripping_does_not_help(raw):
    """A fragment each third of a second: the message as a whole is too slow."""
    await raw.send_frame(TEXT, b"x", fin=False)
    drip = asyncio.create_task(_drip(raw))
    while (seen := await raw.read_frame(LATER)).opcode != CLOSE:
        pass
    drip.cancel()
    await asyncio.wait({drip})
    assert (seen.close_code, seen.payload[2:]) == (4408, b"the message took too long")


async def _drip(raw: RawSocket) -> None:
    while True:
        await asyncio.sleep(0.3)
        await raw.send_frame(CONTINUATION, b"y", fin=False)


async def test_who_takes_nothing_is_closed_although_it_speaks(start_server, connect, room):
    """With a policy that only drops, a client that sends and never reads is closed all the same."""
    server = start_server(env=UNLIMITED | {"WRITE_TIMEOUT": "2"})
    server.change_settings(slow_consumer_policy="drop_oldest", send_buffer=8)
    deaf = await QuietSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    speaker = await connect(server.ws(room))

    async def gone() -> bool:
        with contextlib.suppress(ConnectionError):  # it may be cut by now
            await deaf.send(frame(TEXT, b'{"type":"pong"}'))
        await speaker.send_chat("x" * 60_000)
        try:
            await speaker.expect(type="presence", data={"status": "offline"}, limit=0.1)
        except AssertionError:
            return False
        return True

    await eventually(gone, "the deaf client's end", 15)
    deaf.close()


async def test_a_goodbye_does_not_wait_for_ever(raw):
    """What was said before it is worked on first, but for two seconds at most."""
    await raw.send_json({"type": "work", "data": 20})
    await raw.send_frame(CLOSE, (1000).to_bytes(2, "big"))
    began = asyncio.get_running_loop().time()
    assert await raw.expect_close(LATER) == 1000
    assert 1.5 < asyncio.get_running_loop().time() - began < 4


@pytest.mark.parametrize(("size", "waits"), [("0", False), ("8192", True)])
async def test_the_systems_buffers_may_be_held_small(start_server, connect, room, redis, size, waits):
    """600 KB to a client that does not read: the system takes them, or with a small buffer most of them
    wait."""
    env = UNLIMITED | {"SOCKET_SEND_BUFFER": size}
    server = start_server(redis.url, env=env)
    quiet = await QuietSocket.upgraded(server.port, f"/api/chat-api/ws/{room}?name=quiet")
    speaker = await connect(server.ws(room))
    for _ in range(30):
        await speaker.send_chat("x" * 20_000)
        await speaker.expect(type="chat")
    table = await asyncio.to_thread(server.command, "chat_connections", "--json")
    (found,) = [one for one in json.loads(table.stdout)["connections"] if one["name"] == "quiet"]
    assert (found["queue_depth"] > 20) is waits
    quiet.close()
