"""Saving a row of a registered model that nobody follows, beside one of an unregistered model."""

from __future__ import annotations

import json
import statistics

from ..peers import Running
from ..wire import Dialect
from ..workloads import Plan, Values
from .servers import tasks

ROUNDS, SAVES = 20, 100
"""Blocks of each model and kind, and saves in each."""
REGISTERED, PLAIN = "item", "plainitem"


def saves(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """In a process beside a running server, as a task worker is; CPU of that process."""
    return measured(server, ROUNDS, SAVES)


def measured(server: Running, rounds: int, count: int) -> Values:
    """The same for other numbers of blocks, and of saves in each."""
    process = tasks(server.where, dict(server.env))
    try:
        process.tell(b"saves " + json.dumps({"rounds": rounds, "saves": count}).encode())
        found: dict[str, list[float]] = json.loads(process.hear())
    finally:
        process.stop()
    server.check()
    values: Values = {}
    for kind in dict.fromkeys(name.partition(" ")[0] for name in found):
        ours, plain = (_typical(found[f"{kind} {model}"]) for model in (REGISTERED, PLAIN))
        values |= {
            f"save_{kind}_us": ours,
            f"save_{kind}_plain_us": plain,
            f"save_{kind}_ratio": ours / plain,
        }
    return values


def _typical(blocks: list[float]) -> float:
    """The median of the quicker half: what else the machine does only ever makes a block slower."""
    return statistics.median(sorted(blocks)[: max(1, len(blocks) // 2)])
