"""Daphne's WebSocket protocol, up to the answered handshake: refusals with a status and a body, and nothing
kept of it that an open connection does not need.
"""

from __future__ import annotations

from http.client import responses
from typing import Any

from autobahn.websocket.protocol import TrafficStats
from daphne.ws_protocol import WebSocketProtocol as DaphneProtocol

from . import config, journal
from .compression import Agreement, negotiate
from .counters import add
from .errors import BadRequest, Forbidden, Refused, Unavailable
from .refusal import Headers, render
from .runtime import local_hub

# What an open connection keeps of the handshake.
_KEPT = frozenset(
    {
        "_wskey",
        "agreement",
        "application_queue",
        "client_addr",
        "connected",
        "connection",
        "factory",
        "last_asked",
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


class HandshakingProtocol(DaphneProtocol):
    """Autobahn parses the upgrade request; the application's answer to it is sent here."""

    # autobahn copies its options into every instance, and formats them for a log line that nobody reads;
    # ``configure`` makes them the class's instead (0.1 ms and 3 KiB a connection).
    CONFIG_ATTRS: list[str] = []

    # Of what autobahn and Daphne keep for each connection, an open one needs the names in _KEPT; the rest
    # is dropped once the handshake is answered, and read from these (6 KiB a connection).
    is_open = is_closed = _Unwatched()
    _transport_details = _Insecure()
    trafficStats = TrafficStats()
    send_queue: Any = ()
    trackedTimings: Any = None
    openHandshakeTimeoutCall = None
    closeHandshakeTimeoutCall: Any = None
    autoPingTimeoutCall = autoPingPending = autoPingPendingCall = autoPingPendingSent = None
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    closedByMe = failedByMe = droppedByMe = wasClean = wasServingFlashSocketPolicyFile = False
    wasServerConnectionDropTimeout = wasOpenHandshakeTimeout = wasCloseHandshakeTimeout = False
    wasNotCleanReason = localCloseCode = localCloseReason = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    triggered = False
    send_state = 0
    websocket_version = 13
    websocket_extensions_in_use: Any = ()
    agreement: Agreement | None = None  # on compression
    data = b""
    peer = ""

    handshake_deferred: Any = None
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

    def connectionMade(self) -> None:
        self._connectionMade()

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """autobahn found the upgrade request wrong."""
        refusal: Refused = BadRequest("This is not a valid WebSocket handshake.")
        if responseHeaders or code == 426:
            refusal = Refused("Only WebSocket version 13 is spoken here.", code="bad_version", status=426)
        elif "Origin" in reason:  # no URL, or several of them: what the consumer would say
            refusal = Forbidden("Pages of this origin may not connect here.", code="forbidden_origin")
        elif code >= 500 and code != 505:
            refusal = Unavailable("The server can't open this connection.", code="internal")
        self.refuse(refusal)

    def refuse(self, refusal: Refused) -> None:
        """Answer the handshake with a status and a JSON body, and hang up."""
        hub = local_hub()
        if hub is not None:
            add(hub.counters.refusals, refusal.code)
        peer = getattr(self.transport.getPeer(), "host", None)
        journal.refused(refusal.code, refusal.status, None, peer)
        status, headers, body = render(refusal)
        self._answer(status, headers, body)

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        phrase = responses.get(status, "Refused").encode()
        lines = [b"HTTP/1.1 %d %s" % (status, phrase)]
        lines += [name + b": " + value for name, value in headers]
        if not any(name.lower() == b"connection" for name, _ in headers):
            lines.append(b"connection: close")
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.handshake_deferred = None
        self.wasNotCleanReason = "refused"
        self.dropConnection(abort=False)

    def refuse_with(self, message: dict[str, Any]) -> None:
        """The application's own denial response (ASGI ``websocket.http.response.*``)."""
        if message["type"] == "websocket.http.response.start":
            self._refusal = (message["status"], list(message.get("headers") or ()))
        elif self._refusal is None:
            raise ValueError("A response's body came before its start")
        else:
            self._refusal_body += message.get("body", b"")
            if not message.get("more_body"):
                self._answer(*self._refusal, self._refusal_body)

    @property
    def window(self) -> int:
        """The largest window that what is sent may need (``Frame.window``); 0 without compression."""
        return 0 if self.agreement is None else self.agreement.server_window

    def open(self, message: dict[str, Any], window: int | None) -> bytes:
        """Answer the handshake with 101, and forget it; returns what came after it already.

        ``window``: of what the client will have sent, see ``compression.negotiate``; None: the setting in
        force.
        """
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.websocket_protocols:
            raise ValueError("The client did not offer the subprotocol that was accepted")
        headers: dict[str, list[str]] = {}
        for name, value in message.get("headers") or ():
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        self._agree_on_compression(window, headers)
        deferred, self.handshake_deferred = self.handshake_deferred, None
        if deferred is None:
            return b""
        early, self.data = self.data, b""
        deferred.callback((subprotocol, headers))
        if self.state == self.STATE_OPEN:
            self.__dict__ = {name: value for name, value in self.__dict__.items() if name in _KEPT}
            self.transport.logstr = self.transport.repstr = "WebSocket"
        return early

    def _agree_on_compression(self, window: int | None, headers: dict[str, list[str]]) -> None:
        """Accept the client's offer where there is one; autobahn's own compression is not used."""
        self.websocket_extensions: list[Any] = []
        offered = self.http_headers.get("sec-websocket-extensions")
        settings = config.current()
        if not offered or not settings.compression:
            return
        found = negotiate(offered, settings.compression_window if window is None else window)
        if found is not None:
            self.agreement = found
            headers["Sec-WebSocket-Extensions"] = [found.answer]
