"""A line to the echo endpoint, frame by frame, compressed or not."""

import asyncio
import zlib
from typing import NamedTuple

from chat.realtime.testing.raw import BINARY, CLOSE, CONTINUATION, TEXT, RawSocket, frame
from chat.realtime.testing.waiting import LIMIT
from tests.kit import ChatServer

ECHO = "/api/echo/ws"
RSV1 = 4
TAIL = b"\x00\x00\xff\xff"


class Seen(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes
    compressed: bool = False


class Line:
    """A WebSocket at the echo endpoint."""

    def __init__(self, raw: RawSocket, extensions: str) -> None:
        self.raw = raw
        self.extensions = extensions  # what the server agreed to

    @classmethod
    async def open(cls, server: ChatServer, offer: str | None = None, path: str = ECHO) -> "Line":
        raw = await RawSocket.open(server.port)
        response = await raw.handshake(path, **({"Sec_WebSocket_Extensions": offer} if offer else {}))
        assert response.status == 101, response
        return cls(raw, response.headers.get("sec-websocket-extensions", ""))

    async def send(self, *frames: bytes) -> None:
        await self.raw.send(b"".join(frames))

    async def drip(self, data: bytes, size: int = 1) -> None:
        """Send it in parts, each of which the server reads by itself."""
        for start in range(0, len(data), size):
            await self.raw.send(data[start : start + size])

    async def read(self) -> Seen:
        """The next frame; whole, since the server never sends fragments."""
        async with asyncio.timeout(LIMIT):
            return await self._read()

    async def _read(self) -> Seen:
        reader = self.raw.reader
        first, size = await reader.readexactly(2)
        assert first & 0x80, "the server sent a fragment"
        assert not size & 0x80, "a server must not mask its frames (RFC 6455 section 5.1)"
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await reader.readexactly(8), "big")
        assert not first & 0x30, "a reserved bit that nobody agreed on"
        return Seen(first & 0x0F, await reader.readexactly(size), bool(first & 0x40))

    async def message(self) -> tuple[int, bytes]:
        """The next message, inflated: its opcode and its bytes."""
        seen = await self.read()
        assert seen.opcode in (TEXT, BINARY), seen
        return seen.opcode, inflate(seen.payload) if seen.compressed else seen.payload

    async def echoes(self, opcode: int, payload: bytes) -> None:
        """The next message is this one."""
        assert await self.message() == (opcode, payload)

    async def closes(self, code: int | None) -> None:
        """The next frame is a close frame with that code, and then the line ends."""
        seen = await self.read()
        assert seen.opcode == CLOSE, seen
        assert (int.from_bytes(seen.payload[:2], "big") if seen.payload else None) == code, seen
        assert await self.raw.expect_end() == b""

    async def close(self) -> None:
        await self.raw.close()


def inflate(data: bytes) -> bytes:
    """One message of the server's: it never refers to an earlier one."""
    return zlib.decompressobj(-15).decompress(data + TAIL)


class Packer:
    """A client's compressor, which may keep its context."""

    def __init__(self, window: int = 15, level: int = 6) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, -window)

    def pack(self, payload: bytes) -> bytes:
        return (self._stream.compress(payload) + self._stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def packed(payload: bytes, opcode: int = TEXT, packer: Packer | None = None) -> bytes:
    """One compressed message in one frame."""
    return frame(opcode, (packer or Packer()).pack(payload), rsv=RSV1)


def fragments(opcode: int, parts: list[bytes], rsv: int = 0) -> list[bytes]:
    """One message in several frames."""
    last = len(parts) - 1
    return [
        frame(opcode if at == 0 else CONTINUATION, part, fin=at == last, rsv=rsv if at == 0 else 0)
        for at, part in enumerate(parts)
    ]
