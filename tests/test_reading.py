"""The reader of frames, without a socket: whatever a client may send, in whatever parts it comes."""

import contextlib
import itertools
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime.codes import Violation
from chat.realtime.compression import negotiate
from chat.realtime.reading import PIECE, Event, Reader
from chat.realtime.testing.raw import BINARY, CONTINUATION, PING, TEXT, frame

LIMIT = 65_536
TAKEOVER = negotiate("permessage-deflate", 15)


def read_all(reader: Reader, data: bytes, sizes: list[int], limit: int = LIMIT) -> list[Event]:
    """Feed it in parts of these sizes, over and over."""
    events, at, turn = [], 0, 0
    while at < len(data):
        part = data[at : at + sizes[turn % len(sizes)]]
        at, turn = at + len(part), turn + 1
        start = 0
        while start < len(part) or reader.waiting:
            event, start = reader.read(part, start, limit)
            if event is not None:
                events.append(event)
    return events


@st.composite
def conversations(draw):
    """Messages, cut into frames with pings between, some compressed: what is sent, and what has to come
    out."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    wire, expected = b"", []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            text = draw(st.text(max_size=200))
            opcode, payload, content = TEXT, text.encode(errors="replace"), None
            content = payload.decode()
        else:
            payload = draw(st.binary(max_size=300))
            opcode, content = BINARY, payload
        compressed = draw(st.booleans())
        body = payload
        if compressed:
            body = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        bounds = [0, *cuts, len(body)]
        parts = [body[a:b] for a, b in itertools.pairwise(bounds)]
        for number, part in enumerate(parts):
            first = number == 0
            wire += frame(
                opcode if first else CONTINUATION,
                part,
                fin=number == len(parts) - 1,
                rsv=4 if compressed and first else 0,
            )
            if number < len(parts) - 1 and draw(st.booleans()):
                wire += frame(PING, b"p")
                expected.append(Event(PING, b"p", 1))
        expected.append(Event(opcode, content, len(payload)))
    return wire, expected


@given(conversations(), st.lists(st.integers(1, 120), min_size=1, max_size=5))
def test_messages_come_out_however_they_are_cut(conversation, sizes):
    """By the byte or at once, in frames of any size, with pings between, compressed with context or not."""
    wire, expected = conversation
    reader = Reader(TAKEOVER)
    assert read_all(reader, wire, sizes) == expected
    assert reader.idle


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), min_size=1))
def test_any_bytes_are_frames_or_a_violation(data, sizes):
    """Noise ends with a code, or waits for more; never with another exception."""
    with contextlib.suppress(Violation):
        read_all(Reader(TAKEOVER), data, sizes)


@pytest.mark.parametrize("agreement", [None, TAKEOVER])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_the_limit_is_exact(agreement, size):
    """A message of the limit comes out, one byte more raises 1009 before it has come."""
    payload = os.urandom(size)
    assert Reader(agreement).read(frame(BINARY, payload), 0, size)[0] == Event(BINARY, payload, size)
    with pytest.raises(Violation) as refused:
        Reader(agreement).read(frame(BINARY, payload + b"x")[:6], 0, size)
    assert refused.value.code == 1009


def test_empty_fragments_are_counted():
    """No more of them than the message may have bytes."""
    reader = Reader()
    reader.read(frame(BINARY, b"", fin=False), 0, 3)
    for _ in range(2):
        reader.read(frame(CONTINUATION, b"", fin=False), 0, 3)
    with pytest.raises(Violation) as refused:
        reader.read(frame(CONTINUATION, b"", fin=False), 0, 3)
    assert refused.value.code == 1009


@pytest.mark.parametrize("agreement", [None, TAKEOVER])
def test_one_call_reads_one_fragment(agreement):
    """64 KiB of empty fragments are 10,922, and would hold up everybody for 50 ms: the caller can pause."""
    data = frame(TEXT, b"", fin=False, rsv=4 if agreement else 0) + frame(CONTINUATION, b"", fin=False) * 100
    reader, start = Reader(agreement), 0
    for number in range(1, 102):
        assert reader.read(data, start, LIMIT) == (None, 6 * number)
        start = 6 * number


def test_a_reader_is_disposable_only_while_nothing_is_to_be_remembered():
    """Between messages, unless the client may refer to what it said; not within a header, frame or
    message."""
    plain = Reader()
    for begun in (b"\x81", frame(TEXT, b"hello")[:8], frame(TEXT, b"hello", fin=False)):
        reader = Reader()
        assert reader.read(begun, 0, LIMIT) == (None, len(begun))
        assert not reader.idle
        assert not reader.disposable
    plain.read(frame(TEXT, b"hello"), 0, LIMIT)
    assert plain.disposable
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = (packer.compress(b"hello") + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    for agreement, disposable in ((TAKEOVER, False), (negotiate("permessage-deflate", 0), True)):
        reader = Reader(agreement)
        assert reader.read(frame(TEXT, body, rsv=4), 0, LIMIT)[0] == Event(TEXT, "hello", 5)
        assert (reader.idle, reader.disposable) == (True, disposable)


@given(st.text(min_size=1, max_size=20), st.sampled_from([1000, 30_000, 10**6]), st.booleans())
def test_pieces_are_the_message(words, size, packed):
    """Joined they are what was sent; numbered from 0; none above 65,536 bytes; the last one says so."""
    payload = (words * (3 * PIECE // len(words))).encode(errors="replace")
    body = zlib.compressobj(1, zlib.DEFLATED, -15)
    wire = (body.compress(payload) + body.flush(zlib.Z_SYNC_FLUSH))[:-4] if packed else payload
    cut = len(wire) // 2
    data = frame(TEXT, wire[:cut], fin=False, rsv=4 if packed else 0) + frame(CONTINUATION, wire[cut:])
    events = read_all(Reader(TAKEOVER, pieces=True), data, [size], 10**8)
    assert "".join(event.payload for event in events).encode() == payload
    assert [event.piece for event in events] == [(n, n == len(events) - 1) for n in range(len(events))]
    assert all(len(event.payload.encode()) == event.size <= PIECE for event in events)
