"""Messages of one connection: taken from its inbox, one after another or a few at once, and their failures
answered. What a message is given to, the consumer decides (``consumer.py``)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from channels.exceptions import StopConsumer
from channels.layers import get_channel_layer

from . import allowance, config, envelope, log
from .codes import CloseCode
from .connection import State
from .counters import add
from .errors import FAILURES, Disconnect, RealtimeError
from .events import is_ending
from .frames import Frame
from .limiting import LimitedConsumer
from .middleware import chain_of
from .pieces import Piece
from .refusal import answer_request
from .runtime import get_hub
from .stream import Streams
from .work import Work

logger = logging.getLogger("chat.realtime")


class DispatchingConsumer(LimitedConsumer):
    """Step 4 of a consumer's life, without the handlers."""

    concurrency: ClassVar[int] = 1
    max_streams: ClassVar[int] = 8  # under way at once
    _streams: Streams | None = None
    _works: set[Work] | None = None  # what runs beside the inbox
    _slot: asyncio.Future[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send = send
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        self.hub = get_hub()
        self.chain = chain_of(type(self))
        self._through = self.chain.receive
        self.connection = None  # type: ignore[assignment]
        try:
            if scope["type"] == "http":
                await answer_request(self, scope, receive, send)
            else:
                await self._serve(receive)
        except SystemExit as error:  # outside of messages: the server logs it, and ends this socket alone
            raise RuntimeError(f"{type(self).__name__} called sys.exit({error.code!r})") from error

    async def _serve(self, receive: Any) -> None:
        self._task = asyncio.current_task()
        try:
            while True:
                event = await receive()
                if event["type"] == "websocket.receive":
                    await self._receive(event)
                    continue
                if event["type"] == "websocket.disconnect":
                    await self._end_events()
                    if self._streams is not None:
                        await self._streams.end()
                    await self._finish_works()
                await self.dispatch(event)
                self._begun = True
                if self._events and self._pump is None:
                    self._start_pump()
        except StopConsumer:
            return
        finally:
            if self.connection is not None:
                self.connection.close(CloseCode.INTERNAL_ERROR)  # if it is still open, nobody serves it now
            self._forget(CloseCode.ABNORMAL)
            if self._pump is not None:
                self._pump.cancel()
            for work in self._works or ():
                work.task.cancel()
            if self._streams is not None:
                self._streams.stop()

    # --- one message ------------------------------------------------------------------------------

    async def _receive(self, event: dict[str, Any]) -> None:
        """One frame, after the events that came before it; one handler at a time, or ``concurrency``."""
        if self._pump is not None and self.concurrency == 1:
            await asyncio.shield(self._pump)
        connection = self.connection
        if connection.state is not State.OPEN:
            return  # closed by us: what the client still says is not heard any more
        text = event.get("text")
        data = event.get("bytes") if text is None else None
        size = len(text) if text is not None else len(data or b"")
        if not connection.transport.limits_messages and _too_big(text, size, self.max_message_bytes):
            connection.close(CloseCode.TOO_BIG)
            return
        connection.received(size)
        piece = event.get("piece")
        if self.limited:
            if not self._within_limits(text, size, piece):
                return
            if allowance.user_limit() and not await self._within_user_limit(text, piece):
                return
        if self.concurrency > 1 and piece is None:
            await self._begin(text, data)
            return
        connection.busy_since = self.hub.loop.time()
        try:
            if piece is None:
                await self.receive(text, data)
            else:
                await self.receive_piece(Piece(text, data, *piece))
        except FAILURES as error:
            self._failed(error, text, self._was_overdue())
        finally:
            connection.busy_since = None
            if self._events:
                self._start_pump()

    async def receive_piece(self, piece: Piece) -> None:
        """A part of a message that is larger than a frame came: where ``reads_pieces`` is declared."""
        raise NotImplementedError(f"{type(self).__name__} reads pieces, and says nothing of how")

    async def _begin(self, text: str | None, data: bytes | None) -> None:
        """Work on a message beside the inbox; while all slots are taken the inbox waits, and fills."""
        if self._works is None:
            self._works = set()
        while len(self._works) >= self.concurrency:
            self._slot = self.hub.loop.create_future()
            await self._slot
        if self.connection.state is not State.OPEN:
            return  # it has gone meanwhile

        async def run(work: Work) -> None:
            try:
                await self.receive(text, data)
            except FAILURES as error:
                try:
                    self._failed(error, text, work.was_overdue())
                except StopConsumer:
                    self.connection.close(CloseCode.INTERNAL_ERROR)

        self._works.add(Work(self.hub, run, self._work_done))

    def _work_done(self, work: Work) -> None:
        if self._works is not None:
            self._works.discard(work)
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(None)

    async def _finish_works(self) -> None:
        """The socket is gone: handlers that run are let finish, as a single one is, each by its deadline."""
        while self._works:
            await asyncio.wait({work.task for work in self._works})
            await asyncio.sleep(0)  # for ``_work_done``

    # --- failures ---------------------------------------------------------------------------------

    def _failed(self, error: BaseException, text: str | None, overdue: bool) -> None:
        """A handler ended with an error, or was ended."""
        if overdue:
            self._answer_overdue(text)
        elif isinstance(error, StopConsumer) or (isinstance(error, asyncio.CancelledError) and is_ending()):
            raise error
        elif isinstance(error, Disconnect):
            self.connection.close(error.close_code, error.reason)
        else:  # a handler that awaited something that was cancelled: its bug, not our end
            ref = kind = None
            if text is not None:
                ref, kind = envelope.peek_id(text), envelope.peek_type(text)
            kind = kind if kind in self.handlers else None
            self.connection.push(self.describe_failure(error, ref=ref, kind=kind))

    def _answer_overdue(self, text: str | None) -> None:
        """A handler has had its time. If it waited for this client to read, that is the client's fault."""
        if self.connection.full:
            self.hub.counters.slow_closed += 1
            self.connection.close(CloseCode.SLOW_CONSUMER)
        else:
            self._failed(TimeoutError(), text, False)

    def describe_failure(self, error: BaseException, *, ref: Any = None, kind: str | None = None) -> Frame:
        """The ``error`` message for a failure; a bug is logged, with the number that the client is told."""
        found = self.tell_failure(error, kind)
        add(self.hub.counters.errors, found.code)
        return Frame(
            envelope.error(
                found.code, found.message, ref=ref, retry_after=found.retry_after, details=found.details
            )
        )

    def tell_failure(self, error: BaseException, kind: str | None = None) -> RealtimeError:
        """``error`` as the client may know it. ``kind``: of the message that a handler failed at."""
        if isinstance(error, RealtimeError):
            return error
        known = {"type": kind, "consumer": type(self).__name__, "connection": self.connection}
        number = log.failure(logger, "message_failed", error, **known)
        return RealtimeError(f"Something went wrong on the server (error {number}).", code="internal")


def _too_big(text: str | None, size: int, own: int | None) -> bool:
    """Whether a message is above the limit, the consumer's ``own`` or the one in force; a character is up to
    four bytes, so few need encoding."""
    limit = config.current().max_message_bytes if own is None else own
    return size > limit or (text is not None and size * 4 > limit and len(text.encode()) > limit)
