"""What a socket brought and its application has not taken yet; bounded, by not reading on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

# Reading pauses when so much waits for the application, and goes on when half of it is done.
INBOX_MESSAGES = 32
TURN = 16  # events that one application may take before others have their turn
INBOX_BYTES = 256 * 1024


class Inbox:
    """Events for one application, in order. Fills no further than the protocol reads."""

    __slots__ = ("_bytes", "_events", "_protocol", "_streak", "_then", "_waiter")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._events: deque[tuple[dict[str, Any], int]] | None = None
        self._bytes = 0
        self._streak = 0  # events taken without a wait
        self._then: Callable[[], None] | None = None
        self._waiter: asyncio.Future[dict[str, Any]] | None = None

    def when_done(self, then: Callable[[], None]) -> bool:
        """Call ``then`` once the application has worked off what came so far, and asks for more; True where
        it was called at once."""
        if self._waiter is not None and not self._waiter.done():
            then()
            return True
        self._then = then
        return False

    def put_nowait(self, event: dict[str, Any], size: int = 0) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._waiter = None
            waiter.set_result(event)
            return
        if self._events is None:
            self._events = deque()
        self._events.append((event, size))
        self._bytes += size
        if len(self._events) >= INBOX_MESSAGES or self._bytes >= INBOX_BYTES:
            self._protocol.pause_reading()

    async def get(self) -> dict[str, Any]:
        if not self._events:
            self._events = None  # an empty deque is 0.7 KiB a connection
            self._streak = 0
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            if self._then is not None:
                then, self._then = self._then, None
                then()
            return await waiter
        self._streak += 1
        if self._streak >= TURN:
            self._streak = 0
            await asyncio.sleep(0)
        event, size = self._events.popleft()
        self._bytes -= size
        if len(self._events) <= INBOX_MESSAGES // 2 and self._bytes <= INBOX_BYTES // 2:
            self._protocol.resume_reading()
        return event
