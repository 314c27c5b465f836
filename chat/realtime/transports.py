"""A connection's transport on any ASGI server: one writer task, alive only while there is something to say.

Our own server has a shorter way (``protocol.py``). Here ``await send()`` is all there is; servers with
back-pressure (uvicorn, hypercorn) block in it while their client does not read, and the connection's
bounded buffer fills behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from .codes import CloseCode
from .connection import Connection
from .frames import Frame

Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiTransport:
    """Frames and the close event, in order, through one ASGI ``send``."""

    __slots__ = ("_connection", "_send", "_task", "_waiting", "ready")

    limits_messages = False

    def __init__(self, send: Send) -> None:
        self._send = send
        self._connection: Connection | None = None
        self._waiting: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.ready = True

    def attach(self, connection: Connection) -> None:
        self._connection = connection

    def write_frame(self, frame: Frame) -> None:
        self._say(frame.event)

    def write_frames(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._say(frame.event)

    def write_rest(self, data: bytes) -> None:
        raise TypeError("an ASGI server does its own framing")

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        """Close after what was written; the server gives up on clients that don't read."""
        self._say({"type": "websocket.close", "code": int(code), "reason": reason})

    def _say(self, event: dict[str, Any]) -> None:
        self._waiting.append(event)
        self.ready = False
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Send until nothing waits; the connection refills through ``resume``."""
        try:
            while self._waiting:
                event = self._waiting.popleft()
                if event["type"] == "websocket.close":
                    await self._close(event)
                else:
                    await self._send(event)
                if not self._waiting and self._connection is not None:
                    self.ready = True
                    self._connection.resume()
        except (OSError, RuntimeError, asyncio.CancelledError) as error:
            await self._give_up(error)
        finally:
            self._task = None
            self.ready = True

    async def _close(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except Exception:  # noqa: BLE001 (what stock daphne raises for a code between 1001 and 1015)
            await self._send({**event, "code": int(CloseCode.NORMAL), "reason": ""})

    async def _give_up(self, error: BaseException) -> None:
        """The server took no more: nearly always because the socket is gone, which it tells the consumer. If
        the socket lives (stock daphne refuses large outgoing messages), its client must not go deaf."""
        self._waiting.clear()
        if self._connection is not None:
            self._connection.abandon()
        if isinstance(error, RuntimeError):
            with suppress(Exception):
                await self._send({"type": "websocket.close", "code": int(CloseCode.SLOW_CONSUMER)})
