"""The base consumer: Channels' AsyncJsonWebsocketConsumer on the hub.

What a subclass writes the Channels way keeps working (``connect``, ``receive_json``, ``send_json``,
``disconnect``, ``groups``, ``group_send`` to ``my_event``); what Channels leaves open is decided here.
"""

from __future__ import annotations

from inspect import isawaitable
from time import perf_counter
from typing import Any, ClassVar

from channels.exceptions import DenyConnection
from msgspec import UNSET

from . import envelope, hooks
from .codes import CloseCode, may_send
from .connection import State
from .counters import OTHER, add
from .dispatching import DispatchingConsumer
from .envelope import Incoming, MessageType
from .errors import EnvelopeError, RealtimeError
from .frames import Frame
from .groups import room_group
from .handlers import Handler, binary_handler_of, handlers_of
from .hooks import Hook, MessageContext
from .publish import Receipt, abroadcast_room
from .stream import Streams


class RealtimeConsumer(DispatchingConsumer):
    """One connection's application.

    Its life, each step a method that a subclass may override:

    1. ``admit``: the origin, then the user; then, inside the middleware's ``connect``, ``authorize()``. Raise
       a ``Refused`` to say no before the upgrade. A plain GET on the same path takes these steps too and
       learns the answer.
    2. ``initial_groups()`` are joined; then ``connect()``, which accepts.
    3. ``connected()``: the socket is open; the first frames are sent here.
    4. ``receive()``: each frame is decoded and checked once, then given, through the middleware's
       ``receive``, to the handler of its type (``@on``). What the handler returns is the reply. A refused
       message is answered with ``error``; a handler's bug too, and is logged with an id.
    5. ``disconnect(code)``, inside the middleware's: the socket is gone and its groups are left.

    Handlers of one connection run one after another, in order, or up to ``concurrency`` at once; broadcasts
    reach the client meanwhile.
    """

    handlers: ClassVar[dict[str, Handler]] = {}
    _binary: ClassVar[str | None] = None
    _may_stream: ClassVar[bool] = False
    _reads_json: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        members = dict(vars(cls))
        cls.handlers = handlers_of(cls, members)
        cls._binary = binary_handler_of(members) or cls._binary
        cls._may_stream = any(handler.streams for handler in cls.handlers.values())
        cls._reads_json = cls.receive_json is not RealtimeConsumer.receive_json

    # --- 4: messages ------------------------------------------------------------------------------

    # Checks a text frame, raises RealtimeError; a consumer with another wire unit has its own. The function
    # itself: a method around it would cost each message 0.1 µs.
    decode = staticmethod(envelope.decode)

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """A frame came: an envelope, or a binary one where the consumer takes them, or, the Channels way
        (``receive_json`` overridden), any JSON."""
        if text_data is None or self._reads_json:
            await self._receive_raw(text_data, bytes_data)
            return
        try:
            message = self.decode(text_data)
        except RealtimeError:
            add(self.hub.counters.received, "invalid")
            raise
        through = self._through
        result = await (self.handle(message) if through is None else through(self, message, self.handle))
        if result is not None:
            await self.answer(message, result)

    async def _receive_raw(self, text: Any, data: Any) -> None:
        """A frame that is no envelope: ``receive_json`` or the handler of binary frames has it."""
        if text is None:
            if self._binary is None:
                raise EnvelopeError("Send text frames, not binary ones.")
            content, innermost = data, getattr(self, self._binary)
            add(self.hub.counters.received, "binary")
        else:
            try:
                content, innermost = await self.decode_json(text), self.receive_json
            except (ValueError, RecursionError):
                raise EnvelopeError("The message is not valid JSON.", code="invalid_json") from None
        through = self._through
        result = await (innermost(content) if through is None else through(self, content, innermost))
        if isinstance(result, bytes):
            await self.send(bytes_data=result)
        elif result is not None:
            await (self.reply("reply", result) if text is None else self.send_json(result))

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The Channels way in: overridden, it gets any JSON; called, it goes on to the handlers."""
        message = envelope.check(content)
        result = await self.handle(message)
        if result is not None:
            await self.answer(message, result)

    async def handle(self, message: Incoming) -> Any:
        """Give a checked message to its type's handler; returns what that returned. Raises RealtimeError."""
        context = None
        if hooks.handling:
            context = MessageContext(consumer=self, message=message)
            await hooks.run(Hook.BEFORE_HANDLE, context, *type(self).__mro__)
            message = context.message
        handler = self.handlers.get(message.type)
        counters = self.hub.counters
        if handler is None:
            if message.type == MessageType.STREAM_CANCEL and self._may_stream:
                self._cancel_stream(message)
                return None
            add(counters.received, OTHER)
            raise EnvelopeError("There is no message of this type to send.", code="unknown_type")
        add(counters.received, message.type)
        began = perf_counter()
        try:
            self.check_message(message)
            if handler.plain:
                result = await getattr(self, handler.name)(message)
            else:
                result = await self._handle_typed(handler, message)
        finally:
            counters.handled(message.type, perf_counter() - began)
        if context is not None:
            context.result = result
            await hooks.run(Hook.AFTER_HANDLE, context, *type(self).__mro__)
            return context.result
        return result

    async def _handle_typed(self, handler: Handler, message: Incoming) -> Any:
        """Give a message to a handler that declares its data, or is no plain ``async def``."""
        method = getattr(self, handler.name)
        if handler.schema is None:
            result = method(message)
        else:
            data = handler.schema.check(message.data, self)
            if isawaitable(data):
                data = await data
            result = method(data, message) if handler.takes_message else method(data)
        return await result if isawaitable(result) else result

    async def answer(self, message: Incoming, result: Any) -> None:
        """Send what a handler returned: a ``reply`` with the request's id, or what it yields as a stream."""
        if not hasattr(result, "__aiter__"):
            await self.reply("reply", result, id=ref_of(message))
            return
        if self._streams is None:
            self._streams = Streams(self)
        self._streams.start(ref_of(message), result)

    def _cancel_stream(self, message: Incoming) -> None:
        """The client wants no more of a stream."""
        ref = message.data.get("ref") if isinstance(message.data, dict) else ref_of(message)
        (self._streams or Streams(self)).cancel(ref)

    def check_message(self, message: Incoming) -> None:
        """Look at a message of a known type before its handler gets it; raise EnvelopeError to refuse it."""

    def draining(self) -> None:
        """The server is about to stop: the close frame (1001) comes next. Push a last word here."""

    @property
    def storage(self) -> dict[Any, Any]:
        """What middleware and hooks keep of this connection, each under a key of its own (often itself)."""
        if self._storage is None:
            self._storage = {}
        return self._storage

    _storage: dict[Any, Any] | None = None

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

    async def broadcast(self, room: str, type: str, data: Any, **options: Any) -> Receipt:
        """Send to every member of a room, on all workers, in this client's name (``abroadcast_room``)."""
        mine = {"sender": self.connection.id, "user": self.connection.user}
        return await abroadcast_room(room, type, data, **{**mine, **options})

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


def ref_of(message: Incoming) -> Any:
    """A message's own id, for an answer's ``ref``; None where it has none."""
    return None if message.id is UNSET else message.id
