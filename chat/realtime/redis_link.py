"""One connection to Redis that pipelines: commands written once a loop turn, answered in order.

channels-redis awaits a round trip per publish under a lock that it shares with subscribe, so one frozen
Redis stalls everything behind it. Here a command is a queue entry with a deadline and a callback:
nobody waits for anybody, and a connection whose answers stay out is cut and made anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from . import config, log

logger = logging.getLogger("chat.realtime.redis")

Done = Callable[[Any], None]  # called with the answer, or with an exception

MAX_COMMANDS = 10_000  # that wait for an answer; more are refused at once
BUSY = 512  # commands under way: publishers wait until half of them are answered
BUSY_BYTES = 4 * 1024 * 1024
MAX_BYTES = 32 * 1024 * 1024  # of commands that wait
CHECK_EVERY = 0.25  # seconds between looks at the oldest command's deadline
BACKOFF = (0.05, 1.0)  # seconds between attempts to connect: first, largest


class Command:
    __slots__ = ("args", "deadline", "done", "size")

    def __init__(self, args: tuple[Any, ...], size: int, deadline: float, done: Done | None) -> None:
        self.args = args
        self.size = size
        self.deadline = deadline
        self.done = done


class RedisLink:
    """Commands in, answers out. ``pool`` only makes the connections (address, TLS, Sentinel, login)."""

    def __init__(self, pool: ConnectionPool, name: str) -> None:
        self.pool = pool
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.up = False
        self.connects = 0
        self.on_change: Callable[[], None] = lambda: None  # called when it comes up, and when it is lost
        self._told = False
        self.lost = 0  # how often a working connection was lost
        self._connection: Any = None
        self._queued: deque[Command] = deque()  # not written yet
        self._written: deque[Command] = deque()  # written, not answered yet
        self._bytes = 0
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._relieving: list[asyncio.Future[None]] = []
        self._watch: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # --- for the layer ----------------------------------------------------------------------------

    def command(self, *args: Any, done: Done | None = None, timeout: float | None = None) -> None:
        """Queue a command. ``done`` gets the answer, or the exception that stands for it."""
        if self._task is None:
            self._task = self.loop.create_task(self._run())
        size = sum([len(arg) for arg in args if isinstance(arg, bytes | str)])
        if len(self._queued) + len(self._written) >= MAX_COMMANDS or self._bytes + size > MAX_BYTES:
            if done is not None:
                done(ConnectionError("too many commands wait for Redis"))
            return
        limit = config.current().redis_timeout if timeout is None else timeout
        self._queued.append(Command(args, size, self.loop.time() + limit, done))
        self._bytes += size
        if self._connection is not None:
            self._wake.set()
        if self._watch is None:
            self._watch = self.loop.call_later(CHECK_EVERY, self._check_deadlines)

    async def call(self, *args: Any, timeout: float | None = None) -> Any:
        """Send a command and return its answer. Raises ConnectionError, TimeoutError, ResponseError."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        self.command(*args, done=lambda result: settle(answer, result), timeout=timeout)
        return await answer

    async def relief(self) -> None:
        """Return when the link is not busy."""
        if len(self._queued) + len(self._written) >= BUSY or self._bytes >= BUSY_BYTES:
            relieved: asyncio.Future[None] = self.loop.create_future()
            self._relieving.append(relieved)
            await relieved

    def _relieve(self) -> None:
        if len(self._queued) + len(self._written) <= BUSY // 2 and self._bytes <= BUSY_BYTES // 2:
            waiting, self._relieving = self._relieving, []
            for relieved in waiting:
                settle(relieved, None)

    async def close(self) -> None:
        """Cut the connection; commands that wait fail."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._fail_all(ConnectionError("closed"))

    # --- for subclasses ---------------------------------------------------------------------------

    async def _prepare(self, connection: Any, again: bool) -> None:
        """A connection was made (``again``: not the first): what has to be so before it is used."""

    def _arguments(self, command: Command) -> tuple[Any, ...]:
        """What is written for a command."""
        return command.args

    def _connected(self) -> None:
        """A new connection is ready; nothing was written to it yet."""

    def _answered(self, answer: Any) -> None:
        """Something arrived: the answer to the oldest written command."""
        command = self._written.popleft()
        self._bytes -= command.size
        if self._relieving:
            self._relieve()
        _tell(command, answer)

    def _disconnected(self) -> None:
        """The connection is gone."""

    # --- the connection ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, write and read until the connection breaks; again, with growing pauses."""
        pause = BACKOFF[0]
        while True:
            connection = self.pool.make_connection()
            writer: asyncio.Task[None] | None = None
            try:
                async with asyncio.timeout(config.current().redis_timeout):
                    await connection.connect()
                await self._prepare(connection, again=self.connects > 0)
                if self.lost:
                    log.event(logger, logging.INFO, "redis_back", link=self.name)
                pause = BACKOFF[0]
                self._connection = connection
                self.up = True
                self.connects += 1
                self.on_change()
                self._connected()
                writer = self.loop.create_task(self._write(connection))
                self._reader = self.loop.create_task(self._read(connection))
                await self._until_broken(self._reader)
            except (RedisError, OSError, TimeoutError) as error:
                if self.up:
                    self.lost += 1
                    self._told = False
                    reason = type(error).__name__
                    log.event(logger, logging.WARNING, "redis_lost", link=self.name, reason=reason)
                elif not self._told:  # once an outage; a refused login needs an operator
                    self._told = True
                    refused = isinstance(error, AuthenticationError | ResponseError)
                    level = logging.ERROR if refused else logging.WARNING
                    words = str(error) or type(error).__name__
                    log.event(logger, level, "redis_unreachable", link=self.name, reason=words)
            except Exception as error:  # noqa: BLE001 (a bug below must not leave the worker deaf and dumb)
                log.failure(logger, "redis_link_failed", error, link=self.name)
            finally:
                if self.up:
                    self.up = False
                    self.on_change()
                self._connection = None
                if writer is not None:
                    writer.cancel()
                await connection.disconnect(nowait=True)
                self._fail(self._written, ConnectionError("the connection to Redis was lost"))
                self._disconnected()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, BACKOFF[1])

    async def _until_broken(self, reader: asyncio.Task[None]) -> None:
        """Wait for the end of the reader; its error is raised here. ``cut`` cancels it."""
        try:
            await asyncio.wait({reader})
        finally:
            reader.cancel()
        if reader.cancelled():
            raise ConnectionError("cut")
        await reader

    async def _write(self, connection: Any) -> None:
        """Write what has gathered since the last turn as one piece."""
        if self._queued:
            self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._queued:
                continue
            chunks: list[bytes] = []
            while self._queued:
                command = self._queued.popleft()
                chunks += connection.pack_command(*self._arguments(command))
                self._written.append(command)
            try:
                await connection.send_packed_command([b"".join(chunks)], check_health=False)
            except (RedisError, OSError):
                return  # the reader meets the same error and connects anew

    async def _read(self, connection: Any) -> None:
        read = connection.read_response
        while True:
            try:
                answer = await read(timeout=math.inf)
            except ResponseError as error:
                answer = error
            self._answered(answer)

    # --- deadlines --------------------------------------------------------------------------------

    def _check_deadlines(self) -> None:
        """Fail what is overdue. An overdue answer means that this connection can't be trusted: cut it."""
        self._watch = None
        now = self.loop.time()
        while self._queued and self._queued[0].deadline <= now:
            self._finish(self._queued.popleft(), TimeoutError("Redis did not answer in time"))
            self._relieve()
        if self._written and self._written[0].deadline <= now:
            self._fail(self._written, TimeoutError("Redis did not answer in time"))
            self.cut()
        if self._queued or self._written:
            self._watch = self.loop.call_later(CHECK_EVERY, self._check_deadlines)

    def cut(self) -> None:
        """Drop the connection; ``_run`` makes a new one. Closing alone would wait for a frozen peer to take
        what is still buffered, so the reader is cancelled."""
        if self._reader is not None:
            self._connection = None
            self._reader.cancel()

    def _fail_all(self, error: Exception) -> None:
        self._fail(self._written, error)
        self._fail(self._queued, error)

    def _fail(self, commands: deque[Command], error: Exception) -> None:
        while commands:
            self._finish(commands.popleft(), error)
        self._relieve()

    def _finish(self, command: Command, answer: Any) -> None:
        self._bytes -= command.size
        _tell(command, answer)


def _tell(command: Command, answer: Any) -> None:
    if command.done is not None:
        try:
            command.done(answer)
        except Exception as error:  # noqa: BLE001 (who asked has a bug: the others' answers are not lost for it)
            log.failure(logger, "redis_answer_failed", error)


def settle(future: asyncio.Future[Any], answer: Any) -> None:
    """Resolve a future with an answer or the exception that stands for it."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
