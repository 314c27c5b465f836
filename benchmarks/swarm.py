"""The load: sends chat messages over a crowd of clients and follows each to every member of its room.

A delivery that is missing, comes twice or comes to a wrong socket makes a measurement invalid
(`Load.problems`); no figure is taken from it.
"""

from __future__ import annotations

import errno
import gc
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from .sockets import Client, Room, Sockets, SwarmError
from .wire import Dialect

DRAIN_SECONDS = 5.0
"""How long the last deliveries may take after the load has ended."""


@dataclass
class Load:
    """What one stretch of load was seen to do."""

    seconds: float = 0.0
    """How long messages were sent."""
    whole_seconds: float = 0.0
    """The same with the wait for the last deliveries."""
    in_time: int = 0
    """Messages that had reached all their receivers within that time."""
    messages: int = 0
    """All that were sent; the last of them arrived after the time."""
    deliveries: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Seconds from a message's send to each of its deliveries."""
    problems: list[str] = field(default_factory=list)
    """Empty: each message reached each member of its room exactly once."""

    @property
    def per_second(self) -> float:
        """Messages per second."""
        return self.in_time / self.seconds

    def percentiles(self, *shares: float) -> list[float]:
        """The latencies in seconds below which each share (0..1) of the deliveries stays."""
        ordered = sorted(self.latencies) or [float("nan")]
        return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares]


class Swarm(Sockets):
    """Clients of one server that chat in rooms."""

    _next_number: ClassVar[int] = 0
    """Of all swarms, so that no two runs have a message of the same number."""

    def __init__(self, dialect: Dialect, ports: Sequence[int], host: str = "127.0.0.1") -> None:
        super().__init__(dialect, ports, host)
        self._chat_frame = dialect.chat_frame()
        self._completed: Callable[[], None] = lambda: None
        self._first = 0
        # By message, from number `_first` on: its room, when it was sent, and how many members still lack it.
        self._room_of: list[Room] = []
        self._sent_at: list[float] = []
        self._missing: list[int] = []
        self._outstanding = 0
        self._latencies = array("d")
        self.last_bytes = 0
        """Of the last chat message that came: its payload."""

    def saturate(self, seconds: float, in_flight: int) -> Load:
        """Keeps `in_flight` messages under way for `seconds`, going round the rooms and their members.

        The next message leaves as soon as one has reached all of its room. Returns after the last
        has arrived, so that a server's work in the call belongs to `messages` and `deliveries`.
        """
        rooms = deque(self.rooms)

        def send_next() -> None:
            if time.perf_counter() < until:
                self._send(rooms[0])
                rooms.rotate(-1)

        began = self._begin(send_next)
        until = began + seconds
        for _ in range(in_flight):
            send_next()
        while (left := until - time.perf_counter()) > 0 and not self.problems:
            self.turn(left)
        return self._end(began)

    def pace(self, seconds: float, per_second: float) -> Load:
        """Sends `per_second` messages at even intervals for `seconds`, whatever comes back."""
        rooms = deque(self.rooms)
        began = due = self._begin(lambda: None)
        while (now := time.perf_counter()) < began + seconds and not self.problems:
            while due <= now:
                self._send(rooms[0])
                rooms.rotate(-1)
                due += 1.0 / per_second
            self.turn(max(0.0, due - time.perf_counter()))
        return self._end(began)

    def _begin(self, completed: Callable[[], None]) -> float:
        if not self.rooms or self.problems:
            raise SwarmError("; ".join(self.problems) or "no room has been joined")
        self._completed = completed
        self._first = Swarm._next_number
        self._room_of, self._sent_at, self._missing = [], [], []
        self._outstanding = 0
        self._latencies = array("d")
        for room in self.rooms:
            room.sent = 0
            for client in room.members:
                client.chats = 0
        gc.collect()
        gc.disable()
        return time.perf_counter()

    def _end(self, began: float) -> Load:
        gc.enable()
        load = Load(seconds=time.perf_counter() - began, latencies=self._latencies)
        load.in_time = sum(left == 0 for left in self._missing)
        deadline = time.perf_counter() + DRAIN_SECONDS
        while self._outstanding > 0 and time.perf_counter() < deadline and not self.problems:
            self.turn(0.1)
        load.whole_seconds = time.perf_counter() - began
        self.idle(0.02)  # a delivery that comes twice would come now
        load.messages = len(self._missing)
        load.deliveries = len(self._latencies)
        due = sum(room.sent * len(room.members) for room in self.rooms)
        if self.problems:
            load.problems.extend(dict.fromkeys(self.problems[:3]))
        elif self._outstanding > 0:
            load.problems.append(f"{self._outstanding} of {due} deliveries were lost")
        elif any(client.chats != room.sent for room in self.rooms for client in room.members):
            load.problems.append("a message came twice")
        return load

    def _send(self, room: Room) -> None:
        sender = room.members[room.next_sender]
        room.next_sender = (room.next_sender + 1) % len(room.members)
        message = self._chat_frame(Swarm._next_number)
        Swarm._next_number += 1
        self._room_of.append(room)
        self._missing.append(len(room.members))
        self._outstanding += len(room.members)
        room.sent += 1
        self._sent_at.append(time.perf_counter())
        try:
            if sender.sock.send(message) != len(message):
                self.problems.append("a client's send buffer is full")
        except OSError as error:
            why = errno.errorcode.get(error.errno or 0, error)
            self.problems.append(f"a message couldn't be sent: {why}")

    def _chat(self, client: Client, number: int, now: float, payload: memoryview) -> None:
        client.chats += 1
        self.last_bytes = len(payload)
        place = number - self._first
        if not 0 <= place < len(self._missing) or client.room is not self._room_of[place]:
            self.problems.append("a message came to a socket that it was not for")
            return
        self._latencies.append(now - self._sent_at[place])
        self._outstanding -= 1
        self._missing[place] -= 1
        if not self._missing[place]:
            self._completed()
