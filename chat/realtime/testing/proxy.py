"""A TCP line in between: to Redis or to a server, through which a test cuts, holds up, slows or deafens.

It runs in a thread of its own, so that it works while a test waits for something.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a RST (socket(7))
_PIECE = 65_536  # bytes read at once

Filter = Callable[[bytes], bytes]


class Proxy:
    """Listens on ``port`` and passes everything on to ``target`` (a port of this machine)."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.lines: list[_Line] = []
        self.refusing = False
        self.speed: float | None = None  # bytes a second towards the client
        self._open = threading.Event()  # cleared: nothing passes
        self._open.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    # --- life --------------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        """End all lines and the thread."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    # --- trouble -----------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every line; new ones are passed on as before."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Reset every line, and each new one at once, until ``accept``."""
        self.refusing = True
        self.cut()

    def accept(self) -> None:
        self.refusing = False

    def hold(self) -> None:
        """Let nothing pass, in neither direction, on lines that stay open, until ``release``."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def slow(self, speed: float | None) -> None:
        """Pass so many bytes a second to each client; None for all at once."""
        self.speed = speed

    # --- inside ------------------------------------------------------------------------------------------

    def filter(self) -> Filter | None:
        """A new line's filter of what the target says; a subclass has one."""
        return None

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            reset(writer.transport)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(writer.transport)
            return
        line = _Line([writer, far_writer], self.filter())
        self.lines.append(line)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, far_writer, None, None))
                tasks.create_task(self._pass(far_reader, writer, line.filter, lambda: self.speed))
        finally:
            self.lines.remove(line)
            line.reset()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        through: Filter | None,
        speed: Callable[[], float | None] | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                while not self._open.is_set():
                    await asyncio.sleep(0.01)
                if through is not None:
                    data = through(data)
                limit = speed() if speed is not None else None
                for start in range(0, len(data), max(1, int(limit / 20)) if limit else _PIECE):
                    piece = data[start : start + (max(1, int(limit / 20)) if limit else _PIECE)]
                    writer.write(piece)
                    await writer.drain()
                    if limit:
                        await asyncio.sleep(len(piece) / limit)
            if writer.can_write_eof():
                writer.write_eof()

    async def _cut(self) -> None:
        for line in list(self.lines):
            line.reset()

    async def _end(self) -> None:
        self.refusing = True
        self._open.set()
        self._server.close()
        await self._cut()
        while self.lines:
            await asyncio.sleep(0.01)


class RedisProxy(Proxy):
    """In front of a Redis. A client behind it can be made deaf: it is answered, but hears no message."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._deaf_for_ever = False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def deafen(self, *, for_ever: bool = False) -> None:
        """Swallow all pub/sub messages on the lines that are there; ``for_ever``: on new ones too."""
        self._deaf_for_ever = for_ever
        for line in list(self.lines):
            if isinstance(line.filter, _Messages):
                line.filter.swallowing = True

    def hear(self) -> None:
        """Pass messages on again, on all lines."""
        self._deaf_for_ever = False
        for line in list(self.lines):
            if isinstance(line.filter, _Messages):
                line.filter.swallowing = False

    def filter(self) -> Filter:
        return _Messages(self._deaf_for_ever)


class _Line:
    """Both ends of one connection."""

    def __init__(self, writers: list[asyncio.StreamWriter], through: Filter | None) -> None:
        self.writers = writers
        self.filter = through

    def reset(self) -> None:
        for writer in self.writers:
            reset(writer.transport)


class _Messages:
    """Redis' answers (RESP 2), piece by piece, without pub/sub messages while ``swallowing``."""

    def __init__(self, swallowing: bool) -> None:
        self.swallowing = swallowing
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        data, start, kept = self._rest + data, 0, []
        while (end := _end_of_answer(data, start)) > 0:
            answer = data[start:end]
            if not (self.swallowing and answer.startswith(b"*3\r\n$7\r\nmessage\r\n")):
                kept.append(answer)
            start = end
        self._rest = data[start:]
        return b"".join(kept)


def _end_of_answer(data: bytes, start: int) -> int:
    """Where the answer that begins at ``start`` ends; -1 while it is not whole."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return -1
    kind, number, end = data[start : start + 1], data[start + 1 : line_end], line_end + 2
    if kind == b"$":
        size = int(number)
        end += size + 2 if size >= 0 else 0
        return end if end <= len(data) else -1
    if kind == b"*":
        for _ in range(max(0, int(number))):
            end = _end_of_answer(data, end)
            if end < 0:
                return -1
    return end


def reset(transport: Any) -> None:
    """Drop a TCP line: the other side gets a RST."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
