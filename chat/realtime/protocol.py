"""Our WebSocket protocol for Daphne: what its own can't say or can't bound.

A subclass of Daphne's autobahn protocol, in four steps: ``handshaking.py``, ``incoming.py``, ``outgoing.py``
and the connection's life and the application's events here. Autobahn keeps the handshake and the closing
handshake; frames are ours, with limits, back-pressure in both directions, refusals with a status and a body,
and every close code.
"""

from __future__ import annotations

import time
from typing import Any

from autobahn.websocket.types import ConnectionDeny

from .codes import CloseCode
from .errors import Refused, Unavailable
from .outgoing import OutgoingProtocol

PING_FRAME = b"\x89\x00"


class WebSocketProtocol(OutgoingProtocol):
    """One socket, and its ``Connection``'s transport: ``ready``, ``write_frame``, ``close_now``."""

    last_asked = 0.0

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
