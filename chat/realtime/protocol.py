"""Our WebSocket protocol for Daphne: what its own can't say or can't bound.

A subclass of Daphne's autobahn protocol. Autobahn keeps the handshake, fragmented and control frames and
the closing handshake; here are the short ways for plain text frames in and ready frames out, limits,
back-pressure in both directions, refusals with a status and a body, and every close code.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from .codes import CloseCode
from .connection import Connection
from .errors import Refused, Unavailable
from .frames import BINARY, TEXT, Frame, announced_size, build, read_simple
from .handshaking import HandshakingProtocol

# Bytes that may arrive before the handshake is answered.
EARLY_BYTES = 64 * 1024
# Frames of one read that autobahn parses in one turn of the loop, at up to 60 µs each: 64 KiB of the smallest
# ones are 11,000, and would hold up everybody for half a second.
SLOW_FRAMES = 32
CLOSE_HANDSHAKE = 2.0  # seconds for a peer to answer our close frame, and to take what was sent before
PING_FRAME = b"\x89\x00"


@implementer(IPushProducer)
class WebSocketProtocol(HandshakingProtocol):
    """One socket, and its ``Connection``'s transport: ``ready``, ``write_frame``, ``close_now``."""

    connection: Connection | None = None
    _late = b""  # read, but not worked on yet
    _frames = 0  # of the message that is coming in
    _unanswered_ping: bytes | None = None
    limits_messages = True
    ready = True
    reading_paused = False
    last_seen = 0.0
    last_asked = 0.0
    _drained: list[asyncio.Future[None]] | None = None
    # --- beginning and waiting ----------------------------------------------------------------------

    def onConnect(self, request: Any) -> Any:
        server = self.factory.server_class
        self.last_seen = server.clock()
        server.sockets[self] = None
        # Daphne leaves Twisted's HTTPChannel registered as the transport's producer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        return super().onConnect(request)

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
        if self._late:
            self._late += data  # arrived before the pause took effect
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Work on what arrived: plain text frames the short way, others by autobahn, a few a turn."""
        if self.state == self.STATE_CONNECTING:
            if len(self.data) + len(data) > EARLY_BYTES:
                self.dropConnection(abort=True)
            else:
                self._dataReceived(data)
            return
        for _ in range(SLOW_FRAMES):
            if self.failedByMe or self.state == self.STATE_CLOSED:
                return  # a close frame with the error was sent; what still comes is never buffered
            if self.current_frame is None:
                data, self.data = self.data + data, b""
                if self.state == self.STATE_OPEN and not self.inside_message:
                    data = self._read_simple_frames(data)
            if not data:
                return
            size = self._frame_rest(data)
            self._dataReceived(data[:size])
            self._end_failed()
            data = data[size:]
            if not data:
                return
            if self.reading_paused:
                break
        self._put_off(data)

    def _frame_rest(self, data: bytes) -> int:
        """Where in ``data`` the frame ends that autobahn is in, or is to begin."""
        if self.current_frame is not None:
            return int(self.current_frame.length - self.current_frame_masker.pointer())
        return announced_size(data) or len(data)

    def _put_off(self, data: bytes) -> None:
        """Keep the rest for another turn of the loop; nothing more is read until it is worked off."""
        self._late = data
        self.transport.pauseProducing()
        if not self.reading_paused:
            self.factory.server_class.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        data, self._late = self._late, b""
        if self.transport is None or (self.reading_paused and data):
            self._late = data
            return
        if data:
            self._take(data)
        if not self._late and not self.reading_paused and self.state != self.STATE_CLOSED:
            self.transport.resumeProducing()

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
            if self.reading_paused:
                self._put_off(data[start:])
                return b""
        return data[start:] if start else data

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        event: dict[str, Any] = {"type": "websocket.receive"}
        if isBinary:
            event["bytes"] = payload
        else:
            event["text"] = payload.decode()
        self.application_queue.put_nowait(event, len(payload))

    def onMessageBegin(self, isBinary: bool) -> None:
        self._frames = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        """Empty fragments cost memory too: no more of them than a message may have bytes."""
        self._frames += 1
        if self._frames > max(self.maxMessagePayloadSize, 1):
            self._max_message_size_exceeded(self._frames, self.maxMessagePayloadSize, "too many fragments")
            return
        super().onMessageFrameBegin(length)

    def onPing(self, payload: bytes) -> None:
        """Answer at once, or when the peer reads again: then the last ping only (RFC 6455 section 5.5.3)."""
        if self.ready:
            self.sendPong(payload)
        else:
            self._unanswered_ping = payload

    def pause_reading(self) -> None:
        """The application is behind: the peer has to wait."""
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            self.last_seen = self.factory.server_class.clock()
            if self._late:
                self.factory.server_class.loop.call_soon(self._go_on)
            elif self.state != self.STATE_CLOSED:
                self.transport.resumeProducing()

    # --- outgoing: a Connection's transport -------------------------------------------------------

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        if getattr(self.transport, "connected", False) and hasattr(self.transport, "pause_at_once"):
            self.transport.pause_at_once = True
            connection.send_bytes = self.transport.socket.send

    def write_rest(self, data: bytes) -> None:
        self.transport.keep(data)

    def write_frame(self, frame: Frame) -> None:
        self.transport.write(frame.wire)

    def write_frames(self, frames: list[Frame]) -> None:
        self.transport.write(b"".join([frame.wire for frame in frames]))

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        """Send a close frame; hang up when the peer answers it, at the latest after a moment."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=_reason_bytes(reason))
            if give_up_after is not None:
                self.factory.reactor.callLater(give_up_after, self.give_up)

    def give_up(self) -> None:
        """Cut the line, whatever is still to be sent."""
        if self.state != self.STATE_CLOSED:
            self.wasNotCleanReason = "the peer did not read"
            self.dropConnection(abort=True)

    def dropConnection(self, abort: bool = False) -> None:
        """Hang up. Without ``abort`` the transport first sends what waits: for a moment, not for ever."""
        transport = self.transport
        super().dropConnection(abort)
        if not abort and transport is not None:
            self.factory.reactor.callLater(CLOSE_HANDSHAKE, transport.abortConnection)

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
        if self._unanswered_ping is not None:
            payload, self._unanswered_ping = self._unanswered_ping, None
            self.sendPong(payload)
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
            self.accept(message)
        elif kind == "websocket.close":
            if self.state == self.STATE_CONNECTING:
                self.refuse(Refused())
            else:
                self.close_now(message.get("code") or CloseCode.NORMAL, message.get("reason") or "")
        elif kind.startswith("websocket.http.response."):
            self.refuse_with(message)
        else:
            raise ValueError(f"There is no reply of type {kind!r}")

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


def _reason_bytes(reason: str) -> bytes | None:
    """A close reason as UTF-8 of at most 123 bytes (RFC 6455 section 5.5.1), cut between characters."""
    return reason.encode(errors="replace")[:123].decode(errors="ignore").encode() or None
