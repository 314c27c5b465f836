"""A socket that reads nothing unless told to, and sends whatever it is given: a slow client, or a flood.

asyncio's streams read ahead; here only ``read`` and ``read_frames`` take bytes from the kernel.
"""

import asyncio
import base64
import fcntl
import os
import socket
import sys
import termios
import time
from typing import Self

from .raw import CLOSE, RawFrame

RECEIVE_BUFFER = 4096  # bytes in the kernel, which doubles it


class QuietSocket:
    """One TCP connection; ``upgraded`` makes it a WebSocket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    @classmethod
    async def open(cls, port: int) -> Self:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    @classmethod
    async def upgraded(cls, port: int, path: str) -> Self:
        """An open WebSocket. The server's first frames may be among what is unread."""
        quiet = await cls.open(port)
        await quiet.ask_upgrade(path)
        head = b""
        async with asyncio.timeout(5):
            while not head.endswith(b"\r\n\r\n"):
                head += await asyncio.get_running_loop().sock_recv(quiet.sock, 1)
        assert head.startswith(b"HTTP/1.1 101"), head
        return quiet

    async def ask_upgrade(self, path: str) -> None:
        """Send an upgrade request, and do not read the answer."""
        key = base64.b64encode(os.urandom(16)).decode()
        host, port = self.sock.getpeername()
        await self.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), 5)

    async def flood(self, piece: bytes, total: int, patience: float = 1.0) -> int:
        """Send ``piece`` over and over until the peer has taken ``total`` bytes, takes none for ``patience``
        seconds, or hangs up. Returns how many bytes its kernel and it took."""
        loop = asyncio.get_running_loop()
        sent, offset, last = 0, 0, time.monotonic()
        waiting = 0
        while time.monotonic() - last < patience:
            waiting, waited = self._unsent(), waiting
            if waiting < waited:
                last = time.monotonic()
            if sent >= total:
                if not waiting:
                    break
                await asyncio.sleep(0.005)
                continue
            try:
                count = self.sock.send(memoryview(piece)[offset:])
            except BlockingIOError:
                await _writable(loop, self.sock, 0.1)
                continue
            except OSError:
                break
            sent, offset, last = sent + count, (offset + count) % len(piece), time.monotonic()
            await asyncio.sleep(0)
        return sent - self._unsent()

    def _unsent(self) -> int:
        """Bytes that the peer's kernel has not taken (tcp(7), SIOCOUTQ)."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    async def read(self, limit: float = 5.0) -> bytes:
        """What the kernel has, or what comes next; b"" at the end of the stream."""
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().sock_recv(self.sock, 1 << 20)
        except ConnectionError:
            return b""

    async def read_frames(self, limit: float = 5.0) -> list[RawFrame]:
        """The whole frames that wait or come next; [] at the end of the stream."""
        while True:
            data = await self.read(limit)
            frames, self._rest = _split(self._rest + data)
            if frames or not data:
                return frames

    async def frames_until_close(self, limit: float = 5.0) -> tuple[list[RawFrame], int]:
        """Every frame up to the close frame, and its code; 1006 where the stream ends without one."""
        found: list[RawFrame] = []
        while frames := await self.read_frames(limit):
            for frame in frames:
                if frame.opcode == CLOSE:
                    return found, frame.close_code
                found.append(frame)
        return found, 1006

    def close(self) -> None:
        self.sock.close()


async def _writable(loop: asyncio.AbstractEventLoop, sock: socket.socket, limit: float) -> None:
    """Wait until the kernel takes more, for at most ``limit`` seconds."""
    ready = loop.create_future()
    loop.add_writer(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await asyncio.wait({ready}, timeout=limit)
    finally:
        loop.remove_writer(sock)


def _split(data: bytes) -> tuple[list[RawFrame], bytes]:
    """The whole frames at the start, and the rest."""
    frames, start = [], 0
    while len(data) - start >= 2:
        size, body = data[start + 1] & 0x7F, start + 2
        if size == 126:
            size, body = int.from_bytes(data[body : body + 2], "big"), body + 2
        elif size == 127:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        if len(data) < body + size:
            break
        frames.append(RawFrame(data[start] & 0x0F, data[body : body + size], bool(data[start] & 0x80)))
        start = body + size
    return frames, data[start:]
