"""Layer events of one connection: what ``group_send`` brings to a method of its consumer, as in Channels."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer

from . import config, log
from .codes import CloseCode
from .connection import State
from .counters import add
from .errors import BUGS
from .lifecycle import LifecycleConsumer

logger = logging.getLogger("chat.realtime")


class EventsConsumer(LifecycleConsumer):
    """Events wait, bounded, for their turn between two messages; one at a time, in order."""

    _begun = False  # events wait until ``connect`` and ``connected`` have returned
    _overdue = False
    _events: deque[dict[str, Any]] | None = None
    _pump: asyncio.Task[None] | None = None
    _task: asyncio.Task[Any] | None = None

    async def dispatch(self, message: dict[str, Any]) -> None:
        """An ASGI event or a layer event: to the method of its type, without Channels' thread hop."""
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    def take_event(self, message: dict[str, Any]) -> None:
        """A Channels event for this connection came from the layer; its turn comes between two frames."""
        if self._events is None:
            self._events = deque()
        if len(self._events) >= config.current().send_buffer:
            self.hub.counters.dropped += 1
            add(self.hub.counters.drops, "close")
            self.hub.counters.slow_closed += 1
            self.connection.close(CloseCode.SLOW_CONSUMER)
            return
        self._events.append(message)
        if self._begun and self.connection.busy_since is None and self._pump is None:
            self._start_pump()

    async def _end_events(self) -> None:
        """The socket is gone: an event's handler that still works is ended, before ``disconnect``."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump}, timeout=1)

    def _start_pump(self) -> None:
        self._pump = self.hub.loop.create_task(self._run_events())

    async def _run_events(self) -> None:
        connection = self.connection
        try:
            while self._events and connection.state is State.OPEN:
                message = self._events.popleft()
                connection.busy_since = self.hub.loop.time()
                try:
                    await self.dispatch(message)
                except StopConsumer:
                    connection.close()
                except BUGS as error:  # logged; the socket lives on
                    log.failure(
                        logger, "event_failed", error, type=message.get("type"), connection=connection
                    )
                except asyncio.CancelledError:
                    overdue = self._was_overdue()
                    if not overdue and is_ending():
                        raise
                    kind, reason = message.get("type"), "overdue" if overdue else "cancelled"
                    log.event(
                        logger, logging.ERROR, "event_ended", type=kind, reason=reason, connection=connection
                    )
        finally:
            connection.busy_since = None
            self._pump = None

    def overdue(self) -> None:
        """The hub's clock says that a handler has had its time: end it."""
        task = self._pump or self._task
        self.connection.busy_since = None
        if task is not None and not self._overdue:
            self._overdue = True
            task.cancel()

    def _was_overdue(self) -> bool:
        was, self._overdue = self._overdue, False
        task = asyncio.current_task()
        if was and task is not None:
            task.uncancel()
        return was


def is_ending() -> bool:
    """Whether somebody asked this very task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
