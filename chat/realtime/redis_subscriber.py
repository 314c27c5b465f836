"""The subscribed connection to Redis: it hears, and notices when it has gone deaf."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio import ConnectionPool

from . import config
from .redis_link import Command, RedisLink, settle


class SubscriberLink(RedisLink):
    """The receiving half: keeps ``channels`` subscribed over reconnects, and hands messages on.

    A connection that is silent although it was pinged is cut: a half-open line would be deaf for ever.
    """

    PING_AFTER = 0.5  # seconds without any message
    DEAF_AFTER = 2.0  # seconds after an unanswered ping: below redis_timeout, see docs/architecture.md

    def __init__(
        self,
        pool: ConnectionPool,
        name: str,
        on_message: Callable[[bytes, bytes], None],
        on_lost: Callable[[], None],
        restore: Callable[[], list[tuple[Any, ...]]],
    ) -> None:
        super().__init__(pool, name)
        self._on_lost = on_lost
        self._restore = restore
        self.channels: set[str] = set()
        self._on_message = on_message
        self._confirming: dict[bytes, deque[list[asyncio.Future[None]]]] = {}  # one entry a SUBSCRIBE
        self._heard = self.loop.time()
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    def subscribe(self, channel: str) -> asyncio.Future[None]:
        """Subscribe, now and after every reconnect; the future resolves when Redis has confirmed it."""
        answer: asyncio.Future[None] = self.loop.create_future()
        self.channels.add(channel)
        self._confirming.setdefault(channel.encode(), deque()).append([answer])
        self.loop.call_later(config.current().redis_timeout, _expire, answer)
        self.command("SUBSCRIBE", channel)
        return answer

    def unsubscribe(self, channel: str) -> None:
        """End a subscription; no need to wait for it."""
        self.channels.discard(channel)
        if self._connection is not None:
            self.command("UNSUBSCRIBE", channel)
        else:
            self._abandon(channel.encode())

    def _abandon(self, channel: bytes) -> None:
        """Nobody will answer those who wait for a channel: it is not asked for any more."""
        for waiters in self._confirming.pop(channel, ()):
            for waiter in waiters:
                settle(waiter, ConnectionError("unsubscribed"))

    # Subscribed connections answer by channel, not in order: whatever arrives shows that the line is alive,
    # and what was lost with a connection is asked for again by ``_connected``.

    def _connected(self) -> None:
        self._drop(self._queued)
        for channel in [name for name in self._confirming if name.decode() not in self.channels]:
            self._abandon(channel)
        for waiting in self._confirming.values():  # one SUBSCRIBE answers all who wait for a channel
            waiting.extend([[waiter for waiters in waiting for waiter in waiters]])
            while len(waiting) > 1:
                waiting.popleft()
        if self.channels:
            self.command("SUBSCRIBE", *sorted(self.channels))
        self._heard = self.loop.time()
        self._asked = False
        self._look()

    async def _prepare(self, connection: Any, again: bool) -> None:
        """Redis may have lost what this worker wrote there. It stands again before the subscriptions do,
        which is what the publishers of all workers wait for."""
        commands = self._restore() if again else []
        if commands:
            packed = [part for command in commands for part in connection.pack_command(*command)]
            await connection.send_packed_command([b"".join(packed)], check_health=False)
            async with asyncio.timeout(config.current().redis_timeout):
                for _ in commands:
                    await connection.read_response(timeout=math.inf)

    def _disconnected(self) -> None:
        self._on_lost()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answered(self, answer: Any) -> None:
        self._heard = self.loop.time()
        self._asked = False
        self._drop(self._written)
        if not isinstance(answer, list):
            return
        kind = answer[0]
        if kind == b"message":
            self._on_message(answer[1], answer[2])
        elif kind == b"subscribe":
            waiting = self._confirming.get(answer[1])
            if waiting:
                for waiter in waiting.popleft():
                    settle(waiter, None)
                if not waiting:
                    del self._confirming[answer[1]]

    def _drop(self, commands: deque[Command]) -> None:
        while commands:
            self._bytes -= commands.popleft().size

    def _look(self) -> None:
        """Ping a silent connection; cut a deaf one."""
        now = self.loop.time()
        silent = now - self._heard
        if self._asked and silent > self.PING_AFTER + self.DEAF_AFTER:
            self.cut()
            return
        if silent > self.PING_AFTER and not self._asked:
            self._asked = True
            self.command("PING")
        self._timer = self.loop.call_later(self.PING_AFTER / 2, self._look)


def _expire(answer: asyncio.Future[None]) -> None:
    settle(answer, TimeoutError("Redis did not confirm the subscription in time"))
