"""Our WebSocket protocol for Daphne: what its own can't say or can't bound.

A subclass of Daphne's autobahn protocol. Autobahn keeps the handshake, fragmented and control frames and
the closing handshake; here are the short ways for plain text frames in and ready frames out, limits,
back-pressure in both directions, refusals with a status and a body, and every close code.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import cached_property
from http import HTTPStatus
from typing import Any

from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator
from daphne.ws_protocol import WebSocketProtocol as DaphneProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from .codes import CloseCode
from .connection import Connection
from .errors import BadRequest, Refused, Unavailable
from .frames import BINARY, TEXT, Frame, build, read_simple
from .refusal import Headers, render

# Reading pauses when so much waits for the application, and goes on when half of it is done.
INBOX_MESSAGES = 32
INBOX_BYTES = 256 * 1024
# Bytes that may arrive before the handshake is answered.
EARLY_BYTES = 64 * 1024
PING_FRAME = b"\x89\x00"


# What an open connection keeps of the handshake.
_KEPT = frozenset(
    {
        "_perMessageCompress",
        "_wskey",
        "application_queue",
        "client_addr",
        "connected",
        "connection",
        "data",
        "factory",
        "last_seen",
        "path",
        "server",
        "socket_opened",
        "state",
        "transport",
        "websocket_protocol_in_use",
    }
)


class _Unwatched:
    """Stands for a Deferred that nobody waits for."""

    def callback(self, result: Any) -> None:
        pass


class _Insecure:
    """Stands for autobahn's description of a transport: TLS ends before us."""

    is_secure = False


class Inbox:
    """Events for one application, in order. Fills no further than the protocol reads."""

    __slots__ = ("_bytes", "_events", "_protocol", "_waiter")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._events: deque[tuple[dict[str, Any], int]] | None = None
        self._bytes = 0
        self._waiter: asyncio.Future[dict[str, Any]] | None = None

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
            self._waiter = asyncio.get_running_loop().create_future()
            return await self._waiter
        event, size = self._events.popleft()
        self._bytes -= size
        if len(self._events) <= INBOX_MESSAGES // 2 and self._bytes <= INBOX_BYTES // 2:
            self._protocol.resume_reading()
        return event


