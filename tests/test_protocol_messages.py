"""Section "Envelope" of the wire contract: each message type."""

import json
import re

import pytest

from chat.realtime.testing.raw import BINARY, TEXT, frame
from tests.kit import RawSocket

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UTC_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


# --- what the server says first ------------------------------------------------------------------


@pytest.mark.parametrize("in_room", [True, False])
async def test_welcome_is_the_first_frame(server, room, in_room):
    """The first frame is `system` `welcome`, with client id, room, limits and heartbeat."""
    raw = await RawSocket.open(server.port)
    await raw.handshake("/api/chat-api/ws" + (f"/{room}" if in_room else ""))
    frame = json.loads((await raw.read_frame()).payload)
    await raw.close()
    data = frame.pop("data")
    assert UUID.fullmatch(frame.pop("id"))
    assert UTC_SECONDS.fullmatch(frame.pop("timestamp"))
    expected_room = room if in_room else None
    assert frame == {"type": "system", "room": expected_room, "from": None}
    assert re.fullmatch(r"[0-9a-f]{32}", data.pop("client_id"))
    assert data == {
        "event": "welcome",
        "room": expected_room,
        "user": None,
        "limits": {
            "max_message_bytes": 65536,
            "send_buffer": 256,
            "presence_limit": 100,
            "rooms": 50,
            "message_rate": 0,
            "message_burst": 100,
        },
        "heartbeat": {"interval": 25, "timeout": 60},
    }


# --- chat ------------------------------------------------------------------------------------------


async def test_the_server_sets_id_sender_and_time_whatever_the_client_sent(server, connect, room):
    """`id`, `from`, `timestamp`, `user` are the server's; a client's own and unknown keys are left out."""
    client = await connect(server.ws(room))
    lies = {
        "id": "mine",
        "from": "somebody",
        "timestamp": "1999-01-01T00:00:00Z",
        "user": {"id": 1, "username": "admin"},
        "offset": 7,
        "from_": "x",
        "unknown": [1, 2],
    }
    await client.send_chat("hello", **lies)
    frame = await client.expect(type="chat")
    assert UUID.fullmatch(frame["id"])
    assert UTC_SECONDS.fullmatch(frame["timestamp"])
    assert frame == {
        "id": frame["id"],
        "type": "chat",
        "room": room,
        "from": client.id,
        "data": {"content": "hello"},
        "timestamp": frame["timestamp"],
    }


async def test_data_may_hold_more_and_is_passed_on(server, connect, room):
    """Further keys of `data`, of any JSON type, reach the receivers as they were."""
    client = await connect(server.ws(room))
    more = {"name": "Ada", "n": [1, -2, 3.5, 1e300, None, True, {}], "größe": "ß\u0000\n\u2028😀", "": {}}
    big = {"int": 2**64 - 1, "negative": -(2**63)}
    await client.send_chat("ünïcode 😀", data={**more, **big})
    frame = await client.expect(type="chat")
    assert frame["data"] == {"content": "ünïcode 😀", **more, **big}


async def test_every_receiver_gets_the_same_bytes(server, connect, room):
    """Sender and receivers, on whichever worker, get one message's bytes identical."""
    clients = [await connect(server.ws(room)) for _ in range(6)]
    await clients[0].send_chat("same", data={"b": 1, "a": 2.50, "name": "é"})
    for client in clients:
        await client.expect(type="chat")
    said = [text for client in clients for text in client.texts if '"chat"' in text]
    assert len(said) == len(clients)
    assert len(set(said)) == 1


async def test_a_room_may_be_named_or_left_out(server, connect, room):
    """A message may name its connection's room, say null, or leave it out: it goes to that room."""
    client = await connect(server.ws(room))
    for number, keys in enumerate([{}, {"room": None}, {"room": room}]):
        await client.send_chat(f"{number}", **keys)
        await client.expect(type="chat", room=room, data={"content": f"{number}"})


# --- ack -------------------------------------------------------------------------------------------


async def test_a_message_with_an_id_is_acknowledged(server, connect, room):
    """Who gave an id is told `ack` with that id as `ref` and the message's own; nobody else is."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    await ada.send_chat("hello", id="my-1")
    ack = await ada.expect(type="ack")
    message = await bob.expect(type="chat")
    assert ack["data"] == {"ref": "my-1", "id": message["id"]}
    assert ack["room"] == room
    await bob.nothing(type="ack")


async def test_a_message_without_an_id_is_not_acknowledged(server, connect, room):
    """Without an id, or with null for one, there is no ack."""
    client = await connect(server.ws(room))
    await client.send_chat("hello")
    await client.send_chat("hello", id=None)
    await client.take(2, type="chat")
    await client.nothing(type="ack")


@pytest.mark.parametrize("ident", [7, 1.5, True, [], {}, "x" * 129])
async def test_a_chat_messages_id_is_a_short_text(server, connect, room, ident):
    """An id that is no text of at most 128 characters is an error, and the message is not delivered. The
    error refers to a whole number all the same: it is what the client can find its message by."""
    client = await connect(server.ws(room))
    await client.send_chat("hello", id=ident)
    ref = ident if ident == 7 else None
    await client.expect(type="error", data={"code": "invalid_message", "ref": ref})
    await client.nothing(type="chat")


# --- ping ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {"id": "p1", "data": {"t": 1.25}},
        {"id": 7, "data": []},
        {"id": {"a": [1]}, "data": "text"},
        {"id": None, "data": None},
        {"id": "x", "data": 0},
    ],
)
async def test_a_ping_is_answered_with_its_id_and_data(server, connect, room, message):
    """`pong` has the ping's `id` and `data`, of whatever type, and goes to the sender only."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    await ada.send({"type": "ping", **message})
    pong = await ada.expect(type="pong")
    assert pong["data"] == message["data"]
    if message["id"] is not None:
        assert pong["id"] == message["id"]
    assert pong["from"] is None
    assert [frame for frame in await bob.all(type="pong") if frame["data"] == message["data"]] == []


async def test_a_ping_may_be_empty(server, connect):
    """A ping without id and data gets a pong."""
    client = await connect(server.ws())
    await client.send({"type": "ping"})
    await client.expect(type="pong", data={})


async def test_a_pong_is_accepted_in_silence(server, connect):
    """A client's `pong` is no error, and nothing answers it."""
    client = await connect(server.ws())
    await client.send({"type": "pong", "id": "1"})
    await client.nothing(type="error")
    assert [frame["type"] for frame in client.received] == ["system", "pong"]


# --- framing ------------------------------------------------------------------------------------------


async def test_messages_in_one_packet_are_all_served(server, room):
    """Several frames in one TCP segment, whole and cut anywhere, are each a message."""
    raw = await RawSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    frames = [frame(TEXT, json.dumps({"type": "ping", "id": n}).encode()) for n in range(10)]
    frames.insert(5, frame(BINARY, b"x"))
    stream = b"".join(frames)
    await raw.send(stream[:33])
    for start in range(33, len(stream), 7):
        await raw.send(stream[start : start + 7])
    answers = [json.loads((await raw.read_frame()).payload) for _ in range(11)]
    await raw.close()
    assert [answer["id"] for answer in answers if answer["type"] == "pong"] == list(range(10))
    assert answers[5]["type"] == "error"
