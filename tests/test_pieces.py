"""Consumers with limits of their own, and messages that are read in pieces."""

import hashlib
import json
import os

import pytest

from chat.realtime.testing.proc import peak_resident, reset_peak
from chat.realtime.testing.raw import BINARY, CONTINUATION, PING, PONG, TEXT, frame, header
from tests.echo_support import RSV1, Line, Packer, fragments
from tests.kit import ChatServer

PIECE = 65_536
MIB = 1024 * 1024
LARGEST = 20 * MIB  # of tests.app.wire.Pieces


@pytest.fixture(scope="module")
def wire_server():
    server = ChatServer(None, env={"MESSAGE_RATE": "0", "BYTES_RATE": "0"}, settings="tests.settings")
    try:
        yield server.start()
    finally:
        server.stop(allow_tracebacks=True)
        server.cleanup()


@pytest.fixture
async def open_line(wire_server):
    """``await open_line(path)``: a line to one of the test app's endpoints."""
    lines = []

    async def open_one(path, offer=None):
        lines.append(await Line.open(wire_server, offer, path))
        return lines[-1]

    yield open_one
    for line in lines:
        await line.close()


async def told(line: Line) -> dict:
    """What the consumer says of the message that it read."""
    return json.loads((await line.message())[1])


def cut(payload: bytes, size: int, opcode: int = BINARY, rsv: int = 0) -> list[bytes]:
    return fragments(opcode, [payload[at : at + size] for at in range(0, len(payload), size)], rsv)


# --- limits of a consumer's own --------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "limit"), [("/test/small", 100), ("/test/large", 1_000_000)])
async def test_a_consumer_may_have_a_limit_of_its_own(open_line, path, limit):
    """As many bytes come back, whole and in fragments, compressed and not; one more closes with 1009."""
    payload = os.urandom(limit)
    for frames in ([frame(BINARY, payload)], cut(payload, limit // 3)):
        line = await open_line(path)
        await line.send(*frames)
        await line.echoes(BINARY, payload)
        await line.send(frame(BINARY, payload + b"x"))
        await line.closes(1009)
    line = await open_line(path, "permessage-deflate")
    await line.send(frame(BINARY, Packer().pack(bytes(limit)), rsv=RSV1))
    await line.echoes(BINARY, bytes(limit))
    await line.send(frame(BINARY, Packer().pack(bytes(limit + 1)), rsv=RSV1))
    await line.closes(1009)


# --- pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, PIECE])
async def test_a_message_of_one_frame_comes_whole(open_line, size):
    """Up to 65,536 bytes in one frame are an ordinary message."""
    line = await open_line("/test/pieces/fast")
    payload = os.urandom(size)
    await line.send(frame(BINARY, payload))
    assert await told(line) == {"whole": hashlib.sha256(payload).hexdigest(), "text": False}


@pytest.mark.parametrize("size", [PIECE + 1, 3 * PIECE, MIB + 17])
@pytest.mark.parametrize("fragment", [10**9, PIECE, 1000])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_larger_message_comes_in_pieces(open_line, size, fragment, packed):
    """In one frame or in many, compressed or not: all of it, in order, and no piece above 65,536 bytes."""
    line = await open_line("/test/pieces/fast", "permessage-deflate")
    payload = os.urandom(size // 2) + bytes(size - size // 2)
    wire = Packer().pack(payload) if packed else payload
    await line.send(*cut(wire, fragment, rsv=RSV1 if packed else 0))
    answer = await told(line)
    assert answer["digest"] == hashlib.sha256(payload).hexdigest()
    assert answer["largest"] == PIECE
    # Where the end can't be foreseen, the last piece may be an empty one.
    assert 0 <= answer["pieces"] - -(-size // PIECE) <= packed


async def test_text_is_cut_between_characters(open_line):
    """Pieces of text are text, whatever stands at their ends; also when it comes by odd parts."""
    line = await open_line("/test/pieces/fast")
    text = ("a" + "€😀ä" * 50_000).encode()
    for size in (10**9, 4099):
        await line.send(*cut(text, size, TEXT))
        answer = await told(line)
        assert (answer["digest"], answer["text"]) == (hashlib.sha256(text).hexdigest(), True)
        assert PIECE - 4 < answer["largest"] <= PIECE


async def test_small_fragments_are_gathered(open_line):
    """Two fragments of a byte are one piece, the last; ordinary messages may follow."""
    line = await open_line("/test/pieces/fast")
    await line.send(*fragments(TEXT, [b"a", b"b"]), frame(TEXT, b"whole"))
    assert (await told(line))["pieces"] == 1
    assert "whole" in await told(line)


async def test_pings_between_pieces_are_answered(open_line):
    """A ping between two fragments has its answer while the message is read."""
    line = await open_line("/test/pieces/fast")
    first, last = cut(bytes(2 * PIECE), PIECE)
    await line.send(first, frame(PING, b"there?"))
    assert (await line.read())[:2] == (PONG, b"there?")
    await line.send(last)
    assert (await told(line))["pieces"] == 2


@pytest.mark.parametrize("packed", [False, True])
async def test_the_limit_holds_while_it_streams(open_line, packed):
    """20 MiB are read; one byte more closes with 1009: by its header, or when the byte comes out."""
    line = await open_line("/test/pieces/fast", "permessage-deflate")
    for payload in (bytes(LARGEST), bytes(LARGEST + 1)):
        frames = cut(Packer().pack(payload) if packed else payload, MIB, rsv=RSV1 if packed else 0)
        for sent in frames:
            await line.send(sent)
        if len(payload) == LARGEST:
            assert (await told(line))["digest"] == hashlib.sha256(payload).hexdigest()
    await line.closes(1009)


async def test_a_header_beyond_the_limit_closes_at_once(open_line):
    """Nothing of it has to come."""
    line = await open_line("/test/pieces/fast")
    await line.send(header(BINARY, LARGEST + 1) + b"mask")
    await line.closes(1009)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_slow_reader_of_pieces_holds_up_its_client_and_no_memory(wire_server, open_line, packed):
    """While a consumer takes 0.2 s a piece, at most some 256 KiB wait for it; a bomb inflates no faster."""
    (pid,) = wire_server.workers()
    line = await open_line("/test/pieces/slow", "permessage-deflate")
    payload = bytes(LARGEST)
    wire = frame(BINARY, Packer().pack(payload), rsv=RSV1) if packed else frame(BINARY, payload)
    reset_peak(pid)
    before = peak_resident(pid)
    line.raw.writer.write(wire)
    probe = await open_line("/test/small")
    for _ in range(20):
        await probe.send(frame(TEXT, b"alive"))
        await probe.echoes(TEXT, b"alive")
    assert peak_resident(pid) - before < 4 * MIB
    line.raw.writer.transport.abort()


async def test_what_breaks_a_piece_breaks_no_other(open_line):
    """UTF-8 that is none, late in a large text, closes with 1007."""
    line = await open_line("/test/pieces/fast")
    await line.send(frame(TEXT, b"x" * PIECE * 2, fin=False), frame(CONTINUATION, b"\xff"))
    await line.closes(1007)


async def test_a_handlers_bug_is_answered_and_the_socket_lives(open_line):
    """Each piece that fails is answered with `internal`, as any message."""
    line = await open_line("/test/pieces/failing")
    await line.send(*cut(bytes(PIECE + 1), PIECE))
    assert (await told(line))["data"]["code"] == "internal"
    await line.send(frame(TEXT, b"on we go"))
    while "whole" not in (answer := await told(line)):
        assert answer["data"]["code"] == "internal"
