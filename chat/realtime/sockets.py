"""What the server accepts: sockets that are written to at once, and HTTP requests with a deadline."""

from __future__ import annotations

import socket
import time
from typing import Any

import daphne.server  # noqa: F401  # isort: skip  (first: it installs the reactor)
from daphne.http_protocol import HTTPFactory as DaphneHTTPFactory
from daphne.http_protocol import WebRequest
from twisted.internet import tcp
from twisted.web import http

from . import config

KEEP_ALIVE = 60.0  # seconds that an HTTP connection may be idle between requests


class EagerTransport(tcp.Server):
    """A TCP transport that sends at once what the socket takes, without a turn through the event loop.

    Twisted registers a writer, waits for epoll, writes and unregisters: 33 µs a frame against 6 µs.
    """

    pause_at_once = False
    producerPaused: bool = False
    taken_at = 0.0  # when the peer last took something of what waits; the loop's time

    def write(self, data: bytes) -> None:
        """Send now; what the socket does not take waits, and a WebSocket's producer is paused at once: its
        connection's buffer is bounded in messages, Twisted's only in bytes."""
        sent = 0
        if not (self._tempDataBuffer or self.dataBuffer) and self.connected and not self._writeDisconnected:
            try:
                sent = self.socket.send(data)
                if sent == len(data):
                    return
            except OSError:
                pass  # full, or broken: then the reactor meets the error in its turn and ends the connection
        self.keep(data[sent:] if sent else data)

    def keep(self, data: bytes) -> None:
        """Let the reactor send it when the socket takes more."""
        if not (self._tempDataBuffer or self.dataBuffer):
            self.taken_at = time.monotonic()
        super().write(data)
        if self.pause_at_once and self.producer is not None and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def writeSomeData(self, data: bytes) -> Any:
        """Twisted: the socket takes more."""
        taken = super().writeSomeData(data)
        if isinstance(taken, int) and taken > 0:
            self.taken_at = time.monotonic()
        return taken


class Request(WebRequest):
    """A request whose lists may be spread over several headers (RFC 6455 sections 4.1 and 9.1).

    Daphne takes a client's word for where the application begins: with ``Daphne-Root-Path: /x`` the path
    ``/x/admin/`` is the admin, whatever a proxy in front keeps to itself. Only ``--root-path`` says it here.
    """

    def process(self) -> Any:
        headers = self.requestHeaders
        headers.removeHeader(b"daphne-root-path")
        for name in (b"sec-websocket-extensions", b"sec-websocket-protocol"):
            values = headers.getRawHeaders(name)
            if values is not None and len(values) > 1:
                headers.setRawHeaders(name, [b", ".join(values)])
        return super().process()


class Channel(http.HTTPChannel):
    """HTTP/1.1 on one connection. Its request's head, or the next one's, has a deadline."""

    requestFactory = Request
    served = False  # whether a request was answered on it before

    def connectionMade(self) -> None:
        super().connectionMade()
        self.server = self.factory.server
        self.server.arriving[self] = self.server.clock() + config.current().handshake_timeout

    def allHeadersReceived(self) -> None:
        # The body follows: it gets as long again as an idle connection.
        self.server.arriving[self] = self.server.clock() + KEEP_ALIVE
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        self.server.arriving.pop(self, None)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        self.served = True
        if self.persistent and self not in self.server.arriving:
            self.server.arriving[self] = self.server.clock() + KEEP_ALIVE

    def connectionLost(self, reason: Any) -> None:
        self.server.arriving.pop(self, None)
        super().connectionLost(reason)


class HTTPFactory(DaphneHTTPFactory):
    protocol = Channel
    timeOut = None  # ``Server.arriving`` has the deadlines

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.timeOut = None

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request  # Daphne has just set its own
        return protocol


def size_buffers(listening: socket.socket, settings: config.Config) -> None:
    """Set the system's buffers of the sockets that will be accepted: they inherit their listening socket's,
    at no cost (socket(7), SO_SNDBUF). The system doubles the numbers, and no longer grows such buffers by
    itself."""
    for option, size in (
        (socket.SO_SNDBUF, settings.socket_send_buffer),
        (socket.SO_RCVBUF, settings.socket_receive_buffer),
    ):
        if size:
            listening.setsockopt(socket.SOL_SOCKET, option, size)
