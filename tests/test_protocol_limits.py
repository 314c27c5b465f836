"""Section "Limits and close codes" of the wire contract: sizes and framing, byte by byte."""

import json

import pytest

from chat.realtime.testing.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, header
from tests.kit import RawSocket, all_heard, wait_until

LARGEST = 65_536
PATH = "/api/chat-api/ws"
MASK_KEY = b"\x01\x02\x03\x04"


def chat_of(size: int, filler: str = "x") -> bytes:
    """A chat message of exactly ``size`` bytes."""
    empty = json.dumps({"type": "chat", "id": "big", "data": {"content": ""}}).encode()
    content = (filler * size).encode()[: size - len(empty)].decode(errors="ignore")
    content += "x" * (size - len(empty) - len(content.encode()))
    message = json.dumps(
        {"type": "chat", "id": "big", "data": {"content": content}}, ensure_ascii=False
    ).encode()
    assert len(message) == size
    return message


async def upgraded(server, room) -> RawSocket:
    return await RawSocket.upgraded(server.port, f"{PATH}/{room}")


async def send_fragments(raw: RawSocket, payload: bytes, sizes: list[int]) -> None:
    """Send ``payload`` as one message in fragments of those sizes."""
    opcode = TEXT
    for number, size in enumerate(sizes):
        part, payload = payload[:size], payload[size:]
        await raw.send_frame(opcode, part, fin=number == len(sizes) - 1)
        opcode = CONTINUATION


def memory_of(server) -> int:
    """Resident bytes of all workers."""
    total = 0
    for pid in server.workers():
        with open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * 4096
    return total


# --- 65,536 is the largest ----------------------------------------------------------------------------


@pytest.mark.parametrize("filler", ["x", "ü", "😀"])
async def test_the_largest_message_is_delivered(server, connect, room, filler):
    """65,536 bytes, counted as bytes and not as characters, reach the others."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    message = chat_of(LARGEST, filler).decode()
    await ada.send(message)
    frame = await bob.expect(type="chat")
    assert frame["data"] == json.loads(message)["data"]
    await ada.expect(type="ack", data={"ref": "big"})


@pytest.mark.parametrize("filler", ["x", "ü", "😀"])
async def test_one_byte_more_closes_with_1009(server, connect, room, filler):
    """65,537 bytes close the sender with 1009; nobody hears the message, the others stay."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    await ada.send(chat_of(LARGEST + 1, filler).decode())
    assert (await ada.closed())[0] == 1009
    await all_heard(server, bob)
    await bob.nothing(type="chat")


@pytest.mark.parametrize(
    "sizes",
    [[LARGEST - 1, 1], [1, LARGEST - 1], [16_384] * 4, [0, LARGEST, 0], [1024] * 64, [0] * 50 + [LARGEST]],
    ids=lambda sizes: f"{len(sizes)} fragments",
)
async def test_the_largest_message_in_fragments_is_delivered(server, connect, room, sizes):
    """65,536 bytes in fragments, empty ones among them, are one message."""
    bob, raw = await connect(server.ws(room)), await upgraded(server, room)
    await send_fragments(raw, chat_of(LARGEST), sizes)
    assert len((await bob.expect(type="chat"))["data"]["content"]) > 65_000
    await raw.close()


@pytest.mark.parametrize(
    "sizes",
    [[LARGEST, 1], [1, LARGEST], [16_384] * 4 + [1], [LARGEST, 0, 1], [1024] * 65],
    ids=lambda sizes: f"{len(sizes)} fragments",
)
async def test_one_byte_more_in_fragments_closes_with_1009(server, connect, room, sizes):
    """65,537 bytes close with 1009 however they are cut."""
    bob, raw = await connect(server.ws(room)), await upgraded(server, room)
    payload = chat_of(LARGEST + 1) if sum(sizes) == LARGEST + 1 else b"x" * sum(sizes)
    await send_fragments(raw, payload, sizes)
    assert await raw.expect_close() == 1009
    await all_heard(server, bob)
    await bob.nothing(type="chat")
    await raw.close()


async def test_a_binary_message_has_the_same_limit(server, room):
    """A binary frame that is too big closes with 1009; one that is not is a bad message."""
    raw = await upgraded(server, room)
    await raw.send_frame(BINARY, bytes(LARGEST))
    while (answer := json.loads((await raw.read_frame()).payload))["type"] == "presence":
        pass
    assert answer["data"]["code"] == "invalid_message"
    await raw.send_frame(BINARY, bytes(LARGEST + 1))
    assert await raw.expect_close() == 1009
    await raw.close()


@pytest.mark.parametrize("claimed", [LARGEST + 1, 2**20, 2**40, 2**63 - 1])
@pytest.mark.parametrize("fin", [True, False])
async def test_a_header_that_claims_too_much_closes_at_once(server, room, claimed, fin):
    """1009 comes on the header alone, before any of the payload."""
    raw = await upgraded(server, room)
    await raw.send(header(TEXT, claimed, fin=fin) + MASK_KEY)
    assert await raw.expect_close() == 1009
    await raw.close()


async def test_a_later_fragment_that_claims_too_much_closes_at_once(server, room):
    """A continuation is refused by what its header would add up to."""
    raw = await upgraded(server, room)
    await raw.send_frame(TEXT, b"x" * 65_000, fin=False)
    await raw.send(header(CONTINUATION, 537) + MASK_KEY)
    assert await raw.expect_close() == 1009
    await raw.close()


