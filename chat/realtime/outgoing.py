"""The writing half of our WebSocket protocol: a Connection's transport, and what happens while the peer is
slow."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from .connection import Connection
from .frames import Frame
from .incoming import IncomingProtocol

CLOSE_HANDSHAKE = 2.0  # seconds for a peer to answer our close frame, and to take what was sent before


@implementer(IPushProducer)
class OutgoingProtocol(IncomingProtocol):
    """Writes frames at once, or says "not now": ``ready``."""

    limits_messages = True
    ready = True
    _unanswered_ping: bytes | None = None
    _drained: list[asyncio.Future[None]] | None = None

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        if getattr(self.transport, "connected", False) and hasattr(self.transport, "pause_at_once"):
            self.transport.pause_at_once = True
            connection.send_bytes = self.transport.socket.send

    def write_rest(self, data: bytes) -> None:
        self.transport.keep(data)

    def write_frame(self, frame: Frame) -> None:
        connection = self.connection
        self.transport.write(frame.wire if connection is None else frame.wire_for(connection.window))

    def write_frames(self, frames: list[Frame]) -> None:
        window = 0 if self.connection is None else self.connection.window
        self.transport.write(b"".join([frame.wire_for(window) for frame in frames]))

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

    def onPing(self, payload: bytes) -> None:
        """Answer at once, or when the peer reads again: then the last ping only (RFC 6455 section 5.5.3)."""
        if self.ready:
            self.sendPong(payload)
        else:
            self._unanswered_ping = payload

    def pauseProducing(self) -> None:
        """Twisted: something waits below us."""
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

    def send_plain(self, message: dict[str, Any]) -> None:
        """An ASGI application's own ``websocket.send``."""
        if self.state == self.STATE_CONNECTING:
            raise ValueError("Socket has not been accepted, so cannot send over it")
        if self.state == self.STATE_OPEN:
            text = message.get("text")
            frame = Frame(text.encode()) if text is not None else Frame(message["bytes"], binary=True)
            self.transport.write(frame.wire_for(self.window))


def _reason_bytes(reason: str) -> bytes | None:
    """A close reason as UTF-8 of at most 123 bytes (RFC 6455 section 5.5.1), cut between characters."""
    return reason.encode(errors="replace")[:123].decode(errors="ignore").encode() or None
