"""RFC 6455 and RFC 7692 at the echo endpoint, in the groups of the Autobahn test suite, frame by frame.

Each test's number is the group of that suite whose cases it stands for.
"""

import os
import zlib

import pytest

from chat.realtime.testing.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, header
from tests.echo_support import ECHO, RSV1, TAIL, Line, Packer, fragments, inflate, packed
from tests.kit import ChatServer, RawSocket

LARGEST = 65_536
LARGE_ECHO, LARGE = "/test/large", 1_000_000  # the same echo with a larger limit
SIZES = [0, 1, 125, 126, 127, 128, 65_535, LARGEST]
EURO = "€".encode()
GREEK = "κόσμε".encode()


@pytest.fixture(scope="module")
def echo_server():
    env = {"ECHO_ENDPOINT": "true", "MESSAGE_RATE": "0", "BYTES_RATE": "0"}
    server = ChatServer(None, env=env, settings="tests.settings")
    try:
        yield server.start()
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture
async def open_line(echo_server):
    """``await open_line(offer)``: a line to the echo, or to another at ``path``, closed after the test."""
    lines = []

    async def open_one(offer=None, path=ECHO):
        lines.append(await Line.open(echo_server, offer, path))
        return lines[-1]

    yield open_one
    for line in lines:
        await line.close()


@pytest.fixture
async def line(open_line):
    return await open_line()


async def test_without_the_setting_there_is_no_echo(memory_server, open_raw):
    """The endpoint exists only where the environment says ECHO_ENDPOINT=true."""
    answer = await (await open_raw(memory_server)).handshake(ECHO)
    assert (answer.status, answer.code) == (404, "not_found")
    assert memory_server.get(ECHO)[0] == 404


# --- 1: framing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", SIZES)
async def test_1_every_size_comes_back(line, opcode, size):
    """Text and binary messages of the sizes at which a frame's header changes."""
    payload = b"*" * size if opcode == TEXT else os.urandom(size)
    await line.send(frame(opcode, payload))
    await line.echoes(opcode, payload)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_1_a_message_may_come_in_parts_of_a_read(line, opcode):
    """A frame that comes by the byte, or in chops of 997, is the same frame."""
    short, long = b"x" * 130, b"y" * 20_000
    await line.drip(frame(opcode, short))
    await line.drip(frame(opcode, long), 997)
    await line.echoes(opcode, short)
    await line.echoes(opcode, long)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x81\xfe\x00\x7d",
        b"\x82\xff" + (65_535).to_bytes(8, "big"),
        b"\x82\xff" + (1 << 63).to_bytes(8, "big"),
    ],
    ids=["125 in 16 bits", "65,535 in 64 bits", "the top bit of 64"],
)
async def test_1_a_length_has_its_shortest_form(line, wire):
    """Other forms close with 1002 (RFC 6455 section 5.2)."""
    await line.send(wire + b"mask")
    await line.closes(1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING])
async def test_1_a_frame_without_a_mask_closes(line, opcode):
    """1002 (RFC 6455 section 5.1)."""
    await line.send(frame(opcode, b"x", mask=False))
    await line.closes(1002)


# --- 2: pings and pongs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe", b"z" * 125])
async def test_2_a_ping_is_answered_with_its_payload(line, payload):
    """Up to 125 bytes of anything."""
    await line.send(frame(PING, payload))
    assert (await line.read())[:2] == (PONG, payload)


async def test_2_a_large_ping_closes(line):
    """126 bytes: 1002, by the header alone."""
    await line.send(header(PING, 126) + b"mask")
    await line.closes(1002)


async def test_2_pings_by_the_byte_and_by_the_dozen(line):
    """A ping that drips in is one ping; of many at once each has its answer."""
    await line.drip(frame(PING, b"slow"))
    assert (await line.read())[:2] == (PONG, b"slow")
    await line.send(*[frame(PING, b"%d" % number) for number in range(100)])
    assert [(await line.read()).payload for _ in range(100)] == [b"%d" % number for number in range(100)]


async def test_2_a_pong_that_nobody_asked_for_is_no_harm(line):
    """Unsolicited pongs are ignored, and the next ping is answered."""
    await line.send(frame(PONG), frame(PONG, b"why"), frame(PING, b"here"))
    assert (await line.read())[:2] == (PONG, b"here")