async def test_what_exceeds_the_limit_is_not_buffered(server, room):
    """A client that goes on sending after 1009 is not read into memory, and is hung up on."""
    raw = await upgraded(server, room)
    before = memory_of(server)
    await raw.send(header(TEXT, 2**40) + MASK_KEY)
    assert await raw.expect_close() == 1009
    piece = bytes(2**20)
    try:
        for _ in range(48):
            await raw.send(piece)
    except OSError:
        pass  # hung up on, as it should be
    except TimeoutError:
        pass  # or no longer read, until it is hung up on
    await raw.expect_end()
    assert memory_of(server) - before < 16 * 2**20
    await raw.close()


async def test_the_limit_can_be_lowered_while_it_runs(start_server, connect, room):
    """`max_message_bytes` of the settings is in force within 2 seconds, for open connections too."""
    server = start_server()
    client = await connect(server.ws(room))
    server.change_settings(max_message_bytes=1000)

    def announced() -> int:
        return _limit_of(server)

    wait_until(lambda: announced() == 1000, "the new limit", 2.5)
    await client.send(chat_of(1000).decode())
    await client.expect(type="chat")
    await client.send(chat_of(1001).decode())
    assert (await client.closed())[0] == 1009


def _limit_of(server) -> int:
    from websockets.sync.client import connect

    with connect(server.ws(), compression=None) as socket:
        return json.loads(socket.recv())["data"]["limits"]["max_message_bytes"]


# --- the rest of RFC 6455 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (lambda raw: raw.send_frame(TEXT, b"{}", mask=False), 1002),
        (lambda raw: raw.send_frame(TEXT, b"{}", rsv=4), 1002),
        (lambda raw: raw.send_frame(TEXT, b"{}", rsv=1), 1002),
        (lambda raw: raw.send_frame(0x3, b"x"), 1002),
        (lambda raw: raw.send_frame(0xB, b"x"), 1002),
        (lambda raw: raw.send_frame(CONTINUATION, b"x"), 1002),
        (lambda raw: raw.send_frame(PING, b"x" * 126), 1002),
        (lambda raw: raw.send_frame(PING, b"x", fin=False), 1002),
        (lambda raw: raw.send_frame(CLOSE, b"\x03"), 1002),
        (lambda raw: raw.send_frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        (lambda raw: raw.send_frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
        (lambda raw: raw.send_frame(TEXT, b"\xff\xfe"), 1007),
        (lambda raw: raw.send_frame(TEXT, b'{"type":"chat","data":{"content":"\xc3"}}'), 1007),
        (lambda raw: raw.send_frame(TEXT, b"\xed\xa0\x80"), 1007),
        (lambda raw: raw.send_frame(TEXT, b"\xc3"), 1007),
    ],
    ids=[
        "no mask",
        "rsv1",
        "rsv3",
        "opcode 3",
        "opcode 11",
        "continuation of nothing",
        "big ping",
        "ping in fragments",
        "half a close code",
        "close code 999",
        "close code 1005",
        "no UTF-8",
        "UTF-8 cut off",
        "an encoded surrogate",
        "half a character",
    ],
)
async def test_what_breaks_the_protocol_closes_with_its_code(server, connect, room, what, code):
    """1002 for broken frames, 1007 for text that is no UTF-8; nobody else notices."""
    bob, raw = await connect(server.ws(room)), await upgraded(server, room)
    await what(raw)
    assert await raw.expect_close() == code
    await raw.expect_end()
    await raw.close()
    await bob.nothing(type="chat")


async def test_a_character_may_be_cut_by_a_fragment(server, connect, room):
    """UTF-8 is checked over the whole message, not over its fragments."""
    bob, raw = await connect(server.ws(room)), await upgraded(server, room)
    message = '{"type":"chat","data":{"content":"ü😀"}}'.encode()
    await send_fragments(raw, message, [1] * len(message))
    await bob.expect(type="chat", data={"content": "ü😀"})
    await raw.close()


async def test_a_native_ping_is_answered_between_fragments(server, connect, room):
    """A ping frame in the middle of a fragmented message gets its pong, and the message is whole."""
    bob, raw = await connect(server.ws(room)), await upgraded(server, room)
    message = chat_of(1000)
    await raw.send_frame(TEXT, message[:500], fin=False)
    await raw.send_frame(PING, b"are you there")
    while (answer := await raw.read_frame()).opcode != PONG:
        pass
    assert answer.payload == b"are you there"
    await raw.send_frame(CONTINUATION, message[500:])
    await bob.expect(type="chat")
    await raw.close()


@pytest.mark.parametrize("payload", [b"", (1000).to_bytes(2, "big") + b"bye", (4999).to_bytes(2, "big")])
async def test_a_close_frame_is_answered_and_the_line_ends(server, payload):
    """The server echoes the code, then hangs up."""
    raw = await RawSocket.upgraded(server.port, PATH)
    await raw.send_frame(CLOSE, payload)
    answer = await raw.read_frame()
    assert answer.opcode == CLOSE
    assert answer.payload[:2] in (payload[:2], (1000).to_bytes(2, "big"))
    await raw.expect_end()
    await raw.close()
