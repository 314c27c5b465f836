"""The ``send`` middleware's place: between a connection and its transport, for consumers that have any.

Everything that leaves for the client passes, in the order in which it was handed to the connection: replies,
pushes, errors, and the broadcasts that its rooms get. One task at a time runs the chain; meanwhile the
connection's bounded buffer fills, and its policy for slow clients holds. Connections of consumers without
``send`` middleware keep the short way to their socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from . import config, log
from .connection import Connection, State, Transport
from .counters import add
from .errors import BUGS, RealtimeError
from .frames import Frame

logger = logging.getLogger("chat.realtime")


class ChainTransport:
    """A transport that gives each frame to the chain first, and what the chain lets through to ``inner``."""

    def __init__(self, inner: Transport, consumer: Any) -> None:
        self.inner = inner
        self.limits_messages = inner.limits_messages
        self._consumer = consumer
        self._connection: Connection | None = None
        self._waiting: deque[Frame] = deque()
        self._closing: tuple[int, str, float | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle = False  # the task has nothing more to do

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def ready(self) -> bool:
        return (self._task is None or self._idle) and self.inner.ready

    def attach(self, connection: Connection) -> None:
        self._connection = connection
        self.inner.attach(connection)
        connection.send_bytes = None  # no way around the chain

    def write_frame(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._idle = False
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def write_frames(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.write_frame(frame)

    def write_rest(self, data: bytes) -> None:
        raise TypeError("frames go through the chain whole")

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        """Close after what waits; at once where the client can't be reached (``give_up_after``)."""
        if self._task is None or give_up_after is not None:
            self._waiting.clear()
            self.inner.close_now(code, reason, give_up_after)
        else:
            self._closing = (code, reason, give_up_after)

    async def _run(self) -> None:
        connection: Any = self._connection
        try:
            while self._waiting:
                await self._pass(self._waiting.popleft())
                if connection.state is not State.OPEN and self._closing is None:
                    return  # the socket is gone
                if not self._waiting and self._closing is None:
                    self._idle = True  # the connection hands over what waits there
                    connection.resume()
            if self._closing is not None:
                self.inner.close_now(*self._closing)
        finally:
            self._task = None
            self._waiting.clear()

    async def _pass(self, frame: Frame) -> None:
        """One frame through the chain. What it refuses, fails at or takes too long for is not sent."""
        try:
            async with asyncio.timeout(config.current().handler_timeout):
                await self._consumer.chain.send(self._consumer, frame, self._write)
        except RealtimeError:
            self._drop()
        except BUGS as error:  # a middleware's bug costs the frame, not the connection
            where = type(self._consumer).__name__
            log.failure(logger, "send_middleware_failed", error, consumer=where, connection=self._connection)
            self._drop()

    async def _write(self, frame: Frame) -> None:
        self.inner.write_frame(frame)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.dropped += 1
            self._connection.hub.counters.dropped += 1
            add(self._connection.hub.counters.drops, "middleware")