# --- 3 and 4: reserved bits and opcodes ------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("bits", range(1, 8))
async def test_3_reserved_bits_close(line, opcode, bits):
    """What came before is still answered, then 1002."""
    await line.send(frame(TEXT, b"before"), frame(opcode, b"", rsv=bits))
    await line.echoes(TEXT, b"before")
    await line.closes(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_4_reserved_opcodes_close(line, opcode, payload):
    """What came before is still answered, then 1002; what comes after is not heard."""
    await line.send(frame(TEXT, b"before"), frame(opcode, payload), frame(PING))
    await line.echoes(TEXT, b"before")
    await line.closes(1002)


# --- 5: fragments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("parts", [[b"a", b"b"], [b"", b"", b""], [b"", b"mid", b""], [b"x"] * 50])
async def test_5_fragments_are_one_message(line, opcode, parts):
    """Also empty ones; whether they come at once or by the byte."""
    whole = b"".join(parts)
    await line.send(*fragments(opcode, parts))
    await line.echoes(opcode, whole)
    await line.drip(b"".join(fragments(opcode, parts)))
    await line.echoes(opcode, whole)


async def test_5_control_frames_come_between_fragments(line):
    """A ping in the middle of a message is answered before the message is whole."""
    first, second, third = fragments(TEXT, [b"one ", b"two ", b"three"])
    await line.send(first, frame(PING, b"1"))
    assert (await line.read())[:2] == (PONG, b"1")
    await line.send(second, frame(PONG, b"unasked"), frame(PING, b"2"), third)
    assert (await line.read())[:2] == (PONG, b"2")
    await line.echoes(TEXT, b"one two three")


@pytest.mark.parametrize(
    "frames",
    [
        [frame(PING, b"x", fin=False), frame(CONTINUATION, b"y")],
        [frame(PONG, b"x", fin=False), frame(CONTINUATION, b"y")],
        [frame(CONTINUATION, b"of nothing")],
        [frame(CONTINUATION, b"of nothing", fin=False)],
        [frame(TEXT, b"x", fin=False), frame(TEXT, b"y")],
        [frame(TEXT, b"x", fin=False), frame(BINARY, b"y", fin=False)],
        [*fragments(TEXT, [b"a", b"b"]), frame(CONTINUATION, b"c")],
    ],
    ids=["ping", "pong", "of nothing", "first of nothing", "new text", "new binary", "after the end"],
)
async def test_5_wrong_fragments_close(line, frames):
    """1002."""
    await line.send(*frames)
    if len(frames) == 3:
        await line.echoes(TEXT, b"ab")
    await line.closes(1002)


# --- 6: UTF-8 --------------------------------------------------------------------------------------------

GOOD = [
    GREEK,
    EURO,
    b"\x00",
    "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff".encode(),
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xf4\x8f\xbf\xbf",
    b"\xef\xbf\xbe",
]
BAD = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xfe",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"ok\xc3(",
]


@pytest.mark.parametrize("text", GOOD, ids=lambda text: text.hex())
async def test_6_utf_8_comes_back(line, text):
    """Whole, by fragments of a byte, and by the byte."""
    await line.send(frame(TEXT, text), *fragments(TEXT, [bytes([byte]) for byte in text]))
    await line.drip(frame(TEXT, text))
    for _ in range(3):
        await line.echoes(TEXT, text)


@pytest.mark.parametrize("text", BAD, ids=lambda text: text.hex())
async def test_6_what_is_no_utf_8_closes(open_line, text):
    """1007, whole and in fragments of a byte."""
    whole, cut = await open_line(), await open_line()
    await whole.send(frame(TEXT, text))
    await whole.closes(1007)
    await cut.send(*fragments(TEXT, [bytes([byte]) for byte in text]))
    await cut.closes(1007)


@pytest.mark.parametrize(
    "bad", [b"\xf4\x90", b"\xed\xa0", b"\xc0", b"\xff", b"\xe2("], ids=lambda bad: bad.hex()
)
async def test_6_it_fails_fast(open_line, bad):
    """1007 comes as soon as no continuation could mend it, before the message or its frame are whole."""
    in_fragment, in_frame = await open_line(), await open_line()
    await in_fragment.send(frame(TEXT, GREEK, fin=False), frame(CONTINUATION, bad, fin=False))
    await in_fragment.closes(1007)
    unfinished = frame(TEXT, GREEK + bad + b"never sent")[: -len(b"never sent")]
    await in_frame.send(unfinished)
    await in_frame.closes(1007)


async def test_6_the_start_of_a_character_waits_for_its_rest(line):
    """A fragment may end within a character."""
    await line.send(frame(TEXT, EURO[:2], fin=False))
    await line.send(frame(PING, b"still there"))
    assert (await line.read())[:2] == (PONG, b"still there")
    await line.send(frame(CONTINUATION, EURO[2:]))
    await line.echoes(TEXT, EURO)


async def test_6_binary_is_not_looked_at(line):
    """What is no UTF-8 is a binary message all the same."""
    await line.send(*fragments(BINARY, [b"\xff", b"\xc0"]))
    await line.echoes(BINARY, b"\xff\xc0")


# --- 7: closing ------------------------------------------------------------------------------------------


def goodbye(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
async def test_7_a_close_code_comes_back(line, code):
    """Each code that may be sent; then the server hangs up."""
    await line.send(goodbye(code, b"bye"))
    await line.closes(code)


async def test_7_a_close_frame_without_a_code_comes_back_empty(line):
    """No code: none in the answer."""
    await line.send(frame(CLOSE))
    await line.closes(None)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_7_codes_that_may_not_be_sent_close_with_1002(line, code):
    """Reserved ones, ones that nobody has registered, and ones that there are not."""
    await line.send(goodbye(code))
    await line.closes(1002)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (b"\x03\xe8" + b"x" * 123, 1000),
        (b"\x03\xe8" + b"x" * 124, 1002),
        (b"\x03\xe8" + "ä€😀".encode(), 1000),
        (b"\x03\xe8\xce\xba\xe1\xbd", 1007),
        (b"\x03\xe8\xff", 1007),
    ],
    ids=["half a code", "the longest reason", "too long", "a reason", "half a character", "no UTF-8"],
)
async def test_7_reasons(line, payload, code):
    """At most 123 bytes of UTF-8."""
    await line.send(frame(CLOSE, payload))
    await line.closes(code)


