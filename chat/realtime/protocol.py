"""Our WebSocket protocol for Daphne: what its own can't say or can't bound.

A subclass of Daphne's autobahn protocol, in steps: ``handshaking.py``, ``incoming.py``, ``outgoing.py``
and the connection's life and the application's events here. Autobahn keeps the handshake and the closing
handshake; frames are ours, with limits, back-pressure in both directions, refusals with a status and a body,
and every close code.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
import time
from typing import Any

from autobahn.websocket.types import ConnectionDeny

from . import config
from .codes import CloseCode
from .errors import Refused, Unavailable
from .frames import PING, build
from .heartbeat import Step, decide
from .outgoing import OutgoingProtocol


class WebSocketProtocol(OutgoingProtocol):
    """One socket, and its ``Connection``'s transport: ``ready``, ``write_frame``, ``close_now``."""

    last_asked = 0.0
    _waiting = 0  # bytes in the system's buffer, at the last look
    _ping: bytes | None = None  # the payload of the ping that is not answered yet

    def onConnect(self, request: Any) -> Any:
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            raise ConnectionDeny(400, "subprotocol")  # Daphne's attempt to read it would end in a traceback
        server = self.factory.server_class
        self.last_seen = self.last_asked = server.clock()
        self.asked = True
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

    # --- heartbeat and deadlines ------------------------------------------------------------------

    def check(self, now: float, interval: float, timeout: float) -> None:
        """Once a second. Anything that the peer sends, and any byte that it takes, is a sign of life."""
        if self.state != self.STATE_OPEN or self._ending:
            return
        settings = config.current()
        if not self.ready:
            taken = self._taken_at(now)
            self.last_seen = max(self.last_seen, taken)
            if now - taken >= settings.write_timeout:
                self.end(CloseCode.SLOW_CONSUMER, give_up_after=1.0)
                return
        elif self.reading_paused:
            self.last_seen = now  # it is we who don't listen
            return
        if self._late is None and self.reading_since(now) >= settings.read_timeout:
            self.end(CloseCode.HEARTBEAT_MISSED, "the message took too long", give_up_after=1.0)
            return
        step = decide(now, self.last_seen, self.last_asked, interval, timeout)
        if step is Step.GONE:
            self.end(CloseCode.HEARTBEAT_MISSED, give_up_after=1.0)
        elif step is Step.PING:
            self.last_asked = now
            if self.ready:
                self._ping = struct.pack("!d", now)
                self.transport.write(build(PING, self._ping))

    def _taken_at(self, now: float) -> float:
        """When the peer last took something. The system's own buffer may hold megabytes, and lets us write
        again only when a third of it is free; so what it still has is looked at too."""
        transport = self.transport
        if not hasattr(transport, "taken_at"):
            return now
        waiting, self._waiting = self._waiting, unsent(transport.socket)
        if self._waiting < waiting:
            transport.taken_at = now
        return float(transport.taken_at)

    def onPong(self, payload: bytes) -> None:
        """The answer to our ping tells how far away the peer is; any other pong tells nothing."""
        if payload == self._ping:
            self._ping = None
            if self.connection is not None:
                self.connection.rtt = self.last_seen - self.last_asked

    def resume_reading(self) -> None:
        self._ping = None  # its answer has lain about meanwhile
        super().resume_reading()

    # --- the application's events -----------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            self.send_plain(message)
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

    def accept(self, message: dict[str, Any]) -> None:
        """Open the socket, by what its consumer declares; then read what came too early."""
        consumer = None if self.connection is None else self.connection.consumer
        window = getattr(consumer, "compression_window", None)
        early = self.open(message, window)
        if self.state != self.STATE_OPEN:
            return
        if self.connection is not None:
            self.connection.window = self.window
        if consumer is not None:
            if consumer.max_message_bytes is not None:
                self._limit = consumer.max_message_bytes
            if consumer.reads_pieces:
                self._pieces = True
        if early:
            self._take(early)

    def handle_exception(self, exception: BaseException) -> None:
        """The application ended with an error (Daphne has logged it)."""
        if self.state == self.STATE_CONNECTING:
            self.refuse(Refused("Something went wrong on the server.", code="internal", status=500))
        else:
            self.end(CloseCode.INTERNAL_ERROR)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        server = self.factory.server_class
        server.sockets.pop(self, None)
        self._reader = None
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


def unsent(sock: socket.socket) -> int:
    """Bytes that were written to a socket and not taken by its peer yet (tcp(7), SIOCOUTQ)."""
    try:
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
