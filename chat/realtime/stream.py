"""Streams: a handler that yields answers in numbered pieces, as fast as its client reads.

``stream.start``, ``stream.chunk`` (``data.seq`` from 0, ``data.data``), then ``stream.end`` or
``stream.error``, all with the request's id. Each stream is a task of its own: it holds up neither the
connection's handlers nor anybody else. Between two pieces it waits until nothing waits for the client any
more, so at most one piece of it is in the server's memory. docs/streaming.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from . import envelope, log
from .codes import CloseCode
from .connection import State
from .counters import add
from .envelope import MAX_ID_LENGTH, MessageType
from .errors import BUGS, FAILURES, Disconnect, EnvelopeError, RealtimeError, TooManyStreams
from .frames import Frame
from .work import Work

logger = logging.getLogger("chat.realtime")

# Seconds that streams have to tidy up when their socket has gone, before ``disconnect``.
LAST_MOMENT = 1.0


class _Gone(Exception):
    """The client will not read on."""


class Streams:
    """The streams of one connection that are under way, by the ids of their requests."""

    __slots__ = ("_consumer", "_running")

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._running: dict[Any, Stream] = {}

    def start(self, ident: Any, values: AsyncIterator[Any]) -> None:
        """Begin to send ``values``. Without an id the client learns one by ``stream.start``.

        Raises EnvelopeError for an id that names no stream, or one under way; TooManyStreams.
        """
        if ident is None:
            ident = envelope.new_id()
        elif not _names_stream(ident):
            words = f"A stream's id is a number, or a text of at most {MAX_ID_LENGTH} characters."
            raise EnvelopeError(words)
        if ident in self._running:
            raise EnvelopeError("A stream with this id is under way.")
        if len(self._running) >= self._consumer.max_streams:
            raise TooManyStreams()
        self._running[ident] = Stream(self._consumer, ident, values, self._ended)

    def cancel(self, ident: Any) -> None:
        """End a stream as its client wishes; one that has ended meanwhile is no error.

        Raises EnvelopeError where no id is given.
        """
        if not _names_stream(ident):
            raise EnvelopeError("Name the stream: data.ref is its request's id.")
        stream = self._running.get(ident)
        if stream is not None:
            stream.cancel()

    async def end(self) -> None:
        """The socket has gone: end them all, and let them tidy up."""
        tasks = self.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_MOMENT)

    def stop(self) -> set[asyncio.Task[None]]:
        """Tell them all to end; returns their tasks."""
        tasks = {stream.work.task for stream in self._running.values()}
        for task in tasks:
            task.cancel()
        return tasks

    def _ended(self, stream: Stream) -> None:
        self._running.pop(stream.ident, None)


class Stream:
    """One answer in pieces."""

    __slots__ = ("_begun", "_cancelled", "_chunks", "_consumer", "_reading", "_values", "ident", "work")

    def __init__(self, consumer: Any, ident: Any, values: AsyncIterator[Any], ended: Any) -> None:
        self.ident = ident
        self._consumer = consumer
        self._values = values
        self._chunks = 0
        self._begun = self._cancelled = False
        self._reading = False  # whether it is the client that is waited for
        self.work = Work(consumer.hub, self._run, lambda work: ended(self))

    def cancel(self) -> None:
        """The client wants no more of it."""
        if not self._cancelled:
            self._cancelled = True
            if self._begun:
                self.work.task.cancel()

    async def _run(self, work: Work) -> None:
        self._begun = True
        try:
            await self._send_all(work)
        except _Gone:
            pass
        except asyncio.CancelledError as error:
            if work.was_overdue():
                self._overdue()
            elif self._cancelled:
                work.task.uncancel()  # to close the generator in peace
                self._end()
            elif work.task.cancelling():
                raise  # the connection has ended
            else:  # it awaited something that was cancelled
                self._fail(error)
        except Disconnect as error:
            self._consumer.connection.close(error.close_code, error.reason)
        except BUGS as error:  # which the socket outlives
            self._fail(error)
        finally:
            await self._close(work)

    async def _send_all(self, work: Work) -> None:
        await self._send(work, MessageType.STREAM_START, {})
        async for value in self._values:
            if self._cancelled:  # before it began, or it has caught its cancellation
                break
            await self._send(work, MessageType.STREAM_CHUNK, {"seq": self._chunks, "data": value})
            self._chunks += 1
            await asyncio.sleep(0)  # a generator that never waits must not keep the loop to itself
            work.step()
        self._end()

    def _end(self) -> None:
        data: dict[str, Any] = {"chunks": self._chunks}
        if self._cancelled:
            data["cancelled"] = True
        self._push(MessageType.STREAM_END, data)

    async def _send(self, work: Work, kind: str, data: dict[str, Any]) -> None:
        """Send one piece when the client has read what came before."""
        frame = self._frame(kind, data)
        work.step()
        connection = self._consumer.connection
        self._reading = True
        await connection.writable()
        self._reading = False
        if connection.state is not State.OPEN:
            raise _Gone
        connection.push(frame)
        work.step()

    def _frame(self, kind: str, data: dict[str, Any]) -> Frame:
        room = self._consumer.connection.room
        return Frame(envelope.encode(str(kind), data, room=room, id=self.ident)[1])

    def _push(self, kind: str, data: dict[str, Any]) -> None:
        self._consumer.connection.push(self._frame(kind, data))

    def _overdue(self) -> None:
        """One piece took too long: the handler's fault, or the client's that does not read."""
        connection = self._consumer.connection
        if self._reading:
            connection.hub.counters.slow_closed += 1
            connection.close(CloseCode.SLOW_CONSUMER)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: BaseException) -> None:
        told: RealtimeError = self._consumer.tell_failure(error)
        add(self._consumer.hub.counters.errors, told.code)
        data: dict[str, Any] = {"code": told.code, "message": told.message, "chunks": self._chunks}
        if told.retry_after is not None:
            data["retry_after"] = told.retry_after
        if told.details is not None:
            data["details"] = told.details
        self._push(MessageType.STREAM_ERROR, data)

    async def _close(self, work: Work) -> None:
        """Let the generator run its ``finally`` blocks; they have a handler's time."""
        close = getattr(self._values, "aclose", None)
        if close is None:
            return
        work.step()
        try:
            await close()
        except FAILURES as error:
            overdue = work.was_overdue()
            if isinstance(error, asyncio.CancelledError) and not overdue:
                raise
            log.failure(logger, "stream_not_closed", error, connection=self._consumer.connection)


def _names_stream(ident: Any) -> bool:
    return type(ident) is int or (type(ident) is str and len(ident) <= MAX_ID_LENGTH)
