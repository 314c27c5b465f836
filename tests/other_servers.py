"""What tests/test_servers.py starts and measures: the page's commands, badly behaved clients, processes."""

import re
import shlex
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from chat.realtime.testing.raw import TEXT, frame
from tests.kit import ChatServer, free_port, wait_until

PAGE = Path(__file__).resolve().parent.parent / "docs" / "servers.md"
SERVERS = ("serve", "daphne", "uvicorn")

# An app with a consumer that does what the chat's never do.
APP = {
    "servers_settings.py": """
        from chatproject.settings import *
        INSTALLED_APPS = [*INSTALLED_APPS, "serversapp"]
    """,
    "serversapp/__init__.py": "",
    "serversapp/routing.py": """
        from django.urls import path
        from chat.realtime import RealtimeConsumer

        class Odd(RealtimeConsumer):
            async def connect(self):
                await self.accept(headers=[(b"x-odd", b"yes")])

            async def connected(self):
                await self.send(text_data="")
                await self.send(text_data="after")

        websocket_urlpatterns = [path("odd", Odd.as_asgi())]
    """,
}


def read_table() -> dict[str, dict[str, str]]:
    """The rows of the page's table: title → server → cell."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] and not cells[0].startswith("---"):
            rows[cells[0]] = dict(zip(SERVERS, cells[1:], strict=True))
    return rows


def read_command(program: str) -> list[str]:
    """The command that the page tells for a server, without the address."""
    block = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block, "the page has no commands"
    lines = block[1].replace("\\\n", " ").splitlines()
    words = next(shlex.split(line) for line in lines if line.startswith(program))
    for option in ("-b", "-p", "--host", "--port"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return words[1:]


class OtherServer(ChatServer):
    """The plain `daphne` or `uvicorn` command, with the page's options; ``changed`` replaces their values."""

    def __init__(self, program: str, redis_url: str, changed: dict[str, str] | None = None, **options: Any):
        super().__init__(redis_url, **options)
        self.server_name = program
        self.command = [str(Path(sys.executable).with_name(program)), *read_command(program)]
        for option, value in (changed or {}).items():
            if option in self.command:
                self.command[self.command.index(option) + 1] = value
            else:
                self.command[1:1] = [option, value]

    def start(self) -> "OtherServer":
        self.port = free_port()
        self.mark()
        self.spawn([*self.command, "--port", str(self.port)], self.environment)
        wait_until(self.healthy, f"health\n{self.output()}", 20)
        return self

    def healthy(self) -> bool:
        assert self.running, self.output()
        try:
            return super().healthy()
        except OSError:
            return False


class HalfRequests:
    """A connection to each server that has sent the start of a request, and what becomes of it."""

    def __init__(self, servers: dict[str, ChatServer]) -> None:
        self.lines = {}
        for name, server in servers.items():
            self.lines[name] = socket.create_connection(("127.0.0.1", server.port))
            self.lines[name].sendall(b"GET /api/chat-api/ws HTTP/1.1\r\nHost: x\r\n")
        self.waited = 0.0  # seconds until `serve` hung up
        self.open: dict[str, bool] = {}  # at that moment
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()

    def _watch(self) -> None:
        since = time.monotonic()
        line = self.lines["serve"]
        line.settimeout(25)
        try:
            line.recv(1)
        except ConnectionResetError:
            self.waited = time.monotonic() - since
        except OSError:
            pass  # nobody hung up
        self.open = {name: is_open(line) for name, line in self.lines.items()}

    def close(self) -> None:
        self.watcher.join(30)
        for line in self.lines.values():
            line.close()


def ping_of(size: int) -> str:
    empty = '{"type":"ping","data":""}'
    return empty[:-2] + "x" * (size - len(empty)) + empty[-2:]


def in_fragments(text: str) -> list[str]:
    return [text[at : at + 30_000] for at in range(0, len(text), 30_000)]


def slow_line(server: ChatServer, room: str) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(5)
    line.connect(("127.0.0.1", server.port))
    line.sendall(
        f"GET /api/chat-api/ws/{room} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert line.recv(64).startswith(b"HTTP/1.1 101")
    return line


def flood(line: socket.socket, most: int) -> int:
    """Send until nobody takes more for a second; returns the bytes that went out."""
    piece = frame(TEXT, ping_of(60_000).encode())
    line.settimeout(1)
    sent = 0
    try:
        while sent < most:
            line.sendall(piece)
            sent += len(piece)
    except TimeoutError:
        pass
    return sent


def worker_of(server: ChatServer) -> int:
    """The process that has the sockets."""
    return server.pid if isinstance(server, OtherServer) else server.children()[0]


def cpu_time(pid: int) -> float:
    """Seconds of CPU time that a process's first thread has had (sched/schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def is_open(line: socket.socket) -> bool:
    """Whether the peer has neither closed nor reset a line on which it said nothing (tcp(7), TCP_INFO)."""
    established = 1
    return line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == established
