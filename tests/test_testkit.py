"""The test kit does what its tests rely on."""

import asyncio
import time

import pytest
from websockets.exceptions import InvalidMessage

from chat.realtime.testing import Client as PlainClient
from chat.realtime.testing import NotSeen, Proxy
from tests.kit import ChatServer, Client, RawSocket, eventually, settings_left_alone


async def test_a_timeout_shows_what_came_and_kills_nothing(memory_server, connect, room):
    """An expectation that fails names what was meant, shows the frames seen; the socket works on."""
    client = await connect(memory_server.ws(room))
    await client.send_chat("tea")
    with pytest.raises(NotSeen) as failed:
        await client.expect(limit=0.2, type="notification")
    assert "no frame with {'type': 'notification'} in 0.2 s" in str(failed.value)
    assert '"content": "tea"' in str(failed.value)
    await client.expect(type="chat", data={"content": "tea"})
    await client.round_trip()


async def test_expectations_tell_frames_apart(memory_server, room):
    """By event, error code, absence, close code: each passes for what came, and fails for another."""
    client = await PlainClient.connect(memory_server.ws(room))
    await client.expect(event="welcome", data={"room": room})
    await client.send_json({"type": "dance", "id": "n1"})
    await client.expect_error("unknown_type", ref="n1")
    await client.send("{")
    with pytest.raises(NotSeen, match="no error unknown_type"):
        await client.expect_error("unknown_type")
    await client.expect_nothing(0.05, type="chat")
    await client.send({"type": "ping", "id": 1})
    with pytest.raises(NotSeen, match="should not have"):
        await client.expect_nothing(2, type="pong")
    client.send_raw(b"\xff\xff\xff\xff\xff\xff")
    with pytest.raises(NotSeen, match="closed with 1002"):
        await client.expect_close(1009)
    assert isinstance(await client.expect_close(1002), str)


async def test_a_dropped_line_is_a_reset(memory_server, room, connect):
    """`abort` leaves no close frame: the others see the client gone at once."""
    watcher = await connect(memory_server.ws(room))
    client = await Client.connect(memory_server.ws(room))
    await watcher.expect(type="presence", data={"status": "online"})
    client.abort()
    await watcher.expect(type="presence", data={"status": "offline"}, from_=client.id)
    await client.close()


async def test_a_client_that_stops_reading_holds_up_the_server(start_server, room):
    """What is sent to a client that does not read waits in the server; then it reads all of it."""
    server = start_server(None, env={"BYTES_RATE": "0", "MESSAGE_RATE": "0"})
    server.change_settings(slow_consumer_policy="drop_newest")
    client, talker = await Client.connect(server.ws(room)), await Client.connect(server.ws(room))
    client.stop_reading()
    words = "x" * 60_000

    def depth() -> int:
        found = server.get("/metrics")[2].decode()
        return int(float(found.split("\nrealtime_send_queue_messages ")[1].split()[0]))

    for _ in range(200):
        await talker.send_chat(words)
        await talker.expect(type="chat")
        if depth():
            break
    assert depth() > 0
    client.read_again()
    await client.round_trip()
    assert depth() == 0
    await client.close()
    await talker.close()


async def test_a_proxy_cuts_holds_and_slows(memory_server, room):
    """Through a proxy a line is reset, stands still, or creeps, and works again afterwards."""
    with Proxy(memory_server.port) as line:
        url = memory_server.ws(room).replace(str(memory_server.port), str(line.port), 1)
        client = await Client.connect(url)
        line.hold()
        await client.send({"type": "ping", "id": 1})
        await client.expect_nothing(0.1, type="pong")
        line.release()
        await client.expect(type="pong", id=1)
        line.slow(2000)
        began = time.monotonic()
        await client.send({"type": "ping", "id": 2, "data": "x" * 1000})
        await client.expect(type="pong", id=2)
        assert time.monotonic() - began > 0.3
        line.slow(None)
        line.cut()
        assert (await client.closed())[0] == 1006
        line.refuse()
        with pytest.raises((OSError, InvalidMessage)):
            await Client.connect(url)
        line.accept()
        again = await Client.connect(url)
        await again.round_trip()
        await again.close()


async def test_a_servers_clock_can_be_set(start_server, room):
    """A minute passes in a moment: the silent client is parted with, the one that answers pings stays."""
    server: ChatServer = start_server(None, clock=True)
    silent = await RawSocket.upgraded(server.port)
    began = time.monotonic()
    server.advance(70)
    assert await silent.expect_close() == 4408
    assert time.monotonic() - began < 5
    await silent.close()


async def test_a_token_and_subprotocols_are_offered(memory_server):
    """The client's options end up in the handshake."""
    heard = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(InvalidMessage):
        await PlainClient.connect(f"ws://127.0.0.1:{port}/x", token="s3cret", subprotocols=["a", "b"])
    request = await heard
    assert "Authorization: Bearer s3cret\r\n" in request
    assert "Sec-WebSocket-Protocol: a, b\r\n" in request
    server.close()
    await eventually(lambda: not server.is_serving(), "the end")


def test_whoever_changes_shared_settings_is_told(settings):
    """A nested change of REALTIME in place fails where it was made, and is gone afterwards."""
    rate = settings.REALTIME["LIMITS"]["message_rate"]
    with pytest.raises(AssertionError, match=r"changed in place.*'message_rate': -1"), settings_left_alone():
        settings.REALTIME["LIMITS"]["message_rate"] = -1
    assert settings.REALTIME["LIMITS"]["message_rate"] == rate
    with settings_left_alone():
        pass
