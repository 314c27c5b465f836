"""The publishing connection to Redis: what it reports as published has reached the workers.

When Redis comes back, workers find it one after the other. A message published before the others are
subscribed again would be acknowledged and lost, so publishing waits for them: messages stay queued, and are
refused at their deadline as before.

And a message that was refused because Redis did not answer must not reach anybody when it answers at last:
each carries the time, by Redis' own clock, after which Redis is not to publish it any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import NoScriptError, ResponseError

from . import config, log
from .redis_link import BACKOFF, Command, Done, RedisLink

logger = logging.getLogger("chat.realtime.redis")

# A worker that lost the same Redis tries again at least this often, so it is there after that time. Seconds.
GRACE = BACKOFF[1] + 0.25
ASK_EVERY = 0.05  # seconds

_scripts: list[str] = []


def script(text: str) -> str:
    """Have every publishing connection load a Lua script before it is used; returns its name for EVALSHA."""
    _scripts.append(text)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# ARGV: channel, message, the last moment in ms of Redis' clock. Returns the receivers.
_PUBLISH_ID = script("""
local now = redis.call('TIME')
if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[3]) then return redis.error_reply('LATE') end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
""")
_EXPIRES = object()  # stands for the command's deadline, until it is written


class PublisherLink(RedisLink):
    """``channel`` is the one that every worker is subscribed to."""

    def __init__(self, pool: ConnectionPool, name: str, channel: str) -> None:
        super().__init__(pool, name)
        self.channel = channel
        self.workers = 0  # that were subscribed when last asked
        self.round_trip = 0.0  # seconds, of the last look
        self._complained = 0.0  # when last, in the loop's time
        self._clock = 0.0  # Redis' time minus the loop's, in seconds

    def publish(self, channel: str, message: bytes, done: Done | None = None) -> None:
        """Publish until the deadline, or never; ``done`` gets the number of receivers, or an exception."""
        self.command("EVALSHA", _PUBLISH_ID, 0, channel, message, _EXPIRES, done=done)

    def now(self) -> float:
        """The time by Redis' clock, in seconds."""
        return self.loop.time() + self._clock

    def look(self) -> None:
        """Ask how many workers are subscribed, remembered for the next reconnect, and what time it is."""
        self.command("PUBSUB", "NUMSUB", self.channel, done=self._counted)
        asked = self.loop.time()

        def answered(answer: Any) -> None:
            self.round_trip = self.loop.time() - asked
            self._timed(answer)

        self.command("TIME", done=answered)  # its clock may be set meanwhile

    def _timed(self, answer: Any) -> None:
        if isinstance(answer, list):
            self._clock = int(answer[0]) + int(answer[1]) / 1e6 - self.loop.time()

    def _counted(self, answer: Any) -> None:
        if isinstance(answer, list):
            self.workers = int(answer[1])

    def _answered(self, answer: Any) -> None:
        """An error of Redis' (out of memory, read-only, ...) is as good as no Redis for who publishes."""
        if isinstance(answer, ResponseError):
            if self.loop.time() - self._complained > 1:
                self._complained = self.loop.time()
                log.event(logger, logging.ERROR, "redis_refused", link=self.name, reason=str(answer))
            super()._answered(ConnectionError(str(answer)))
            if isinstance(answer, NoScriptError):
                self.cut()  # somebody flushed the scripts: a new connection loads ours
            elif str(answer).startswith("LATE"):
                self.command("TIME", done=self._timed)  # if it was not late, its clock was set
        else:
            super()._answered(answer)

    def _arguments(self, command: Command) -> tuple[Any, ...]:
        if command.args[-1] is not _EXPIRES:
            return command.args
        return (*command.args[:-1], int((command.deadline + self._clock) * 1000))

    async def _prepare(self, connection: Any, again: bool) -> None:
        for text in _scripts:
            await self._ask(connection, "SCRIPT", "LOAD", text)
        self._timed(await self._ask(connection, "TIME"))
        limit = self.loop.time() + GRACE
        while again and self.loop.time() < limit:
            answer = await self._ask(connection, "PUBSUB", "NUMSUB", self.channel)
            if int(answer[1]) >= self.workers:
                return
            await asyncio.sleep(ASK_EVERY)

    async def _ask(self, connection: Any, *command: str) -> Any:
        """One command on a connection that is not in use yet. Raises RedisError."""
        await connection.send_command(*command, check_health=False)
        answer = await connection.read_response(timeout=config.current().redis_timeout)
        if answer is None:
            raise TimeoutError
        return answer
