"""Section "Envelope" of the wire contract: each message type, and each bad input."""

import json
import re

import pytest

from tests.harness.raw import BINARY, TEXT, RawSocket

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UTC_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def nested(levels: int) -> str:
    """A chat message that is ``levels`` deep, the envelope and its data counted."""
    return '{"type":"chat","data":{"content":"x","deep":' + "[" * (levels - 2) + "]" * (levels - 2) + "}}"


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
        "limits": {"max_message_bytes": 65536, "send_buffer": 256, "presence_limit": 100},
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
    """An id that is no text of at most 128 characters is an error, and the message is not delivered."""
    client = await connect(server.ws(room))
    await client.send_chat("hello", id=ident)
    await client.expect(type="error", data={"code": "invalid_message", "ref": None})
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


# --- bad input: one error each, and the next message is served ------------------------------------

BAD = {
    "empty frame": ("", "invalid_json"),
    "no JSON": ("hello", "invalid_json"),
    "half a JSON": ('{"type":"chat"', "invalid_json"),
    "two messages": ('{"type":"ping"}{"type":"ping"}', "invalid_json"),
    "blank": ("   ", "invalid_json"),
    "a byte order mark": ('\ufeff{"type":"ping"}', "invalid_json"),
    "a control character in a text": ('{"type":"chat","data":{"content":"\x01"}}', "invalid_json"),
    "a comment": ('{"type":"ping"} // hi', "invalid_json"),
    "NaN": ('{"type":"chat","data":{"content":"x","n":NaN}}', "invalid_json"),
    "Infinity": ('{"type":"chat","data":{"content":"x","n":-Infinity}}', "invalid_json"),
    "a number beyond a double": ('{"type":"chat","data":{"content":"x","n":1e999}}', "invalid_json"),
    "a number beyond 64 bits": (f'{{"type":"chat","data":{{"content":"x","n":{2**64}}}}}', "invalid_json"),
    "a negative one": (f'{{"type":"chat","data":{{"content":"x","n":{-(2**63) - 1}}}}}', "invalid_json"),
    "a huge one in a list": (f'{{"type":"chat","data":{{"content":"x","n":[[{10**30}]]}}}}', "invalid_json"),
    "a huge id": (f'{{"type":"ping","id":{2**64}}}', "invalid_json"),
    "5,000 digits": ('{"type":"ping","data":' + "9" * 5000 + "}", "invalid_json"),
    "a lone high surrogate": (r'{"type":"chat","data":{"content":"\ud800"}}', "invalid_json"),
    "a lone low surrogate": (r'{"type":"chat","data":{"content":"\udc00x"}}', "invalid_json"),
    "surrogates turned round": (r'{"type":"chat","data":{"content":"\udc00\ud800"}}', "invalid_json"),
    "a surrogate in a key": (r'{"type":"chat","data":{"content":"x","\ud800":1}}', "invalid_json"),
    "a surrogate in the id": (r'{"type":"chat","id":"\ud800","data":{"content":"x"}}', "invalid_json"),
    "an array": ('[{"type":"ping"}]', "invalid_message"),
    "a text": ('"ping"', "invalid_message"),
    "a number": ("7", "invalid_message"),
    "null": ("null", "invalid_message"),
    "an empty object": ("{}", "invalid_message"),
    "no type": ('{"data":{"content":"x"}}', "invalid_message"),
    "type null": ('{"type":null}', "invalid_message"),
    "type number": ('{"type":1}', "invalid_message"),
    "type list": ('{"type":["chat"]}', "invalid_message"),
    "type in other case": ('{"type":"Chat","data":{"content":"x"}}', "unknown_type"),
    "type empty": ('{"type":""}', "unknown_type"),
    "an unknown type": ('{"type":"shout"}', "unknown_type"),
    "the server's types": ('{"type":"system","data":{"event":"welcome"}}', "unknown_type"),
    "a method's name": ('{"type":"websocket_disconnect"}', "unknown_type"),
    "another method's name": ('{"type":"close"}', "unknown_type"),
    "a special name": ('{"type":"__class__"}', "unknown_type"),
    "a layer event": ('{"type":"realtime.frame","data":"x"}', "unknown_type"),
    "room number": ('{"type":"chat","room":7,"data":{"content":"x"}}', "invalid_message"),
    "no data": ('{"type":"chat"}', "invalid_message"),
    "data null": ('{"type":"chat","data":null}', "invalid_message"),
    "data text": ('{"type":"chat","data":"x"}', "invalid_message"),
    "data list": ('{"type":"chat","data":["x"]}', "invalid_message"),
    "no content": ('{"type":"chat","data":{}}', "invalid_message"),
    "content empty": ('{"type":"chat","data":{"content":""}}', "invalid_message"),
    "content number": ('{"type":"chat","data":{"content":7}}', "invalid_message"),
    "content null": ('{"type":"chat","data":{"content":null}}', "invalid_message"),
    "content list": ('{"type":"chat","data":{"content":["x"]}}', "invalid_message"),
    "33 levels": (nested(33), "invalid_message"),
    "33 levels of objects": (
        '{"type":"ping","data":' + '{"a":' * 32 + "1" + "}" * 32 + "}",
        "invalid_message",
    ),
    "33 levels in an unknown key": (
        '{"type":"ping","x":' + "[" * 32 + "]" * 32 + "}",
        "invalid_message",
    ),
    "20,000 levels": ('{"type":"ping","data":' + "[" * 20_000 + "]" * 20_000 + "}", "invalid_message"),
    "30,000 levels left open": ("[" * 30_000, "invalid_message"),
    "another room": ('{"type":"chat","room":"elsewhere","data":{"content":"x"}}', "not_in_room"),
    "no room's name": ('{"type":"chat","room":"","data":{"content":"x"}}', "not_in_room"),
    "a binary frame": (b'{"type":"ping"}', "invalid_message"),
    "an empty binary frame": (b"", "invalid_message"),
}


