"""A socket that speaks HTTP and WebSocket by hand: handshakes and frames that no library would send."""

import asyncio
import base64
import json
import os
from dataclasses import dataclass
from typing import Any, Self

from .waiting import LIMIT

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


@dataclass(frozen=True)
class Response:
    """An HTTP response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code in the body of a refusal."""
        code: str = self.json["error"]["code"]
        return code


@dataclass(frozen=True)
class RawFrame:
    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE, f"no close frame: {self}"
        return int.from_bytes(self.payload[:2], "big")


class RawSocket:
    """One TCP connection; every read has a limit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> Self:
        return cls(*await asyncio.open_connection(host, port))

    @classmethod
    async def upgraded(cls, port: int, path: str, **headers: str) -> Self:
        """An open WebSocket."""
        raw = await cls.open(port)
        response = await raw.handshake(path, **headers)
        assert response.status == 101, response
        return raw

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), LIMIT)

    async def handshake(self, path: str, **headers: str | None) -> Response:
        """Send an upgrade request; underscores in names become dashes, None leaves a usual header out."""
        host, port = self.writer.get_extra_info("peername")[:2]
        usual: dict[str, str | None] = {
            "Host": f"{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        lowered = {name.lower() for name in given}
        all_of_them = {name: value for name, value in usual.items() if name.lower() not in lowered} | given
        lines = [f"{name}: {value}" for name, value in all_of_them.items() if value is not None]
        await self.send("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
        return await self.read_response()

    async def read_response(self, limit: float = LIMIT) -> Response:
        """Status line, headers and, by Content-Length, body."""
        async with asyncio.timeout(limit):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {}
            for line in head[1:]:
                name, _, value = line.partition(":")
                if name:
                    headers[name.strip().lower()] = value.strip()
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return Response(int(head[0].split()[1]), headers, body)

    async def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0
    ) -> None:
        await self.send(frame(opcode, payload, fin=fin, mask=mask, rsv=rsv))

    async def send_json(self, message: Any) -> None:
        await self.send_frame(TEXT, json.dumps(message).encode())

    async def read_frame(self, limit: float = LIMIT) -> RawFrame:
        """The next frame of the server. Raises asyncio.IncompleteReadError at the end of the stream."""
        async with asyncio.timeout(limit):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server must not mask its frames (RFC 6455 section 5.1)"
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return RawFrame(first & 0x0F, await self.reader.readexactly(size), bool(first & 0x80))

    async def expect_close(self, limit: float = LIMIT) -> int:
        """Skip frames up to the close frame; its code."""
        while True:
            found = await self.read_frame(limit)
            if found.opcode == CLOSE:
                return found.close_code

    async def expect_end(self, limit: float = LIMIT) -> bytes:
        """Wait until the server has hung up; returns what it sent until then."""
        rest = b""
        async with asyncio.timeout(limit):
            while True:
                try:
                    chunk = await self.reader.read(65_536)
                except ConnectionResetError:
                    return rest
                if not chunk:
                    return rest
                rest += chunk

    async def close(self) -> None:
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), LIMIT)
        except OSError:
            pass  # the server was faster


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """One frame as a client sends it (RFC 6455 section 5.2); ``rsv`` are the three reserved bits."""
    return header(opcode, len(payload), fin=fin, mask=mask, rsv=rsv) + _masked(payload, mask)


def header(opcode: int, size: int, *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """A frame's first bytes, up to its masking key, for a payload of ``size`` bytes."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if size < 126:
        return bytes((first, bit | size))
    if size < 65_536:
        return bytes((first, bit | 126)) + size.to_bytes(2, "big")
    return bytes((first, bit | 127)) + size.to_bytes(8, "big")


def _masked(payload: bytes, mask: bool) -> bytes:
    if not mask:
        return payload
    key = os.urandom(4)
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return key + mixed.to_bytes(len(payload), "big")