@implementer(IPushProducer)
class WebSocketProtocol(DaphneProtocol):
    """One socket, and its ``Connection``'s transport: ``ready``, ``write_frame``, ``close_now``."""

    # autobahn copies its options into every instance, and formats them for a log line that nobody reads;
    # ``configure`` makes them the class's instead (0.1 ms and 3 KiB a connection).
    CONFIG_ATTRS: list[str] = []

    # Of what autobahn and Daphne keep for each connection, an open one needs the names in _KEPT; the rest
    # is dropped once the handshake is answered, and read from these (6 KiB a connection).
    is_open = is_closed = _Unwatched()
    _transport_details = _Insecure()
    trafficStats = TrafficStats()
    utf8validator = cached_property(lambda self: Utf8Validator())
    send_queue: Any = ()
    trackedTimings: Any = None
    _perMessageCompress: Any = None
    current_frame: Any = None
    openHandshakeTimeoutCall = closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = autoPingPending = autoPingPendingCall = autoPingPendingSent = None
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    closedByMe = failedByMe = droppedByMe = wasClean = wasServingFlashSocketPolicyFile = False
    wasServerConnectionDropTimeout = wasOpenHandshakeTimeout = wasCloseHandshakeTimeout = False
    wasNotCleanReason = localCloseCode = localCloseReason = remoteCloseCode = remoteCloseReason = None
    triggered = inside_message = False
    send_state = 0
    websocket_version = 13
    websocket_extensions_in_use: Any = ()
    data = b""
    peer = ""

    connection: Connection | None = None
    limits_messages = True
    ready = True
    reading_paused = False
    last_seen = 0.0
    last_asked = 0.0
    handshake_deferred: Any = None
    _drained: list[asyncio.Future[None]] | None = None
    _refusal: tuple[int, Headers] | None = None
    _refusal_body = b""

    @classmethod
    def configure(cls, factory: Any) -> None:
        """Take the factory's options as this class's own."""
        for name in DaphneProtocol.CONFIG_ATTRS:
            value = getattr(factory, name)
            setattr(cls, name, staticmethod(value) if callable(value) else value)

    def __init__(self) -> None:
        """autobahn's makes Deferreds and descriptions that nobody looks at (40 µs)."""

    # --- handshake --------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._connectionMade()

    def onConnect(self, request: Any) -> Any:
        server = self.factory.server_class
        self.last_seen = server.clock()
        server.sockets[self] = None
        # Daphne leaves Twisted's HTTPChannel registered as the transport's producer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        return super().onConnect(request)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """autobahn found the upgrade request wrong."""
        refusal: Refused = BadRequest("This is not a valid WebSocket handshake.")
        if responseHeaders or code == 426:
            refusal = Refused("Only WebSocket version 13 is spoken here.", code="bad_version", status=426)
        elif code >= 500 and code != 505:
            refusal = Unavailable("The server can't open this connection.", code="internal")
        self.refuse(refusal)

    def refuse(self, refusal: Refused) -> None:
        """Answer the handshake with a status and a JSON body, and hang up."""
        status, headers, body = render(refusal)
        self._answer(status, headers, body)

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        phrase = HTTPStatus(status).phrase.encode()
        lines = [b"HTTP/1.1 %d %s" % (status, phrase)]
        lines += [name + b": " + value for name, value in headers]
        if not any(name.lower() == b"connection" for name, _ in headers):
            lines.append(b"connection: close")
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.handshake_deferred = None
        self.wasNotCleanReason = "refused"
        self.dropConnection(abort=False)

    def check_timeouts(self) -> None:
        """Daphne asks every two seconds. The application must answer the handshake in time too."""
        if self.state == self.STATE_CONNECTING:
            if self.duration() > self.server.websocket_connect_timeout >= 0:
                self.refuse(Unavailable("The server took too long to answer.", retry_after=2))
        elif self.duration() > self.server.websocket_timeout >= 0:
            self.end(CloseCode.NORMAL, "connected for too long")

    # --- incoming ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        self.last_seen = self.factory.server_class.clock()
        if self.failedByMe or self.state == self.STATE_CLOSED:
            return  # a close frame with the error was sent; what still comes is never buffered
        if self.state == self.STATE_OPEN and self.current_frame is None and not self.data:
            if not self.inside_message:
                data = self._read_simple_frames(data)
                if not data:
                    return
        elif self.state == self.STATE_CONNECTING and len(self.data) + len(data) > EARLY_BYTES:
            self.dropConnection(abort=True)
            return
        self._dataReceived(data)
        self._end_failed()

    def _end_failed(self) -> None:
        """After an error of the peer's: its close frame goes out, then our half of the line closes."""
        if self.failedByMe and self.state == self.STATE_CLOSING:
            self.transport.loseWriteConnection()

    def _read_simple_frames(self, data: bytes) -> bytes:
        """Deliver the whole text frames at the start of ``data``; returns what autobahn has to look at."""
        limit = self.maxMessagePayloadSize
        start = 0
        while True:
            found = read_simple(data, start, limit)
            if found is None:
                break
            payload, end = found
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break  # autobahn closes with 1007
            self.application_queue.put_nowait({"type": "websocket.receive", "text": text}, end - start)
            start = end
            if start == len(data):
                return b""
        return data[start:] if start else data

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        event: dict[str, Any] = {"type": "websocket.receive"}
        if isBinary:
            event["bytes"] = payload
        else:
            event["text"] = payload.decode()
        self.application_queue.put_nowait(event, len(payload))

    def pause_reading(self) -> None:
        """The application is behind: the peer has to wait."""
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            self.last_seen = self.factory.server_class.clock()
            if self.state != self.STATE_CLOSED:
                self.transport.resumeProducing()

    # --- outgoing: a Connection's transport -------------------------------------------------------

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        connection.write = self.transport.write

    def write_frame(self, frame: Frame) -> None:
        self.transport.write(frame.wire)

    def write_frames(self, frames: list[Frame]) -> None:
        self.transport.write(b"".join([frame.wire for frame in frames]))

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        """Send a close frame; hang up when the peer answers it, at the latest after a moment."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123] or None)
            if give_up_after is not None:
                self.factory.reactor.callLater(give_up_after, self.give_up)

    def give_up(self) -> None:
        """Cut the line, whatever is still to be sent."""
        if self.state != self.STATE_CLOSED:
            self.wasNotCleanReason = "the peer did not read"
            self.dropConnection(abort=True)

    def end(self, code: int, reason: str = "", give_up_after: float | None = None) -> None:
        """Close an open socket, through its connection where it has one."""
        if self.connection is not None:
            self.connection.close(code, reason or None)
        else:
            self.close_now(code, reason, give_up_after)

    def pauseProducing(self) -> None:
        """Twisted: 64 KiB wait below us."""
        self.ready = False
        if self.connection is not None:
            self.connection.pause()

    def resumeProducing(self) -> None:
        """Twisted: everything was sent. The peer took bytes, so it lives."""
        self.ready = True
        self.last_seen = self.factory.server_class.clock()
        if self.connection is not None:
            self.connection.resume()
        self._release()

    def stopProducing(self) -> None:
        """Twisted: the socket is gone."""
        self._release()

    async def drain(self) -> None:
        """Wait until the peer has read: back-pressure for plain ASGI applications."""
        while not self.ready and self.state == self.STATE_OPEN:
            if self._drained is None:
                self._drained = []
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(waiter)
            await waiter

    def _release(self) -> None:
        waiters, self._drained = self._drained, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # --- heartbeat --------------------------------------------------------------------------------

    def check_heartbeat(self, now: float, interval: float, timeout: float) -> None:
        """Ping a silent peer; part with one that is silent for too long (RFC 6455 section 5.5.2).

        Anything it sends, and any byte it takes, is a sign of life.
        """
        silent = now - self.last_seen
        if silent < interval or self.state != self.STATE_OPEN:
            return
        if self.reading_paused and self.ready:
            self.last_seen = now  # it is we who don't listen
        elif silent >= timeout:
            self.end(CloseCode.HEARTBEAT_MISSED, give_up_after=1.0)
        elif now - self.last_asked >= interval:
            self.last_asked = now
            if self.ready:
                self.transport.write(PING_FRAME)

    # --- the application's events -----------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            if self.state == self.STATE_CONNECTING:
                raise ValueError("Socket has not been accepted, so cannot send over it")
            text = message.get("text")
            if self.state == self.STATE_OPEN:
                if text is not None:
                    self.transport.write(build(TEXT, text.encode()))
                else:
                    self.transport.write(build(BINARY, message["bytes"]))
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            if self.state == self.STATE_CONNECTING:
                self.refuse(Refused())
            else:
                self.close_now(message.get("code") or CloseCode.NORMAL, message.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._refusal = (message["status"], list(message.get("headers") or ()))
        elif kind == "websocket.http.response.body":
            if self._refusal is None:
                raise ValueError("A response's body came before its start")
            self._refusal_body += message.get("body", b"")
            if not message.get("more_body"):
                self._answer(*self._refusal, self._refusal_body)
        else:
            raise ValueError(f"There is no reply of type {kind!r}")

    def _accept(self, message: dict[str, Any]) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.websocket_protocols:
            raise ValueError("The client did not offer the subprotocol that was accepted")
        headers: dict[str, list[str]] = {}
        for name, value in message.get("headers") or ():
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        deferred, self.handshake_deferred = self.handshake_deferred, None
        if deferred is not None:
            deferred.callback((subprotocol, headers))
            if self.state == self.STATE_OPEN:
                self.__dict__ = {name: value for name, value in self.__dict__.items() if name in _KEPT}
                self.transport.logstr = self.transport.repstr = "WebSocket"

    def handle_exception(self, exception: BaseException) -> None:
        """The application ended with an error (Daphne has logged it)."""
        if self.state == self.STATE_CONNECTING:
            self.refuse(Refused("Something went wrong on the server.", code="internal", status=500))
        else:
            self.end(CloseCode.INTERNAL_ERROR)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        server = self.factory.server_class
        server.sockets.pop(self, None)
        if self not in server.connections:
            return  # autobahn refused the handshake itself: no application knows of it
        server.protocol_disconnected(self)
        if self.failedByMe:
            code = self.localCloseCode
        elif self.connection is not None and self.connection.close_code is not None:
            code = self.connection.close_code
        queue = getattr(self, "application_queue", None)
        if queue is not None:
            event = {"type": "websocket.disconnect", "code": code or CloseCode.NO_STATUS}
            queue.put_nowait({**event, "reason": reason or ""})
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None

    def duration(self) -> float:
        return time.time() - self.socket_opened
