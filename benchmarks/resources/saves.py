"""Saving a row of a registered model that nobody follows, beside one of an unregistered model."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Sequence

from ..peers import Running
from ..sockets import Client, Sockets, SwarmError
from ..wire import TEXT, Dialect, frame
from ..workloads import Plan, Values
from .servers import tasks

ROUNDS, SAVES = 20, 100
"""Blocks of each model and kind, and saves in each."""
REGISTERED, PLAIN = "item", "plainitem"
WORKER_SECONDS = 60.0
Blocks = dict[str, list[float]]


def saves(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """In a process beside a running server, as a task worker is, then inside the server's worker."""
    return measured(server, ROUNDS, SAVES)


def measured(server: Running, rounds: int, count: int) -> Values:
    """The same for other numbers of blocks, and of saves in each."""
    wanted = json.dumps({"rounds": rounds, "saves": count}).encode()
    process = tasks(server.where, dict(server.env))
    try:
        process.tell(b"saves " + wanted)
        found: Blocks = json.loads(process.hear())
    finally:
        process.stop()
    with contextlib.closing(_Asker(server.ports)) as asker:
        inside: Blocks = json.loads(asker.ask(wanted))
    server.check()
    values: Values = {}
    for kind in dict.fromkeys(name.partition(" ")[0] for name in found):
        ours, plain = _pair(found, kind)
        values |= {
            f"save_{kind}_us": ours,
            f"save_{kind}_plain_us": plain,
            f"save_{kind}_ratio": ours / plain,
        }
        ours, plain = _pair(inside, kind)
        values[f"save_{kind}_inside_ratio"] = ours / plain
    return values


def _pair(found: Blocks, kind: str) -> tuple[float, float]:
    return typical(found[f"{kind} {REGISTERED}"]), typical(found[f"{kind} {PLAIN}"])


def typical(blocks: list[float]) -> float:
    """The median of the quicker half: what else the machine does only ever makes one dearer."""
    return statistics.median(sorted(blocks)[: max(1, len(blocks) // 2)])


class _Asker(Sockets):
    """One socket at which a worker saves (shop/routing.py)."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(Dialect("saves", "/benchmarks/saves", b"", b"", b""), ports)
        self._answer = b""

    def ask(self, wanted: bytes) -> bytes:
        """What the worker measured; raises SwarmError."""
        self.connect([("", 1)])
        self.rooms[0].members[0].sock.send(frame(wanted))
        deadline = time.perf_counter() + WORKER_SECONDS
        while not self._answer and not self.problems and time.perf_counter() < deadline:
            self.turn(1.0)
        if not self._answer:
            raise SwarmError(self.problems[0] if self.problems else "the worker did not answer")
        return self._answer

    def _other(self, client: Client, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._answer = payload
        else:
            super()._other(client, opcode, payload)
