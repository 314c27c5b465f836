"""`manage.py serve`: Daphne workers with our WebSocket protocol, on one listening socket."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from chat.realtime import config, supervisor
from chat.resources.checks import TAG

BACKLOG = 4096  # connections that wait to be accepted, of all workers together
LARGEST_WORKERS = 64

logger = logging.getLogger("chat.realtime.server")


class Command(BaseCommand):
    help = (
        "Serve HTTP and WebSockets. SIGTERM stops gracefully, SIGHUP restarts the workers one by one. "
        "Settings come from the environment (see README.md); these options go before them."
    )
    requires_system_checks: list[str] = []  # run below, in the supervisor only

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("-p", "--port", type=int, help="TCP port (default: PORT, else 8000)")
        add("-b", "--bind", dest="host", help="address to listen on (default: HOST)")
        add("-u", "--unix-socket", help="listen on a UNIX socket instead of TCP")
        add("--fd", type=int, help="listen on an inherited file descriptor")
        add("-e", "--endpoint", action="append", default=[], help="a raw Twisted endpoint (one worker only)")
        add("--workers", type=int, help="worker processes (default: WEB_CONCURRENCY, else 1)")
        add("--shutdown-timeout", type=float, help="seconds for a graceful stop (default: SHUTDOWN_TIMEOUT)")
        add("--ping-interval", type=float, help="seconds of silence before a ping (default: the admin's)")
        add("--ping-timeout", type=float, help="seconds to answer a ping (default: the admin's)")
        add("--websocket-max-message-size", type=int, help="bytes (default: the admin's)")
        add("--websocket-max-frame-size", type=int, help="bytes; the smaller of the two limits counts")
        add("--websocket_timeout", type=int, default=-1, help="longest life of a socket, seconds (-1: none)")
        add("--websocket_connect_timeout", type=int, default=15, help="seconds for a handshake")
        add("-t", "--http-timeout", type=int, help="seconds for an HTTP response")
        add("--application-close-timeout", type=int, default=10, help="seconds to tidy up after a socket")
        add("--access-log", help="write an access log here (-: standard output)")
        add("--log-fmt", help=argparse.SUPPRESS)
        add("--root-path", default="", help="the ASGI root_path")
        add("--proxy-headers", action="store_true", help="take address and port from X-Forwarded-…")
        add("--proxy-headers-host", help="the header that has the client's address")
        add("--proxy-headers-port", help="the header that has the client's port")
        add("-s", "--server-name", default="daphne", help="the Server header")
        add("--no-server-name", dest="server_name", action="store_const", const="")

    def handle(self, *args: Any, **options: Any) -> None:
        _complete(options)
        if supervisor.is_worker():
            _Worker(options).run()
            return
        self._check(options)
        listening, where = _listen(options)
        command = supervisor.worker_command(["serve", *_worker_arguments(sys.argv[2:], listening.fileno())])
        boss = supervisor.Supervisor(
            command, listening.fileno(), options["workers"], options["shutdown_timeout"]
        )
        listening.set_inheritable(True)
        status = boss.run(lambda: self._announce(where, options["workers"]))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # the listening socket is closed already; nothing is left to tidy

    def _check(self, options: dict[str, Any]) -> None:
        """What would break at once stops the start, in one line."""
        settings.WEB_CONCURRENCY = options["workers"]
        tags = [checks.Tags.compatibility, TAG]
        for message in checks.run_checks(tags=tags, include_deployment_checks=True):
            if not message.id or not message.id.startswith(("chat.", "resources.")):
                continue
            if message.level >= checks.ERROR:
                raise CommandError(f"{message.msg} {message.hint or ''}".strip())
            self.stderr.write(self.style.WARNING(f"{message.msg} {message.hint or ''}"))
        if "MemoryLayer" in settings.CHANNEL_LAYERS["default"]["BACKEND"]:
            self.stderr.write(
                self.style.WARNING(
                    "NO REDIS: one process with the in-memory channel layer. Fine for a look around; "
                    "start Redis or set REDIS_URL for more."
                )
            )

    def _announce(self, where: str, workers: int) -> None:
        plural = "" if workers == 1 else "s"
        self.stderr.write(f"Serving {where} with {workers} worker{plural}. Ctrl-C stops.")


class _Worker:
    """One worker process: imports the reactor, serves, drains, leaves."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def run(self) -> None:
        from daphne.access import AccessLogGenerator

        from chat.realtime.server import Server

        options = self.options
        config.pin(**_pinned(options))
        stream = _access_log(options["access_log"])
        proxied = options["proxy_headers"]
        server = Server(
            import_string(settings.ASGI_APPLICATION),
            endpoints=sorted(options["endpoint"]) or [options["fd"]],
            http_timeout=options["http_timeout"],
            websocket_timeout=options["websocket_timeout"],
            websocket_connect_timeout=options["websocket_connect_timeout"],
            application_close_timeout=options["application_close_timeout"],
            action_logger=AccessLogGenerator(stream) if stream else None,
            root_path=options["root_path"],
            verbosity=options["verbosity"],
            proxy_forwarded_address_header=options["proxy_headers_host"]
            or ("X-Forwarded-For" if proxied else None),
            proxy_forwarded_port_header=options["proxy_headers_port"]
            or ("X-Forwarded-Port" if proxied else None),
            proxy_forwarded_proto_header="X-Forwarded-Proto" if proxied else None,
            server_name=options["server_name"],
            shutdown_timeout=options["shutdown_timeout"],
            on_ready=lambda: self._ready(options["shutdown_timeout"]),
        )
        server.run()
        status = 1 if server.abort_start else 0
        sys.stdout.flush()
        sys.stderr.flush()
        # A handler's thread that does not come back would hold up the interpreter's own exit for ever.
        os._exit(status)

    def _ready(self, limit: float) -> None:
        """It listens. From here on a SIGTERM is the start of a time limit that nothing can stretch, not even
        a handler that blocks the event loop."""
        reactor_handler = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: Any) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
            timer = threading.Timer(max(0.1, limit - 0.1), os._exit, (0,))
            timer.daemon = True
            timer.start()
            if callable(reactor_handler):
                reactor_handler(number, frame)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # a terminal's Ctrl-C goes to all: the supervisor decides
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        supervisor.worker_ready()


