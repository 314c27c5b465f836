"""Daphne with our protocol: accepting, heartbeat, draining.

Subclasses of Daphne's server and of Twisted's transport and HTTP channel; nothing is patched. Importing this
module installs Twisted's reactor.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from daphne.server import Server as DaphneServer  # isort: skip  (first: it installs the reactor)
from daphne.ws_protocol import WebSocketFactory
from twisted.internet import defer, reactor, tcp
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.logger import STDLibLogObserver, globalLogBeginner

from . import config, log, metrics_page
from .codes import CloseCode
from .inbox import Inbox
from .outgoing import CLOSE_HANDSHAKE
from .protocol import WebSocketProtocol
from .runtime import get_hub
from .sockets import Channel, EagerTransport, HTTPFactory, size_buffers

logger = logging.getLogger("chat.realtime.server")

LAST_REQUESTS = 0.3  # seconds that connections accepted in the last moment have to send their request
STOP_MARGIN = 0.7  # seconds of the shutdown's time limit kept for leaving


class Server(DaphneServer):
    """One worker's server. ``endpoints`` are Twisted's descriptions or file descriptors of listening sockets;
    ``on_ready()`` is called once it listens; ``shutdown_timeout`` is in seconds."""

    def __init__(
        self,
        *args: Any,
        shutdown_timeout: float = 10.0,
        on_ready: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shutdown_timeout = shutdown_timeout
        self.on_ready = on_ready
        self.loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
        self.clock = self.loop.time
        self.sockets: dict[WebSocketProtocol, None] = {}  # whose handshake has arrived
        self.arriving: dict[Channel, float] = {}  # until when a request's head must have come
        self.connections: dict[Any, dict[str, Any]] = {}
        self.ports: list[Any] = []
        self._parent = os.getppid()

    # --- start ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the reactor stops."""
        asyncio.set_event_loop(self.loop)
        observer = STDLibLogObserver(__name__) if self.verbosity > 1 else lambda event: None
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
        self.http_factory = HTTPFactory(self)
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.protocol = WebSocketProtocol
        self.ws_factory.setProtocolOptions(
            versions=[13],  # drafts are no WebSockets
            allowNullOrigin=True,  # the consumer decides about origins
            failByDrop=False,  # answer 1002, 1007 and 1009 instead of a reset
            closeHandshakeTimeout=CLOSE_HANDSHAKE,
            openHandshakeTimeout=0,  # ``check_timeouts`` answers those
            autoPingInterval=0,  # ``sweep`` pings
        )
        WebSocketProtocol.configure(self.ws_factory)
        config.on_change(self._apply)
        self._apply(config.current())
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        for description in self.endpoints:
            listener = _endpoint(description).listen(self.http_factory)
            listener.addCallback(self.listen_success)
            listener.addErrback(self.listen_error)
            self.listeners.append(listener)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        if self.abort_start:
            return
        reactor.callWhenRunning(self._started)
        reactor.run(installSignalHandlers=self.signal_handlers)

    def listen_success(self, port: Any) -> None:
        if isinstance(port, tcp.Port) and port.addressFamily != socket.AF_UNIX:
            port.transport = EagerTransport
        if isinstance(port, tcp.Port):
            size_buffers(port.socket, config.current())
        self.ports.append(port)

    def _started(self) -> None:
        self.loop.call_soon(self._serve)

    def _serve(self) -> None:
        """In the running loop: make the hub, so that this worker is there before its first client."""
        self.hub = get_hub()
        self.hub.sweepers.append(self.sweep)
        self.loop.set_exception_handler(_complain)
        # What was loaded so far stays: no collection needs to look at it again, nor at every few hundred new
        # objects of thousands of connections (a full collection with 10,000 of them takes 150 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        log.event(logger, logging.INFO, "worker_started", worker=self.hub.worker)
        if self.on_ready is not None:
            self.on_ready()

    def _apply(self, settings: config.Config) -> None:
        """Settings changed: the largest message is autobahn's to enforce, at the frame's header."""
        WebSocketProtocol.maxMessagePayloadSize = settings.max_message_bytes
        WebSocketProtocol.maxFramePayloadSize = settings.max_message_bytes

    # --- while serving ----------------------------------------------------------------------------

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope.setdefault("asgi", {"version": "3.0"})
        if scope["type"] == "websocket":
            scope["scheme"] = "ws"
            scope["http_version"] = "1.1"
            scope["extensions"] = {"websocket.http.response": {}, "realtime.transport": protocol}
            inbox: Any = Inbox(protocol)
        else:
            inbox = asyncio.Queue()
        application = self.application(scope, inbox.get, _Reply(self, protocol))
        if protocol not in self.connections:
            application.close()
            return None
        self.connections[protocol]["application_instance"] = self.loop.create_task(application)
        return inbox

    def sweep(self, now: float) -> None:
        """Once a second: heartbeats and late requests."""
        interval, timeout = config.current().heartbeat_interval, config.current().heartbeat_timeout
        # Gone at the latest at ``timeout``: this look may come a second late, and closing takes another.
        timeout -= min(2.0, timeout / 10)
        interval = min(interval, timeout / 2)  # a ping needs time to be answered
        for protocol in list(self.sockets):
            protocol.check(now, interval, timeout)
        for channel, deadline in list(self.arriving.items()):
            if now >= deadline:
                del self.arriving[channel]
                channel.forceAbortClient()
        if os.getppid() != self._parent:
            log.event(logger, logging.ERROR, "supervisor_gone", then="stopping")
            self._parent = os.getppid()
            self.stop()

    # --- draining ---------------------------------------------------------------------------------

    def kill_all_applications(self) -> Any:
        """The reactor is about to stop: it waits for the Deferred."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self.drain(), loop=self.loop))

    async def drain(self) -> None:
        """Accept nobody, say 1001 to everybody, wait for the applications until the time limit."""
        deadline = self.clock() + max(0.1, self.shutdown_timeout - STOP_MARGIN)
        hub = get_hub()
        hub.draining = True
        for port in self.ports:
            port.stopListening()
        for connection in list(hub.connections.values()):
            connection.consumer.draining()
        patience = self.clock() + min(LAST_REQUESTS, self.shutdown_timeout / 4)
        while True:
            for protocol in list(self.sockets):
                if protocol.state == protocol.STATE_OPEN:
                    protocol.end(CloseCode.GOING_AWAY)
            for channel in list(self.arriving):
                if channel.served or self.clock() >= patience:
                    channel.transport.loseConnection()
            if not self._running() and not self.sockets and not self.arriving:
                break
            if self.clock() >= deadline:
                break
            await asyncio.sleep(0.02)
        for task in self._running():
            task.cancel()
        left = list(self.sockets)
        for protocol in left:
            protocol.give_up()
        if self._running():
            await asyncio.wait(self._running(), timeout=0.2)
        metrics_page.keep(hub)
        log.event(logger, logging.INFO, "worker_drained", worker=hub.worker, left=len(left))
        log.flush(float("inf"))

    def _running(self) -> list[asyncio.Task[None]]:
        tasks = [details.get("application_instance") for details in self.connections.values()]
        return [task for task in tasks if task is not None and not task.done()]


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught, but not the end of a request whose client has gone: Django drops it."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _endpoint(description: str | int) -> Any:
    """Where to listen: Twisted's words for it, or an inherited listening socket's file descriptor."""
    if isinstance(description, str):
        return serverFromString(reactor, description)
    with socket.socket(fileno=os.dup(description)) as inherited:
        return AdoptedStreamServerEndpoint(reactor, description, inherited.family)


class _Reply:
    """The ASGI ``send`` of one connection."""

    __slots__ = ("protocol", "server")

    def __init__(self, server: Server, protocol: Any) -> None:
        self.server = server
        self.protocol = protocol

    async def __call__(self, message: dict[str, Any]) -> None:
        await self.server.handle_reply(self.protocol, message)
        if message["type"] == "websocket.send" and not self.protocol.ready:
            await self.protocol.drain()
