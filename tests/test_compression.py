"""permessage-deflate (RFC 7692): what is agreed on, what comes out of the codec, and who gets which bytes."""

import json
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime import config
from chat.realtime.codes import Violation
from chat.realtime.compression import (
    FINAL_BLOCKS,
    LONGEST_OFFER,
    NEVER,
    TAIL,
    Agreement,
    Inflater,
    _negotiate,
    deflate,
    negotiate,
    window_for,
)
from chat.realtime.frames import Frame
from chat.realtime.testing.raw import TEXT, frame
from tests.echo_support import Line, Packer, inflate
from tests.kit import CHAT, ChatServer, eventually

OFFER = "permessage-deflate; client_max_window_bits"


# --- what is agreed on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "window", "server", "client"),
    [
        ("permessage-deflate", 0, 15, 0),
        ("permessage-deflate", 15, 15, 15),
        ("permessage-deflate", 12, 15, 0),  # it can't be told to use a window of 12
        (OFFER, 12, 15, 12),
        (OFFER + "=10", 12, 15, 10),
        (OFFER, 0, 15, 0),
        ("permessage-deflate; client_no_context_takeover; client_max_window_bits", 12, 15, 0),
        ("permessage-deflate; server_max_window_bits=8", 0, 8, 0),
        ("permessage-deflate; server_no_context_takeover", 0, 15, 0),
    ],
)
def test_what_is_agreed_on(offer, window, server, client):
    """What the client asks for goes before our settings; what it can't be told is not demanded."""
    found = negotiate(offer, window)
    assert isinstance(found, Agreement)
    assert (found.server_window, found.client_window) == (server, client)
    assert found.answer.startswith("permessage-deflate; server_no_context_takeover")
    assert ("client_no_context_takeover" in found.answer) == (client == 0)
    assert ("client_max_window_bits" in found.answer) == (client > 0 and "client_max_window_bits" in offer)
    assert ("server_max_window_bits" in found.answer) == ("server_max_window_bits" in offer)


@given(st.text(max_size=60))
def test_any_header_is_read(offered):
    """Whatever a client writes there, it is an agreement or none."""
    assert negotiate(offered, 12) is None or "permessage-deflate" in offered.lower()


def test_a_header_of_any_length_is_not_remembered():
    """Beyond what a client has reason to write, nothing is agreed on, and nothing kept of it."""
    padding = " " * (LONGEST_OFFER - len(OFFER))
    assert negotiate(OFFER + padding, 15)
    kept = _negotiate.cache_info().currsize
    assert negotiate(OFFER + padding + " ", 15) is None
    assert _negotiate.cache_info().currsize == kept


# --- the codec -------------------------------------------------------------------------------------------


@given(st.binary(max_size=3000), st.integers(1, 9))
def test_what_is_compressed_comes_back(payload, level):
    """With the smallest window that holds it, which any inflater of at least that window reads."""
    packed = deflate(payload, level)
    assert zlib.decompressobj(-window_for(len(payload))).decompress(packed + TAIL) == payload
    assert inflate(packed) == payload


@pytest.mark.parametrize("size", [0, 1, 512, 513, 32_768, 32_769, 1_000_000])
def test_a_window_holds_its_message(size):
    """9 to 15, and large enough where that is possible."""
    window = window_for(size)
    assert 9 <= window <= 15
    assert size <= 2**window or window == 15
    assert window == 9 or size > 2 ** (window - 1)


@given(st.binary(max_size=2000), st.lists(st.integers(1, 300), min_size=1), st.integers(1, 500))
def test_it_may_come_and_go_in_any_parts(payload, cuts, most):
    """Whatever goes in at a time, and however little is taken, all of it comes out, and then nothing more."""
    packed, inflater, out, at, turn = Packer().pack(payload), Inflater(0, b"", 1 << 20), b"", 0, 0
    while at < len(packed):
        size = cuts[turn % len(cuts)]
        inflater.put(packed[at : at + size])
        at, turn = at + size, turn + 1
        while inflater.waiting:
            got = inflater.take(most)
            assert len(got) <= most
            out += got
    inflater.end()
    while inflater.waiting:
        out += inflater.take(most)
    assert out == payload
    assert inflater.take(most) == b""


@given(st.lists(st.binary(max_size=400), max_size=20), st.sampled_from([9, 12, 15]))
def test_context_is_kept_as_far_as_the_window_reaches(messages, window):
    """Each message may refer to those before it; what is kept never exceeds the window."""
    packer, context = Packer(window), b""
    for message in messages:
        inflater = Inflater(window, context, 1 << 20)
        inflater.put(packer.pack(message))
        inflater.end()
        assert inflater.take(1 << 20) == message
        context = inflater.context
        assert len(context) <= 2**window


def test_no_more_is_inflated_than_is_asked_for():
    """Of 50 MB, 65,537 bytes: at any limit, the byte above it comes too, so that it can be refused."""
    packed = Packer().pack(bytes(50_000_000))
    for limit in (1, 100, 65_536, 65_537, 65_794):
        inflater = Inflater(0, b"", 1 << 20)
        inflater.put(packed)
        assert len(inflater.take(limit + 1)) == limit + 1
        assert inflater.waiting