async def test_7_what_comes_after_a_close_frame_is_not_heard(line):
    """A ping, a message, a second close frame: the answer is one close frame."""
    await line.send(frame(TEXT, b"before"))
    await line.echoes(TEXT, b"before")
    await line.send(goodbye(1000), frame(PING), frame(TEXT, b"after"), goodbye(1001))
    await line.closes(1000)


async def test_7_a_message_that_was_begun_dies_with_the_close(line):
    """A close frame between fragments is answered."""
    await line.send(frame(TEXT, b"half", fin=False), goodbye(1000))
    await line.closes(1000)


async def test_7_what_was_said_before_the_close_is_answered_first(line):
    """Messages, and a broken frame or a close frame right behind them, in one write."""
    await line.send(*[frame(TEXT, b"%d" % number) for number in range(100)], goodbye(4000))
    for number in range(100):
        await line.echoes(TEXT, b"%d" % number)
    await line.closes(4000)


# --- 9 and 10: limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 256, 1024, 4096, 16_384, LARGEST])
async def test_9_the_largest_message_in_fragments_of_any_size(line, size):
    """65,536 bytes, text and binary."""
    text = b"\xc3\xa4" * (LARGEST // 2)
    await line.send(*fragments(TEXT, [text[at : at + size] for at in range(0, LARGEST, size)]))
    await line.echoes(TEXT, text)
    data = os.urandom(LARGEST)
    await line.send(*fragments(BINARY, [data[at : at + size] for at in range(0, LARGEST, size)]))
    await line.echoes(BINARY, data)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64, 1024, LARGEST])
async def test_9_one_byte_more_closes_with_1009(line, opcode, size):
    """However it is cut."""
    data = b"x" * (LARGEST + 1)
    await line.send(*fragments(opcode, [data[at : at + size] for at in range(0, LARGEST + 1, size)]))
    await line.closes(1009)


