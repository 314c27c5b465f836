"""Frames of RFC 6455: built as it says, and read by the short way exactly as by the book."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.realtime.frames import BINARY, CLOSE, PING, TEXT, Frame, build, read_simple
from chat.realtime.testing.raw import frame as client_frame

LIMIT = 65_536


def reference(data: bytes, start: int, limit: int) -> tuple[bytes, int] | None:
    """Section 5.2 word by word, for the one kind of frame that ``read_simple`` is for."""
    data = data[start:]
    if len(data) < 2:
        return None
    fin, rsv, opcode = data[0] >> 7, data[0] >> 4 & 7, data[0] & 15
    masked, length = data[1] >> 7, data[1] & 127
    if not (fin == 1 and rsv == 0 and opcode == 1 and masked == 1):
        return None
    position = 2
    if length == 126:
        if len(data) < 4:
            return None
        length = int.from_bytes(data[2:4], "big")
        position = 4
        if length < 126:
            return None  # not the shortest form: the full parser refuses it
    elif length == 127:
        return None  # 64 bits of length: never within the limit
    key = data[position : position + 4]
    payload = data[position + 4 : position + 4 + length]
    if len(key) < 4 or len(payload) < length or length > limit:
        return None
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)), start + position + 4 + length


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_a_frame_is_built_in_its_shortest_form(opcode, size):
    """FIN, the opcode, no mask, and the length in 7, 16 or 64 bits, whichever is the shortest."""
    payload = os.urandom(size)
    wire = build(opcode, payload)
    assert wire[0] == 0x80 | opcode
    if size < 126:
        assert wire[1:] == bytes([size]) + payload
    elif size < 65_536:
        assert wire[1:] == b"\x7e" + size.to_bytes(2, "big") + payload
    else:
        assert wire[1:] == b"\x7f" + size.to_bytes(8, "big") + payload


def test_a_message_is_framed_once():
    """A Frame keeps its bytes and its ASGI event: every receiver gets the same objects."""
    frame = Frame("ä".encode())
    assert frame.wire is frame.wire
    assert frame.wire == b"\x81\x02\xc3\xa4"
    assert frame.event == {"type": "websocket.send", "text": "ä"}
    assert Frame(b"\x00", binary=True).event == {"type": "websocket.send", "bytes": b"\x00"}
    assert Frame(b"\x00", binary=True).wire == b"\x82\x01\x00"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 128, 1000, 65_535])
def test_a_clients_text_frame_is_read(size):
    """A whole masked text frame gives its payload and its end, wherever it stands."""
    payload = os.urandom(size)
    wire = client_frame(TEXT, payload)
    assert read_simple(wire, 0, LIMIT) == (payload, len(wire))
    assert read_simple(b"before" + wire + b"after", 6, LIMIT) == (payload, 6 + len(wire))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
def test_every_cut_of_a_frame_is_left_to_the_full_parser(size):
    """A frame that has not come whole is none, at whichever byte it ends."""
    wire = client_frame(TEXT, os.urandom(size))
    assert all(read_simple(wire[:end], 0, LIMIT) is None for end in range(len(wire)))


@pytest.mark.parametrize("limit", [0, 1, 10, 125, 126, 1000])
def test_nothing_beyond_the_limit_is_read(limit):
    """A payload of ``limit`` bytes is read, one byte more is left to the full parser, which closes."""
    assert read_simple(client_frame(TEXT, bytes(limit)), 0, limit) is not None
    assert read_simple(client_frame(TEXT, bytes(limit + 1)), 0, limit) is None


@pytest.mark.parametrize(
    "wire",
    [
        client_frame(TEXT, b"hi", mask=False),
        client_frame(TEXT, b"hi", fin=False),
        client_frame(TEXT, b"hi", rsv=4),
        client_frame(BINARY, b"hi"),
        client_frame(0, b"hi"),
        client_frame(CLOSE, b"\x03\xe8"),
        client_frame(PING),
        b"\x81\xfe\x00\x7d" + b"kkkk" + bytes(125),  # 125 bytes in the form for more
        b"\x81\xff" + (2**63).to_bytes(8, "big") + b"kkkk",
    ],
    ids=["no mask", "not final", "rsv", "binary", "continuation", "close", "ping", "long form", "huge"],
)
def test_every_other_frame_is_left_to_the_full_parser(wire):
    """Only a plain text frame in its right form is read the short way."""
    assert read_simple(wire + bytes(16), 0, LIMIT) is None


lengths = st.one_of(st.integers(0, 140), st.sampled_from([255, 256, 65_535]))


@st.composite
def nearly_frames(draw: st.DrawFn) -> bytes:
    """Client frames with one header byte perhaps changed, cut or with more behind."""
    wire = bytearray(client_frame(TEXT, bytes(draw(lengths))))
    if draw(st.booleans()):
        wire[draw(st.integers(0, min(8, len(wire) - 1)))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del wire[draw(st.integers(0, len(wire))) :]
    return bytes(wire) + draw(st.binary(max_size=20))


@given(
    data=st.one_of(nearly_frames(), st.binary(max_size=200)),
    start=st.integers(0, 4),
    limit=st.sampled_from([0, 1, 100, 126, LIMIT]),
)
@example(data=b"", start=0, limit=LIMIT)
@example(data=b"\x81\xfe\x00", start=0, limit=LIMIT)
@example(data=b"\x81\x80kkkk", start=0, limit=0)
def test_the_short_way_reads_as_the_book_says(data, start, limit):
    """For all bytes the result is that of a parser written after the RFC."""
    padded = bytes(start) + data
    assert read_simple(padded, start, limit) == reference(padded, start, limit)
