"""Subscribers: sockets with subscriptions, and changes that are followed to each that they concern."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..sockets import Client, Sockets, SwarmError
from ..wire import frame
from .languages import OURS, ident, request

CHANGE_SECONDS = 10.0
"""After which a change that has not come to everybody is lost."""
TITLE_CHARACTERS = 40
ASKED_AT_ONCE = 32
"""Subscriptions that are under way at the same time."""

Make = Callable[[int], None]
"""Makes the change with this number, somewhere."""


def title_of(number: int) -> str:
    """The title that a row is given by the change with this number."""
    return ident(number).ljust(TITLE_CHARACTERS, "x")


@dataclass
class Followed:
    """What one stretch of changes was seen to do."""

    changes: int = 0
    deliveries: int = 0
    seconds: float = 0.0
    size: int = 0
    """Bytes of the last notification."""


class Followers(Sockets):
    """Clients that subscribe; one change is under way at a time.

    A notification that is missing, comes twice or goes astray raises SwarmError.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(OURS, ports)
        self._number = 0
        self._missing: set[Client] = set()
        self._asked: dict[int, Client] = {}
        self._size = 0
        self.change_seconds = CHANGE_SECONDS

    @property
    def clients(self) -> list[Client]:
        """In the order in which they came."""
        return [client for room in self.rooms for client in room.members]

    def subscribe(self, wanted: Sequence[tuple[Client, list[dict[str, Any]]]]) -> None:
        """Has each client follow the rows that fit its filters; returns when all do."""
        for client, filters in wanted:
            self._number += 1
            options = {"filters": filters} if filters else {}
            message = request(self._number, "subscribe", options=options)
            self._asked[self._number] = client
            client.sock.send(frame(json.dumps(message).encode()))
            self._wait(self._asked, ASKED_AT_ONCE)
        self._wait(self._asked)

    def follow(
        self, seconds: float, make: Make, concerned: Collection[Client], asker: Client | None = None
    ) -> Followed:
        """Has changes made for `seconds`, the next as soon as one has come to all `concerned`.

        `asker`: the client that asks for them over its socket, if one does; it is answered too.
        """
        done = Followed()
        began = time.perf_counter()
        everybody = {*concerned, asker} if asker is not None else set(concerned)
        while time.perf_counter() < began + seconds:
            self._number += 1
            self._missing = set(everybody)
            make(self._number)
            self._wait(self._missing)
            done.changes += 1
        done.seconds = time.perf_counter() - began
        done.deliveries = done.changes * len(concerned)
        done.size = self._size
        self.idle(0.02)  # one that comes twice would come now
        if self.problems:
            raise SwarmError(self.problems[0])
        return done

    def _wait(self, left: Collection[Any], most: int = 0) -> None:
        deadline = time.perf_counter() + self.change_seconds
        while len(left) > most and not self.problems:
            self.turn(1.0)
            if time.perf_counter() > deadline:
                raise SwarmError(f"{len(left)} did not get what they wait for")
        if self.problems:
            raise SwarmError(self.problems[0])

    def _chat(self, client: Client, number: int, now: float, payload: memoryview) -> None:
        self._size = len(payload)
        if self._asked.pop(number, None) is client or (number == self._number and client in self._missing):
            self._missing.discard(client)
        else:
            self.problems.append("a notification came twice, or to somebody whom it does not concern")
        if b'"success":false' in bytes(payload[:200]):
            self.problems.append(f"refused: {bytes(payload[:200]).decode('utf-8', 'replace')}")