@pytest.mark.parametrize("size", [64, 4096, LARGEST, LARGE])
async def test_9_a_larger_limit_is_as_exact(open_line, size):
    """A million bytes in fragments of any size, text and binary; one byte more closes with 1009."""
    line = await open_line(path=LARGE_ECHO)
    text, data = b"\xc3\xa4" * (LARGE // 2), os.urandom(LARGE)
    for opcode, payload in ((TEXT, text), (BINARY, data)):
        await line.send(*fragments(opcode, [payload[at : at + size] for at in range(0, LARGE, size)]))
        await line.echoes(opcode, payload)
    data += b"x"
    await line.send(*fragments(BINARY, [data[at : at + size] for at in range(0, LARGE + 1, size)]))
    await line.closes(1009)


async def test_9_many_messages_come_back_in_their_order(line):
    """1,000 of different sizes, sent without waiting for an answer to each."""
    messages = [os.urandom(number % 200) for number in range(1000)]
    for start in range(0, 1000, 100):
        await line.send(*[frame(BINARY, message) for message in messages[start : start + 100]])
        for message in messages[start : start + 100]:
            await line.echoes(BINARY, message)


async def test_10_a_large_message_by_small_parts(line):
    """65,536 bytes in one frame, in chops of 1,300 bytes."""
    data = os.urandom(LARGEST)
    await line.drip(frame(BINARY, data), 1300)
    await line.echoes(BINARY, data)


# --- 12 and 13: compression ------------------------------------------------------------------------------

KINDS = ["permessage-deflate", "permessage-deflate; client_no_context_takeover"]
TALK = [b'{"type":"chat","data":{"content":"message number %d of many"}}' % number for number in range(40)]


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "server_no_context_takeover"),
        (
            "permessage-deflate; client_max_window_bits",
            "server_no_context_takeover; client_max_window_bits=15",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
            "server_no_context_takeover; client_max_window_bits=9",
        ),
        (
            'permessage-deflate; server_max_window_bits="9"',
            "server_no_context_takeover; server_max_window_bits=9",
        ),
        ("permessage-deflate; unknown, permessage-deflate", "server_no_context_takeover"),
        ("x-webkit-deflate-frame, PERMESSAGE-DEFLATE", "server_no_context_takeover"),
    ],
)
async def test_13_an_offer_is_answered(open_line, offer, answer):
    """The first offer that can be accepted, with what the client asked for."""
    line = await open_line(offer)
    assert line.extensions == "permessage-deflate; " + answer
    for message in TALK:
        await line.send(packed(message))
        await line.echoes(TEXT, message)


async def test_13_offers_may_stand_in_several_headers(echo_server):
    """RFC 6455 section 9.1: they are read as one."""
    raw = await RawSocket.open(echo_server.port)
    several = "x-unknown\r\nSec-WebSocket-Extensions: permessage-deflate"
    response = await raw.handshake(ECHO, Sec_WebSocket_Extensions=several)
    assert response.headers["sec-websocket-extensions"].startswith("permessage-deflate; ")
    await raw.close()


# What the suite's client can do itself, and what it asks of the server in 13.1 to 13.7.
ABLE = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
ASKED = [
    "",
    "; server_no_context_takeover",
    "; server_max_window_bits=9",
    "; server_max_window_bits=15",
    "; server_no_context_takeover; server_max_window_bits=9",
    "; server_no_context_takeover; server_max_window_bits=15",
    f"; server_no_context_takeover; server_max_window_bits=9, {ABLE}; server_no_context_takeover, {ABLE}",
]


@pytest.mark.parametrize("asked", ASKED, ids=[f"13.{number}" for number in range(1, 8)])
async def test_13_every_size_under_every_offer(open_line, asked):
    """Compressed messages of 16 to 131,072 bytes, whole and in fragments of 256 bytes, come back; ours are
    compressed where they are worth it and fit the window that was asked for."""
    line = await open_line(ABLE + asked, LARGE_ECHO)
    window = 9 if "server_max_window_bits=9" in line.extensions else 15
    assert window == (9 if "=9" in asked else 15)
    words = b" ".join(TALK)
    for size in [16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, LARGEST, 2 * LARGEST]:
        payload = (words * (size // len(words) + 1))[:size]
        wire = Packer().pack(payload)
        await line.send(frame(TEXT, wire, rsv=RSV1))
        await line.send(*fragments(TEXT, [wire[at : at + 256] for at in range(0, len(wire), 256)], rsv=RSV1))
        for _ in range(2):
            seen = await line.read()
            assert seen.opcode == TEXT
            assert seen.compressed == (size > 512 and window == 15)
            assert (inflate(seen.payload) if seen.compressed else seen.payload) == payload


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=09",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-bzip2",
        ";;,=,",
    ],
)
async def test_13_an_offer_that_can_not_be_is_declined(open_line, offer):
    """The socket opens without compression, and a compressed frame closes it with 1002."""
    line = await open_line(offer)
    assert line.extensions == ""
    await line.send(frame(TEXT, b"plain"))
    await line.echoes(TEXT, b"plain")
    await line.send(packed(b"packed"))
    await line.closes(1002)


