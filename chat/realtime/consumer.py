"""The base consumer: Channels' AsyncJsonWebsocketConsumer on the hub.

What a subclass writes the Channels way keeps working (``connect``, ``receive_json``, ``send_json``,
``disconnect``, ``groups``, ``group_send`` to ``my_event``); what Channels leaves open is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from channels.consumer import get_handler_name
from channels.exceptions import DenyConnection, StopConsumer
from channels.layers import get_channel_layer
from msgspec import UNSET

from . import config, envelope
from .codes import CloseCode, may_send
from .connection import State
from .envelope import Incoming
from .errors import EnvelopeError, RealtimeError, Refused
from .frames import Frame
from .groups import room_group
from .lifecycle import LifecycleConsumer
from .refusal import answer_request
from .runtime import get_hub

logger = logging.getLogger("chat.realtime")

Handler = Callable[[Any, Incoming], Awaitable[None]]


def on(kind: str) -> Callable[[Handler], Handler]:
    """Make a method the handler of one message type; it gets the checked ``Incoming``."""

    def mark(method: Handler) -> Handler:
        method.handles = kind  # type: ignore[attr-defined]
        return method

    return mark


class RealtimeConsumer(LifecycleConsumer):
    """One connection's application.

    Its life, each step a method that a subclass may override:

    1. ``admit``: the origin, then the user, then ``authorize()``; raise a ``Refused`` to say no before the
       upgrade. A plain GET on the same path takes these steps too and learns the answer.
    2. ``initial_groups()`` are joined; then ``connect()``, which accepts.
    3. ``connected()``: the socket is open; the first frames are sent here.
    4. ``receive()``: each frame is decoded and checked once, then given to the handler of its type (``@on``).
       A refused message is answered with ``error``; a handler's bug too, and is logged with an id.
    5. ``disconnect(code)``: the socket is gone and its groups are left.

    Handlers of one connection run one after another, in order; broadcasts reach the client meanwhile.
    """

    handlers: ClassVar[dict[str, str]] = {}
    _begun = False  # events wait until ``connect`` and ``connected`` have returned
    _overdue = False
    _events: deque[dict[str, Any]] | None = None
    _pump: asyncio.Task[None] | None = None
    _task: asyncio.Task[Any] | None = None
    _reads_json: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.handlers = {**cls.handlers}
        for name, member in vars(cls).items():
            if hasattr(member, "handles"):
                cls.handlers[member.handles] = name
        cls._reads_json = cls.receive_json is not RealtimeConsumer.receive_json

    # --- the ASGI application ---------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send = send
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        self.hub = get_hub()
        self.connection = None  # type: ignore[assignment]
        if scope["type"] == "http":
            await answer_request(self, scope, receive, send)
            return
        self._task = asyncio.current_task()
        try:
            while True:
                event = await receive()
                if event["type"] == "websocket.receive":
                    await self._receive(event)
                    continue
                if event["type"] == "websocket.disconnect":
                    await self._end_events()
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

    async def dispatch(self, message: dict[str, Any]) -> None:
        """An ASGI event or a layer event: to the method of its type, without Channels' thread hop."""
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    # --- 4: messages ------------------------------------------------------------------------------

    async def _receive(self, event: dict[str, Any]) -> None:
        """One frame, after the events that came before it; never two handlers at once."""
        if self._pump is not None:
            await asyncio.shield(self._pump)
        connection = self.connection
        if connection.state is not State.OPEN:
            return  # closed by us: what the client still says is not heard any more
        text = event.get("text")
        data = event.get("bytes") if text is None else None
        size = len(text) if text is not None else len(data or b"")
        if not connection.transport.limits_messages and _too_big(text, size):
            connection.close(CloseCode.TOO_BIG)
            return
        connection.received(size)
        connection.busy_since = self.hub.loop.time()
        try:
            await self.receive(text, data)
        except Exception as error:  # noqa: BLE001 (the socket outlives a handler's bug)
            self._answer_failure(error, text)
        except asyncio.CancelledError as error:
            if self._was_overdue():
                self._answer_overdue(text)
            elif self._is_ending():
                raise
            else:  # the handler awaited something that was cancelled: its bug, not our end
                self._answer_failure(error, text)
        finally:
            connection.busy_since = None
            if self._events:
                self._start_pump()

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """A frame came. The Channels way (``receive_json`` overridden) gets any JSON, ours an envelope."""
        if text_data is None:
            raise EnvelopeError("Send text frames, not binary ones.")
        if self._reads_json:
            try:
                content = await self.decode_json(text_data)
            except (ValueError, RecursionError):
                raise EnvelopeError("The message is not valid JSON.", code="invalid_json") from None
            await self.receive_json(content, **kwargs)
            return
        await self.handle(envelope.decode(text_data))

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The Channels way in: overridden, it gets any JSON; called, it goes on to the handlers."""
        await self.handle(envelope.check(content))

    async def handle(self, message: Incoming) -> None:
        """Give a checked message to the handler of its type. Raises EnvelopeError."""
        name = self.handlers.get(message.type)
        if name is None:
            raise EnvelopeError("There is no message of this type to send.", code="unknown_type")
        self.check_message(message)
        await getattr(self, name)(message)

    def check_message(self, message: Incoming) -> None:
        """Look at a message of a known type before its handler gets it; raise EnvelopeError to refuse it."""

    def draining(self) -> None:
        """The server is about to stop: the close frame (1001) comes next. Push a last word here."""

    def _answer_overdue(self, text: str | None) -> None:
        """A handler has had its time. If it waited for this client to read, that is the client's fault."""
        if self.connection.full:
            self.hub.counters.slow_closed += 1
            self.connection.close(CloseCode.SLOW_CONSUMER)
        else:
            self._answer_failure(TimeoutError(), text)

    def _answer_failure(self, error: BaseException, text: str | None) -> None:
        ref = envelope.peek_id(text) if text is not None else None
        retry_after = None
        if isinstance(error, StopConsumer):
            raise error
        if isinstance(error, RealtimeError) and not isinstance(error, Refused):
            code, words, retry_after = error.code, error.message, error.retry_after
        else:
            number = secrets.token_hex(4)
            code = "internal"
            words = f"Something went wrong on the server (error {number})."
            logger.error(
                "error %s in %s, connection %s",
                number,
                type(self).__name__,
                self.connection.id,
                exc_info=None if isinstance(error, TimeoutError) else error,
            )
        self.connection.push(Frame(envelope.error(code, words, ref=ref, retry_after=retry_after)))

    # --- layer events -----------------------------------------------------------------------------

    def take_event(self, message: dict[str, Any]) -> None:
        """A Channels event for this connection came from the layer; its turn comes between two frames."""
        if self._events is None:
            self._events = deque()
        if len(self._events) >= config.current().send_buffer:
            self.hub.counters.dropped += 1
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
                except Exception:
                    # An event handler's bug is nobody's message: it is logged, the socket lives on.
                    logger.exception("event %s failed, connection %s", message.get("type"), connection.id)
                except asyncio.CancelledError:
                    overdue = self._was_overdue()
                    if not overdue and self._is_ending():
                        raise
                    what = "took too long" if overdue else "was cancelled"
                    logger.error("event %s %s, connection %s", message.get("type"), what, connection.id)
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

    def _is_ending(self) -> bool:
        """Whether somebody asked this very task to end."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _was_overdue(self) -> bool:
        was, self._overdue = self._overdue, False
        task = asyncio.current_task()
        if was and task is not None:
            task.uncancel()
        return was

    # --- sending ----------------------------------------------------------------------------------

    async def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
        """Send to this client, after everything that was sent before; waits while its buffer is full."""
        if self.connection is None or self.connection.state is State.CONNECTING:
            raise RuntimeError("Accept the connection before sending over it.")
        if text_data is not None:
            await self.connection.send(Frame(text_data.encode()))
        elif bytes_data is not None:
            await self.connection.send(Frame(bytes_data, binary=True))
        else:
            raise ValueError("You must pass one of bytes_data or text_data")
        if close:
            await self.close(close)

    async def send_json(self, content: Any, close: Any = False) -> None:
        await self.send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return envelope.dumps(content)

    async def reply(self, kind: str, data: Any, *, id: Any = None) -> None:
        """Send one envelope to this client."""
        room = self.connection.room
        await self.connection.send(Frame(envelope.encode(kind, data, room=room, id=id)[1]))

    async def join(self, room: str) -> None:
        """Become a member of a room: what ``broadcast_room`` sends there reaches this client from now on.

        A slash in the name keeps the room from the chat's endpoints, where visitors choose names without.
        Raises LayerUnavailable. For raw layer groups there is ``channel_layer.group_add``.
        """
        await self.hub.join(room_group(room), self.connection)
        self.connection.add_room(room)

    async def leave(self, room: str) -> None:
        self.quit(room)

    def quit(self, room: str) -> None:
        """``leave`` for code that is not a coroutine."""
        self.connection.discard_room(room)
        self.hub.leave(room_group(room), self.connection)

    def put_out(self, room: str, reason: str) -> None:
        """Leave a joined room, not by the client's wish, and tell it the ``reason``, a word for machines."""
        self.quit(room)
        told = {"event": "left", "room": room, "reason": reason}
        self.connection.push(Frame(envelope.encode("system", told, room=room)[1]))

    async def close(self, code: Any = None, reason: str | None = None) -> None:
        """Close the socket after what was sent; before the accept, refuse it."""
        if self.connection is None or self.connection.state is State.CONNECTING:
            raise DenyConnection()
        code = CloseCode.NORMAL if code is None or code is True else int(code)
        if not may_send(code):
            raise ValueError(f"{code} is no close code that can be sent")
        self.connection.close(code, reason)


def _too_big(text: str | None, size: int) -> bool:
    """Whether a message is above the limit; a character is up to four bytes, so few need encoding."""
    limit = config.current().max_message_bytes
    return size > limit or (text is not None and size * 4 > limit and len(text.encode()) > limit)


def ref_of(message: Incoming) -> Any:
    """A message's own id, for an answer's ``ref``; None where it has none."""
    return None if message.id is UNSET else message.id
