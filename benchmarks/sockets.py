"""Many raw WebSocket clients of one server on one epoll: connecting, reading, answering heartbeats.

It does the same work for every server: of each frame that comes it reads only the header and, in a
chat message, the number.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence

from .wire import CLOSE, DIGITS, MARK, PING, PONG, TEXT, Dialect, frame

RECV_BYTES = 65536
CONNECTING_AT_ONCE = 64
CONNECTIONS_PER_SOURCE = 5000
"""From one loopback address; below the kernel's range of local ports."""


class SwarmError(Exception):
    """A client couldn't connect, or was closed before the load began."""


class Room:
    """The members of one room and how many messages were sent to it."""

    __slots__ = ("members", "name", "next_sender", "sent")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[Client] = []
        self.next_sender = 0
        self.sent = 0


class Client:
    """One socket: what it has received and not yet understood, and its place in a room."""

    __slots__ = ("buffer", "chats", "close_code", "fd", "joined", "room", "sock", "upgraded")

    def __init__(self, sock: socket.socket, room: Room) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.room = room
        self.buffer = b""
        self.upgraded = False
        self.joined = False
        self.chats = 0
        self.close_code: int | None = None


class Sockets:
    """Clients of one server, spread over its `ports`; a subclass says what a chat message does.

    `problems` collects, in words, all that must not happen: a refusal, a closed connection, an error.
    """

    def __init__(self, dialect: Dialect, ports: Sequence[int], host: str = "127.0.0.1") -> None:
        self.dialect = dialect
        self.host = host
        self.ports = list(ports)
        self.rooms: list[Room] = []
        self.problems: list[str] = []
        self._clients: dict[int, Client] = {}
        self._epoll = select.epoll()
        self._opened = 0
        self._joining = 0

    def connect(self, rooms: Sequence[tuple[str, int]], seconds: float = 60.0) -> int:
        """Opens the members of each `(room, members)`, a bounded number at once, and returns how many.

        Raises SwarmError when one is refused or not all have joined within `seconds`.
        """
        pending: deque[Room] = deque()
        for name, members in rooms:
            room = Room(name)
            self.rooms.append(room)
            pending.extend([room] * members)
        asked = len(pending)
        deadline = time.perf_counter() + seconds
        while pending or self._joining:
            while pending and self._joining < CONNECTING_AT_ONCE:
                self._open(pending.popleft())
            self.turn(1.0)
            if self.problems:
                raise SwarmError(self.problems[0])
            if time.perf_counter() > deadline:
                raise SwarmError(
                    f"{len(pending) + self._joining} of {asked} had not joined after {seconds:.0f} s"
                )
        return asked

    def idle(self, seconds: float) -> None:
        """Answers heartbeats for `seconds` and sends nothing."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.turn(left)

    def close(self) -> None:
        """Resets every connection, which leaves no port in TIME_WAIT; others may be opened afterwards."""
        for client in self._clients.values():
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        self._clients.clear()
        self.rooms.clear()

    def turn(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for the sockets and takes in what has come."""
        clients = self._clients
        for fd, _ in self._epoll.poll(timeout):
            client = clients[fd]
            try:
                data = client.sock.recv(RECV_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self._gone(client, errno.errorcode.get(error.errno or 0, str(error)))
                continue
            if not data:
                self._gone(
                    client, f"close code {client.close_code}" if client.close_code else "no close frame"
                )
            elif client.upgraded:
                self._frames(client, data)
            else:
                self._upgrade(client, data)

    def _chat(self, client: Client, number: int, now: float, payload: memoryview) -> None:
        """A frame with this number came to `client` at `now`."""
        raise NotImplementedError

    def _open(self, room: Room) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        source = f"127.0.0.{2 + self._opened // CONNECTIONS_PER_SOURCE}"
        port = self.ports[self._opened % len(self.ports)]
        self._opened += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((source, 0))
        sock.connect((self.host, port))
        sock.setblocking(False)
        client = Client(sock, room)
        self._clients[client.fd] = client
        self._epoll.register(client.fd, select.EPOLLIN)
        self._joining += 1
        sock.send(self.dialect.handshake(room.name, self.host, port))

    def _gone(self, client: Client, why: str) -> None:
        self._epoll.unregister(client.fd)
        client.sock.close()
        del self._clients[client.fd]
        if not client.joined:
            self._joining -= 1
        self.problems.append(f"the server closed a connection ({why})")

    def _upgrade(self, client: Client, data: bytes) -> None:
        client.buffer += data
        head, end, rest = client.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            status = head.splitlines()[0].decode("latin-1")
            self.problems.append(f"refused: {status} {rest[:200].decode('latin-1')}")
            return
        client.upgraded = True
        client.buffer = b""
        if not self.dialect.greeting:
            self._join(client)
        if rest:
            self._frames(client, rest)

    def _join(self, client: Client) -> None:
        client.joined = True
        client.room.members.append(client)
        self._joining -= 1

    def _frames(self, client: Client, data: bytes) -> None:
        """Goes through the frames of `data`; a part of one is kept for the next read."""
        if client.buffer:
            data = client.buffer + data
            client.buffer = b""
        at, size = 0, len(data)
        now = time.perf_counter()
        while size - at >= 2:
            length = data[at + 1]
            start = at + 2
            if length > 125:
                wide = 2 if length == 126 else 8
                if size - start < wide:
                    break
                length = int.from_bytes(data[start : start + wide], "big")
                start += wide
            end = start + length
            if end > size:
                break
            mark = data.find(MARK, start, end)
            if mark < 0:
                self._other(client, data[at] & 15, data[start:end])
            else:
                number = int(data[mark + len(MARK) : mark + len(MARK) + DIGITS])
                self._chat(client, number, now, memoryview(data)[start:end])
            at = end
        if at < size:
            client.buffer = data[at:]

    def _other(self, client: Client, opcode: int, payload: bytes) -> None:
        """A frame that is not a chat message: greetings, heartbeats, presence, errors, close."""
        dialect = self.dialect
        if opcode == PING:
            client.sock.send(frame(payload, PONG))
        elif opcode == CLOSE:
            client.close_code = int.from_bytes(payload[:2], "big")
        elif opcode != TEXT:
            return
        elif dialect.greeting and not client.joined and dialect.greeting in payload:
            self._join(client)
        elif dialect.opening and payload.startswith(dialect.opening):
            client.sock.send(frame(dialect.opening_answer))
        elif dialect.ping and payload == dialect.ping:
            client.sock.send(frame(dialect.pong))
        elif dialect.failure and dialect.failure in payload:
            self.problems.append(f"the server refused a message: {payload[:200].decode('utf-8', 'replace')}")