@pytest.mark.parametrize("kind", KINDS, ids=["context", "no context"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compressible", [True, False])
async def test_12_every_size_comes_back(open_line, kind, opcode, size, compressible):
    """Compressed messages of all sizes; ours are compressed where that makes them smaller."""
    line = await open_line(kind)
    payload = b"*" * size if compressible or opcode == TEXT else os.urandom(size)
    await line.send(packed(payload, opcode))
    seen = await line.read()
    assert seen.compressed == (size > 512 and payload[:1] == b"*")
    await line.send(packed(payload, opcode))
    await line.echoes(opcode, payload)


@pytest.mark.parametrize("window", [9, 12, 15])
async def test_12_a_client_takes_its_context_over(open_line, window):
    """Later messages refer to earlier ones, as far as the window reaches, past plain messages in between."""
    line = await open_line(f"permessage-deflate; client_max_window_bits={window}")
    packer = Packer(window)
    sizes = []
    for number, message in enumerate(TALK * 3):
        wire = packer.pack(message)
        sizes.append(len(wire))
        await line.send(frame(TEXT, wire, rsv=RSV1))
        if number % 5 == 0:
            await line.send(frame(TEXT, b"plain"))
            await line.echoes(TEXT, message)
            await line.echoes(TEXT, b"plain")
        else:
            await line.echoes(TEXT, message)
    assert sizes[-1] < sizes[0] / 2, "the test's client never referred back"


async def test_12_a_client_that_said_it_would_not_may_not_refer_back(open_line):
    """Without context takeover a reference to an earlier message closes with 1007."""
    line = await open_line("permessage-deflate; client_no_context_takeover")
    packer = Packer()
    await line.send(packed(b"something to remember", packer=packer))
    await line.echoes(TEXT, b"something to remember")
    await line.send(packed(b"something to remember", packer=packer))
    await line.closes(1007)


@pytest.mark.parametrize("size", [1, 7, 200])
async def test_12_compressed_fragments_with_pings_between(open_line, size):
    """The first frame has the bit, the others don't; cut anywhere, by the byte too."""
    line = await open_line("permessage-deflate")
    message = b" ".join(TALK)
    wire = Packer().pack(message)
    parts = fragments(TEXT, [wire[at : at + size] for at in range(0, len(wire), size)], rsv=RSV1)
    await line.send(*parts[:-1], frame(PING, b"between"), parts[-1])
    assert (await line.read())[:2] == (PONG, b"between")
    await line.echoes(TEXT, message)
    await line.drip(b"".join(parts[:20]))
    await line.send(*parts[20:])
    await line.echoes(TEXT, message)


@pytest.mark.parametrize(
    "wire",
    [b"\x00", b"\x02\x00", b"", b"\x00\x00\x00\xff\xff\x00"],
    ids=["an empty block", "an empty fixed block", "nothing", "empty blocks"],
)
async def test_12_an_empty_message_has_several_forms(open_line, wire):
    """All of them are an empty message."""
    line = await open_line("permessage-deflate")
    await line.send(frame(TEXT, wire, rsv=RSV1))
    await line.echoes(TEXT, b"")


async def test_12_final_blocks_and_stored_blocks(open_line):
    """RFC 7692 section 7.2.3: "Hello" in its five forms."""
    line = await open_line("permessage-deflate")
    forms = [
        "f248cdc9c90700",
        "f200110000",
        "000500faff48656c6c6f00",
        "f348cdc9c9070000",
        "f248050000 00ffff cac9c90700",
    ]
    await line.send(frame(TEXT, bytes.fromhex(forms[0]), rsv=RSV1))
    await line.echoes(TEXT, b"Hello")
    await line.send(frame(TEXT, bytes.fromhex(forms[1]), rsv=RSV1))  # refers to the first
    await line.echoes(TEXT, b"Hello")
    for form in forms[2:]:
        await line.send(frame(TEXT, bytes.fromhex(form), rsv=RSV1))
        await line.echoes(TEXT, b"Hello")
    await line.send(frame(TEXT, bytes.fromhex(forms[1]), rsv=RSV1))  # past a final block
    await line.echoes(TEXT, b"Hello")


async def test_12_a_message_may_have_final_blocks_in_between(open_line):
    """What follows a final block may refer to what was before it."""
    line = await open_line("permessage-deflate")
    first = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = first.compress(b"the same words, ") + first.flush(zlib.Z_FINISH)
    second = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"the same words, ")
    two = (second.compress(b"the same words, ") + second.flush(zlib.Z_SYNC_FLUSH))[:-4]
    await line.send(frame(TEXT, one + two, rsv=RSV1))
    await line.echoes(TEXT, b"the same words, " * 2)


@pytest.mark.parametrize("kind", KINDS, ids=["context", "no context"])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(TEXT, b"\xff\xff\xff", rsv=RSV1)], 1007),
        ([packed(b"\xff\xfe")], 1007),
        ([frame(TEXT, b"\x03\x00" * 100, rsv=RSV1)], 1007),
        ([frame(PING, b"", rsv=RSV1)], 1002),
        ([frame(CLOSE, b"", rsv=RSV1)], 1002),
        ([frame(TEXT, b"x", rsv=RSV1 | 2)], 1002),
        ([frame(TEXT, b"", rsv=RSV1, fin=False), frame(CONTINUATION, b"", rsv=RSV1)], 1002),
        ([frame(TEXT, b"", fin=False), frame(CONTINUATION, b"", rsv=RSV1)], 1002),
    ],
    ids=["garbage", "no UTF-8", "final blocks", "ping", "close", "rsv2", "bit on a continuation", "late bit"],
)
async def test_12_what_breaks_compression_closes(open_line, kind, frames, code):
    """1007 for data that can't be inflated, 1002 for the bit where it may not be."""
    line = await open_line(kind)
    await line.send(*frames)
    await line.closes(code)