@pytest.mark.parametrize(("sent", "code"), BAD.values(), ids=BAD.keys())
async def test_a_bad_message_gets_one_error_and_the_next_is_served(server, connect, room, sent, code):
    """One `error` with the code, words and a null ref; nobody else hears of it; the socket serves on."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    await ada.send(sent)
    await ada.send_chat("next", id="next")
    for client in (ada, bob):
        await client.expect(type="chat", data={"content": "next"})
    errors = await ada.all(type="error")
    assert len(errors) == 1, errors
    assert errors[0]["data"]["code"] == code
    assert errors[0]["data"]["ref"] is None
    assert errors[0]["data"]["message"].endswith(".")
    assert [frame["data"]["content"] for frame in await bob.all(type="chat")] == ["next"]
    assert await bob.all(type="error") == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "shout"},
        {"type": "chat"},
        {"type": "chat", "room": "elsewhere", "data": {"content": "x"}},
        {"type": "chat", "room": 7, "data": {"content": "x"}},
        {"type": 7},
        {},
    ],
)
async def test_an_error_refers_to_the_messages_id(server, connect, room, message):
    """`ref` is the bad message's own id where it can be read."""
    client = await connect(server.ws(room))
    await client.send({**message, "id": "m-1"})
    await client.expect(type="error", data={"ref": "m-1"})


@pytest.mark.parametrize(
    "text",
    [
        nested(32),
        '{"type":"chat","data":{"content":"' + "[{" * 100 + '"}}',
        r'{"type":"chat","data":{"content":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\"}}',
        '{"type":"chat","data":{"content":"x","wide":[' + "[]," * 100 + "[]]}}",
        '{"type":"shout","type":"chat","data":1,"data":{"content":"the last of two keys counts"}}',
        r'{"type":"\u0063hat","data":{"content":"\ud83d\ude00 \/ \u0000"}}',
        ' \t\r\n{ "type" : "chat" , "data" : { "content" : "spaced" } } \n',
        '{"type":"chat","data":{"content":" "}}',
        '{"type":"chat","data":{"content":"x","n":18446744073709551615,"m":-9223372036854775808,"z":-0}}',
        '{"type":"chat","data":{"content":"x","f":1e308,"tiny":1e-400}}',
    ],
    ids=lambda text: text[:40],
)
async def test_what_looks_odd_and_is_right_is_delivered(server, connect, room, text):
    """32 levels, brackets in texts, doubled keys, escapes, white space, the widest numbers: valid JSON."""
    client = await connect(server.ws(room))
    await client.send(text)
    frame = await client.expect(type="chat")
    assert frame["data"]["content"] == json.loads(text)["data"]["content"]
    await client.nothing(type="error")


async def test_a_flood_of_bad_messages_gets_an_error_each(server, connect):
    """A hundred bad frames get a hundred errors, in order, and the socket lives."""
    client = await connect(server.ws())
    for number in range(100):
        await client.send({"type": "shout", "id": f"{number}"})
    errors = await client.take(100, type="error")
    assert [error["data"]["ref"] for error in errors] == [f"{number}" for number in range(100)]
    await client.nothing(type="error")


async def test_frames_of_one_connection_are_answered_in_order(server, connect, room):
    """Replies come in the order of what they answer, good and bad mixed."""
    client = await connect(server.ws(room))
    for number in range(20):
        await client.send({"type": "ping" if number % 2 else "shout", "id": f"{number}"})
    answers = [
        frame["data"]["ref"] if frame["type"] == "error" else frame["id"]
        for frame in [await client.next() for _ in range(20)]
    ]
    assert answers == [f"{number}" for number in range(20)]


async def test_messages_in_one_packet_are_all_served(server, room):
    """Several frames in one TCP segment, whole and cut anywhere, are each a message."""
    from tests.harness.raw import frame

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
