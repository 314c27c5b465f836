"""Clients that ask: bursts of requests on each socket, the next burst when all of one is answered."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..sockets import Client, Sockets, SwarmError
from ..wire import frame
from .languages import Language

ANSWER_SECONDS = 20.0
SIZE_TOLERANCE = 0.25
"""By which an answer's size may differ from the first one's, which was looked at."""

Build = Callable[[Language, int], bytes]
"""A request's text by its number."""
_numbers = itertools.count(1)


@dataclass
class Asked:
    """What one stretch of requests was seen to do."""

    requests: int
    seconds: float
    """From the first request to the last answer."""


class Askers(Sockets):
    """A few clients of one server."""

    dialect: Language

    def __init__(self, language: Language, ports: Sequence[int]) -> None:
        super().__init__(language, ports)
        self._asked: dict[int, Client] = {}
        self._left: dict[Client, int] = {}
        self._sizes: tuple[int, int] = (0, 0)
        self._last = b""
        self._finished: Callable[[Client], None] = lambda client: None

    @property
    def clients(self) -> list[Client]:
        """In the order in which they came."""
        return [client for room in self.rooms for client in room.members]

    def look(self, build: Build) -> bytes:
        """Asks once, returns the answer, and expects all further answers to be about as long."""
        self._sizes = (0, 1 << 30)
        self._run(self.clients[:1], 1, 0.0, build)
        size = len(self._last)
        self._sizes = (int(size * (1 - SIZE_TOLERANCE)), int(size * (1 + SIZE_TOLERANCE)))
        return self._last

    def ask(self, seconds: float, build: Build, clients: int, burst: int) -> Asked:
        """Keeps `clients` sockets asking for `seconds`, each `burst` requests at a time, in one write."""
        return self._run(self.clients[:clients], burst, seconds, build)

    def _run(self, clients: Sequence[Client], burst: int, seconds: float, build: Build) -> Asked:
        asked = Asked(0, 0.0)
        began = time.perf_counter()
        until = began + seconds

        def send(client: Client) -> None:
            numbers = list(itertools.islice(_numbers, burst))
            self._asked.update(dict.fromkeys(numbers, client))
            self._left[client] = burst
            asked.requests += burst
            client.sock.sendall(b"".join(frame(build(self.dialect, number)) for number in numbers))

        def finished(client: Client) -> None:
            if time.perf_counter() < until:
                send(client)

        self._finished = finished
        for client in clients:
            send(client)
        while self._asked and not self.problems:
            self.turn(1.0)
            if time.perf_counter() > until + ANSWER_SECONDS:
                raise SwarmError(f"{len(self._asked)} requests were not answered")
        if self.problems:
            raise SwarmError(self.problems[0])
        asked.seconds = time.perf_counter() - began
        return asked

    def _chat(self, client: Client, number: int, now: float, payload: memoryview) -> None:
        if self._asked.pop(number, None) is not client:
            self.problems.append("an answer came to a socket that had not asked")
            return
        if not self._sizes[0] <= len(payload) <= self._sizes[1]:
            self.problems.append(f"an unexpected answer: {bytes(payload[:200]).decode('utf-8', 'replace')}")
            return
        if not self._asked:
            self._last = bytes(payload)
        self._left[client] -= 1
        if not self._left[client]:
            self._finished(client)
