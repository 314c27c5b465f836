"""Section "Envelope" of the wire contract: a bad message gets one `error`, and the next one is served."""

import json

import pytest


def nested(levels: int) -> str:
    """A chat message that is ``levels`` deep, the envelope and its data counted."""
    return '{"type":"chat","data":{"content":"x","deep":' + "[" * (levels - 2) + "]" * (levels - 2) + "}}"


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
    """Ninety bad frames get ninety errors, in order, and the socket lives."""
    client = await connect(server.ws())
    for number in range(90):
        await client.send({"type": "shout", "id": f"{number}"})
    errors = await client.take(90, type="error")
    assert [error["data"]["ref"] for error in errors] == [f"{number}" for number in range(90)]
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