@pytest.mark.parametrize("data", [b"\xff" * 4, b"\x03\x00" * (FINAL_BLOCKS + 1), b"\x04\x00\xff"])
def test_what_is_no_deflate_is_refused(data):
    """1007; as are more final blocks than anybody needs, each of which costs a new start."""
    inflater = Inflater(0, b"", 1 << 20)
    inflater.put(data)
    inflater.end()
    with pytest.raises(Violation) as refused:
        inflater.take(1000)
    assert refused.value.code == 1007


def test_compressed_bytes_are_bounded():
    """Frames are refused before they come when they are more than was allowed in all."""
    inflater = Inflater(0, b"", 100)
    assert inflater.allows(60)
    assert inflater.allows(40)
    assert not inflater.allows(1)


# --- frames ----------------------------------------------------------------------------------------------


@pytest.fixture
def settings_in_force():
    before = config.current()
    yield
    config.apply(
        compression=before.compression,
        compression_threshold=before.compression_threshold,
        compression_level=before.compression_level,
    )


def test_a_message_is_compressed_once():
    """Every receiver with a large enough window gets the same object, all others the plain one."""
    large = Frame(b"x" * 3000)
    assert large.window == 12
    assert large.wire_for(15) is large.wire_for(12) is large.packed
    assert large.wire_for(11) is large.wire_for(0) is large.wire
    assert large.packed[0] == 0xC1
    assert inflate(large.packed[2:]) == large.payload
    assert Frame(b"x" * 3000, binary=True).packed[0] == 0xC2


def test_what_is_not_worth_it_stays_plain(settings_in_force):
    """Small messages, messages that don't shrink, and all of them where compression is off."""
    assert Frame(b"x" * 511).window == NEVER
    assert Frame(b"x" * 512).window < NEVER
    noise = Frame(os.urandom(2000))
    assert noise.packed is noise.wire
    config.apply(compression_threshold=100)
    assert Frame(b"x" * 100).window < NEVER
    config.apply(compression=False)
    assert Frame(b"x" * 5000).window == NEVER


# --- on the chat's sockets -------------------------------------------------------------------------------


async def chat_line(server: ChatServer, room: str, offer: str | None) -> Line:
    line = await Line.open(server, offer, f"{CHAT}/{room}")
    await line.message()  # welcome
    return line


async def next_chat(line: Line) -> tuple[bool, dict]:
    """The next `chat` message, and whether it came compressed."""
    while True:
        seen = await line.read()
        message = json.loads(inflate(seen.payload) if seen.compressed else seen.payload)
        if message["type"] == "chat":
            return seen.compressed, message


async def test_each_member_gets_what_it_agreed_on(server, room):
    """In one room: with compression, with a small window, without; large messages and small ones."""
    offers = [OFFER, "permessage-deflate; server_max_window_bits=9", None]
    lines = [await chat_line(server, room, offer) for offer in offers]
    for size, expected in ((3000, [True, False, False]), (513, [True, False, False]), (10, [False] * 3)):
        content = {"content": "y" * size}
        await lines[2].send(frame(TEXT, json.dumps({"type": "chat", "data": content}).encode()))
        seen = [await next_chat(line) for line in lines]
        assert [compressed for compressed, _ in seen] == expected
        assert {json.dumps(message) for _, message in seen} == {json.dumps(seen[0][1])}
        assert seen[0][1]["data"] == content
    for line in lines:
        await line.close()


async def test_a_backlog_is_sent_compressed_too(server, connect, room):
    """Several messages of one turn, and replies, go the same way as broadcasts."""
    line = await chat_line(server, room, OFFER)
    ping = json.dumps({"type": "ping", "id": "p", "data": "z" * 2000}).encode()
    await line.send(frame(TEXT, ping) * 20)
    for _ in range(20):
        seen = await line.read()
        assert seen.compressed
        assert json.loads(inflate(seen.payload))["data"] == "z" * 2000
    await line.close()


async def test_by_default_nothing_is_kept_of_what_a_client_said(server, room):
    """The chat's answer says `client_no_context_takeover`; referring back closes with 1007."""
    line = await chat_line(server, room, OFFER)
    assert line.extensions.endswith("server_no_context_takeover; client_no_context_takeover")
    packer, message = Packer(), b'{"type":"ping","data":"again and again"}'
    await line.send(frame(TEXT, packer.pack(message), rsv=4))
    assert json.loads((await line.message())[1])["data"] == "again and again"
    await line.send(frame(TEXT, packer.pack(message), rsv=4))
    await line.closes(1007)
    await line.close()


async def test_it_can_be_switched_off(start_server, room):
    """By the environment at the start, by the admin while it runs; what the admin says goes first."""
    server = start_server(env={"COMPRESSION": "0"})
    line = await chat_line(server, room, OFFER)
    assert line.extensions == ""
    await line.close()
    server.change_settings(compression=True)

    async def agreed() -> bool:
        line = await chat_line(server, room, OFFER)
        await line.close()
        return bool(line.extensions)

    await eventually(agreed, "compression", 3)


async def test_browsers_libraries_understand_it(server, connect, room):
    """A client library that offers it by itself, as browsers do, talks and hears."""
    ada, bob = [await connect(server.ws(room), compression="deflate") for _ in range(2)]
    for size in (10, 600, 60_000):
        await ada.send_chat("y" * size, id=f"m-{size}")
        for client in (ada, bob):
            assert (await client.expect(type="chat"))["data"]["content"] == "y" * size
