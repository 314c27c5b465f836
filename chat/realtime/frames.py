"""Frames of RFC 6455 section 5.2: built once for all receivers, and read when they are simple.

No socket and no clock in here: bytes in, bytes out.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from . import config
from .compression import NEVER, deflate, window_for

CONTINUATION = 0x0
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, COMPRESSED = 0x80, 0x40  # bits of a frame's first byte (RFC 6455 section 5.2, RFC 7692 section 6)


def build(opcode: int, payload: bytes) -> bytes:
    """One unmasked, unfragmented frame, as a server sends it; ``opcode`` may have the bit COMPRESSED."""
    size = len(payload)
    if size < 126:
        return bytes((FIN | opcode, size)) + payload
    if size < 65_536:
        return bytes((FIN | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((FIN | opcode, 127)) + size.to_bytes(8, "big") + payload


class FrameType(IntEnum):
    """The opcodes of RFC 6455 section 5.2 that end up in an application's hands or in a log."""

    TEXT = TEXT
    BINARY = BINARY
    CLOSE = CLOSE
    PING = PING
    PONG = PONG


class Frame:
    """One message for any number of connections: encoded, and framed and compressed at the first use only."""

    __slots__ = ("_packed", "_text", "_window", "_wire", "binary", "payload")

    def __init__(self, payload: bytes, binary: bool = False) -> None:
        self.payload = payload
        self.binary = binary
        self._wire: bytes | None = None
        self._packed: bytes | None = None
        self._window: int | None = None
        self._text: str | None = None

    @classmethod
    def of(cls, content: Any) -> Frame:
        """A text frame of any JSON value."""
        return cls(msgspec.json.encode(content))

    @property
    def type(self) -> FrameType:
        return FrameType.BINARY if self.binary else FrameType.TEXT

    @property
    def content(self) -> Any:
        """The JSON value that a text frame holds, decoded anew each time: a frame is many receivers'."""
        return msgspec.json.decode(self.payload)

    @property
    def wire(self) -> bytes:
        """The frame's bytes on the socket."""
        if self._wire is None:
            self._wire = build(BINARY if self.binary else TEXT, self.payload)
        return self._wire

    @property
    def window(self) -> int:
        """Connections whose ``window`` is not smaller get the ``packed`` bytes; no connection's is as large
        as that of a message which is not worth it."""
        if self._window is None:
            settings = config.current()
            small = len(self.payload) < settings.compression_threshold
            self._window = NEVER if small or not settings.compression else window_for(len(self.payload))
        return self._window

    @property
    def packed(self) -> bytes:
        """The frame's bytes on the socket of a client that takes compressed messages."""
        if self._packed is None:
            data = deflate(self.payload, config.current().compression_level)
            if len(data) < len(self.payload):
                self._packed = build((BINARY if self.binary else TEXT) | COMPRESSED, data)
            else:
                self._packed = self.wire
        return self._packed

    def wire_for(self, window: int) -> bytes:
        """The bytes for a connection with this ``window``."""
        return self.wire if window < self.window else self.packed

    @property
    def event(self) -> dict[str, object]:
        """The same message as an ASGI event, for servers that do their own framing."""
        if self.binary:
            return {"type": "websocket.send", "bytes": self.payload}
        if self._text is None:
            self._text = self.payload.decode()
        return {"type": "websocket.send", "text": self._text}


def read_simple(data: bytes, start: int, limit: int, first: int = FIN | TEXT) -> tuple[bytes, int] | None:
    """The unmasked payload of the frame that begins at ``start``, and where it ends.

    Only for a whole, masked, final text frame within ``limit`` bytes: nearly every frame of a chat is one.
    (Its ``first`` byte may say that it is compressed.)
    None for anything else: the full parser decides then. Unmasking as one big integer takes 0.5 µs for 100
    bytes, a loop over them 10 µs.
    """
    have = len(data) - start
    if have < 6 or data[start] != first:
        return None
    length = data[start + 1] ^ 0x80  # a frame without the mask bit gives 128 or more here
    if length < 126:
        body = start + 6
    elif length == 126:
        if have < 8:
            return None
        length = (data[start + 2] << 8) | data[start + 3]
        if length < 126:
            return None
        body = start + 8
    else:
        return None
    end = body + length
    if end > len(data) or length > limit:
        return None
    key = int.from_bytes((data[body - 4 : body] * (length // 4 + 1))[:length], "little")
    return (int.from_bytes(data[body:end], "little") ^ key).to_bytes(length, "little"), end


def unmask(data: bytes, key: bytes) -> bytes:
    """What was masked with the four bytes of ``key`` (RFC 6455 section 5.3), as ``read_simple`` does it."""
    size = len(data)
    stretched = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(data, "little") ^ stretched).to_bytes(size, "little")