def _complete(options: dict[str, Any]) -> None:
    """Fill in what the environment says. Raises CommandError for what can't be."""
    defaults = {
        "port": settings.PORT,
        "host": settings.HOST,
        "workers": settings.WEB_CONCURRENCY,
        "shutdown_timeout": settings.SHUTDOWN_TIMEOUT,
    }
    for name, value in defaults.items():
        if options[name] is None:
            options[name] = value
    if not 1 <= options["workers"] <= LARGEST_WORKERS:
        raise CommandError(f"--workers must be 1 to {LARGEST_WORKERS}")
    if not 0 <= options["port"] <= 65_535:
        raise CommandError("--port must be 0 to 65535")
    if options["shutdown_timeout"] <= 0:
        raise CommandError("--shutdown-timeout must be more than 0 seconds")
    if options["endpoint"] and options["workers"] > 1:
        raise CommandError("--endpoint serves with one worker; use --bind and --port, or --fd, for several")
    for name in ("ping_interval", "ping_timeout"):
        if options[name] is not None and options[name] <= 0:
            raise CommandError(f"--{name.replace('_', '-')} must be more than 0 seconds")


def _listen(options: dict[str, Any]) -> tuple[socket.socket, str]:
    """The listening socket that all workers share, and what to call it."""
    try:
        if options["fd"] is not None:
            return socket.socket(fileno=options["fd"]), f"file descriptor {options['fd']}"
        if options["unix_socket"]:
            listening = socket.socket(socket.AF_UNIX)
            _remove_dead_socket(options["unix_socket"])
            listening.bind(options["unix_socket"])
            where = f"unix:{options['unix_socket']}"
        else:
            host, port = options["host"], options["port"]
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.socket(family)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            shown = f"[{host}]" if family == socket.AF_INET6 else host
            where = f"http://{shown}:{listening.getsockname()[1]}/"
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        place = options["unix_socket"] or f"{options['host']}:{options['port']}"
        raise CommandError(f"Can't listen on {place}: {error.strerror}.") from None
    return listening, where


def _remove_dead_socket(path: str) -> None:
    """Make way for a UNIX socket: only a socket that nobody listens on is removed."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # binding says that the address is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError):
        probe.connect(path)
        return
    os.unlink(path)


def _worker_arguments(given: list[str], fd: int) -> list[str]:
    """A worker's arguments: the given ones, which say nothing of sockets, and the inherited socket."""
    return [*given, "--workers", "1", "--fd", str(fd)]


def _access_log(path: str | None) -> Any:
    """The stream of the access log; it stays open as long as the worker lives."""
    if path is None or path == "-":
        return sys.stdout if path else None
    try:
        return Path(path).open("a", buffering=1)
    except OSError as error:
        raise CommandError(f"--access-log: {error}") from None


def _pinned(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that options fix for this server."""
    pinned: dict[str, Any] = {}
    if options["ping_interval"] is not None or options["ping_timeout"] is not None:
        # As Daphne means them: the timeout follows the ping.
        interval = options["ping_interval"] or config.current().heartbeat_interval
        pinned["heartbeat_interval"] = interval
        pinned["heartbeat_timeout"] = interval + (options["ping_timeout"] or 30.0)
    given = [options["websocket_max_message_size"], options["websocket_max_frame_size"]]
    sizes = [size for size in given if size]
    if sizes:
        pinned["max_message_bytes"] = min(sizes)
    return pinned
