"""The publishing connection to Redis: what it reports as published has reached the workers.

When Redis comes back, workers find it one after the other. A message published before the others are
subscribed again would be acknowledged and lost, so publishing waits for them: messages stay queued, and are
refused at their deadline as before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool

from .redis_link import BACKOFF, RedisLink

# A worker that lost the same Redis tries again at least this often, so it is there after that time. Seconds.
GRACE = BACKOFF[1] + 0.25
ASK_EVERY = 0.05  # seconds


class PublisherLink(RedisLink):
    """``channel`` is the one that every worker is subscribed to."""

    def __init__(self, pool: ConnectionPool, name: str, channel: str) -> None:
        super().__init__(pool, name)
        self.channel = channel
        self.workers = 0  # that were subscribed when last asked

    def count_workers(self) -> None:
        """Ask how many workers are subscribed; remembered for the next reconnect."""
        self.command("PUBSUB", "NUMSUB", self.channel, done=self._counted)

    def _counted(self, answer: Any) -> None:
        if isinstance(answer, list):
            self.workers = int(answer[1])

    async def _prepare(self, connection: Any) -> None:
        limit = self.loop.time() + GRACE
        while self.workers and self.loop.time() < limit:
            await connection.send_command("PUBSUB", "NUMSUB", self.channel, check_health=False)
            answer = await connection.read_response(timeout=GRACE)
            if answer is None or int(answer[1]) >= self.workers:
                return
            await asyncio.sleep(ASK_EVERY)
