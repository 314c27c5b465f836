"""What goes over the socket: masked client frames, and how each server's chat speaks inside them.

Every server gets the same chat text of `CONTENT_BYTES` bytes, wrapped as its own protocol asks. The
text starts with `MARK` and a number, by which a receiver knows which message came.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

MARK = b"bench:"
DIGITS = 8
CONTENT_BYTES = 100

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

# Any key but zero, for which some servers skip the unmasking.
_MASK = bytes.fromhex("a35c17e9")


def _masked(payload: bytes, start: int = 0) -> bytes:
    """`payload` XORed with the mask, `start` being its place in the frame's payload."""
    key = (_MASK * (len(payload) // 4 + 2))[start % 4 : start % 4 + len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole client frame of up to 65,535 bytes."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + _MASK + _masked(payload)


class ChatFrame:
    """Builds the chat frame with a given number; all but its eight digits is masked beforehand."""

    def __init__(self, before: bytes, after: bytes) -> None:
        filler = b"x" * (CONTENT_BYTES - len(MARK) - DIGITS)
        whole = before + MARK + b"0" * DIGITS + filler + after
        built = frame(whole)
        header = len(built) - len(whole)
        at = len(before) + len(MARK)
        self._head = built[: header + at]
        self._tail = built[header + at + DIGITS :]
        self._key = int.from_bytes(_masked(b"\0" * DIGITS, at), "big")

    def __call__(self, number: int) -> bytes:
        digits = (int.from_bytes(b"%08d" % number, "big") ^ self._key).to_bytes(DIGITS, "big")
        return self._head + digits + self._tail


@dataclass(frozen=True)
class Dialect:
    """How one server is spoken to."""

    name: str
    path: str
    """Of the WebSocket; `{room}` is replaced."""
    before: bytes
    """What precedes the chat text in a client's message."""
    after: bytes
    greeting: bytes
    """What the text frame holds that says that the client has joined; empty: the 101 says it."""
    opening: bytes = b""
    """A text frame that begins so is answered with `opening_answer`."""
    opening_answer: bytes = b""
    ping: bytes = b""
    """The server's heartbeat inside the protocol, answered with `pong`."""
    pong: bytes = b""
    failure: bytes = b""
    """A text frame that holds this is a refused message."""

    def chat_frame(self) -> ChatFrame:
        """The builder of this server's chat frames."""
        return ChatFrame(self.before, self.after)

    def handshake(self, room: str, host: str, port: int) -> bytes:
        """The upgrade request of a browser on the server's own page."""
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET {self.path.format(room=room)} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Origin: http://{host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()


OURS = Dialect(
    name="ours",
    path="/api/chat-api/ws/{room}",
    before=b'{"type":"chat","data":{"content":"',
    after=b'"}}',
    greeting=b'"welcome"',
    failure=b'"type":"error"',
)
PLAIN = Dialect(
    name="plain",
    path="/ws/chat/{room}/",
    before=b'{"message":"',
    after=b'"}',
    greeting=b"",
)
SOCKETIO = Dialect(
    name="socketio",
    path="/socket.io/?EIO=4&transport=websocket&room={room}",
    before=b'42["chat",{"content":"',
    after=b'"}]',
    greeting=b'40{"sid"',
    opening=b'0{"sid"',
    opening_answer=b"40",
    ping=b"2",
    pong=b"3",
    failure=b"44{",
)