@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_12_broken_utf_8_fails_fast_inside_compression(open_line, cut):
    """1007 before the message is whole."""
    line = await open_line("permessage-deflate")
    packer = Packer()
    await line.send(frame(TEXT, packer.pack(GREEK + b"\xed\xa0\x80"[:cut]) + TAIL, rsv=RSV1, fin=False))
    if cut > 1:
        await line.closes(1007)
    else:
        await line.send(frame(PING, b"so far so good"))
        assert (await line.read())[:2] == (PONG, b"so far so good")


# --- the limit counts what comes out ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=["context", "no context"])
@pytest.mark.parametrize("filler", [b"x", "ä€".encode()], ids=["one byte", "five"])
@pytest.mark.parametrize("offset", [0, 1, 2, 300, 100_000, 50_000_000])
async def test_12_the_limit_is_exact_after_inflating(open_line, kind, filler, offset):
    """65,536 bytes come back; 65,537, and any bomb, close with 1009."""
    line = await open_line(kind)
    size = LARGEST + offset
    payload = (filler * (size // len(filler) + 1))[:size]
    await line.send(packed(payload, BINARY))
    if offset == 0:
        await line.echoes(BINARY, payload)
    else:
        await line.closes(1009)


async def test_12_incompressible_data_of_the_largest_size_comes_back(open_line):
    """Its frame is a little larger than the limit."""
    line = await open_line("permessage-deflate")
    payload = os.urandom(LARGEST)
    assert len(Packer().pack(payload)) > LARGEST
    await line.send(packed(payload, BINARY))
    await line.echoes(BINARY, payload)


async def test_12_fragments_of_a_bomb_close_with_1009(open_line):
    """The limit counts all of them together."""
    line = await open_line("permessage-deflate")
    wire = Packer().pack(bytes(LARGEST + 1))
    await line.send(*fragments(BINARY, [wire[at : at + 5] for at in range(0, len(wire), 5)], rsv=RSV1))
    await line.closes(1009)


@pytest.mark.parametrize("claimed", [70_000, 2**40])
async def test_12_compressed_bytes_have_a_limit_too(open_line, claimed):
    """A frame that is far larger than the largest message compressed is refused by its header."""
    line = await open_line("permessage-deflate")
    await line.send(header(BINARY, claimed, rsv=RSV1) + b"mask")
    await line.closes(1009)


async def test_12_a_bomb_costs_no_memory(echo_server, open_line):
    """100 clients send 50 MB in 50 KB each: the worker's memory does not follow."""
    (pid,) = echo_server.workers()
    wire = packed(bytes(50_000_000), BINARY)
    assert len(wire) < LARGEST
    lines = [await open_line("permessage-deflate") for _ in range(100)]
    before = peak(pid, reset=True)
    for line in lines:
        await line.send(wire)
    for line in lines:
        await line.closes(1009)
    assert peak(pid) - before < 8 * 2**20


def peak(pid: int, reset: bool = False) -> int:
    """The most bytes that were resident, since the last reset."""
    from chat.realtime.testing.proc import peak_resident, reset_peak

    if reset:
        reset_peak(pid)
    return peak_resident(pid)
