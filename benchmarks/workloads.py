"""The rows of the table: what is asked of each server, and what is measured while it does it.

A workload gets a server that has just been started and returns a value for each of its metrics. CPU is
that of all the server's processes; no other process's CPU is in it, the kernel's share of its
sockets is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .peers import Running
from .swarm import Load, Swarm
from .wire import Dialect

Values = dict[str, float]
Rooms = list[tuple[str, int]]

FANOUT_MEMBERS = 500
SMALL_ROOMS, SMALL_MEMBERS = 200, 2
SETTLE_SECONDS = 0.5
IDLE_SETTLE_SECONDS = 2.0
CONNECT_SECONDS = 120.0
LEAVE_SECONDS = 1.0
"""After which a server has dealt with the end of all the connections that were reset at once."""


class Invalid(Exception):
    """The server lost, doubled or misled a message, or a connection: its figures don't count."""


@dataclass(frozen=True)
class Plan:
    """How long and how large a run is."""

    repetitions: int
    warm_seconds: float
    seconds: float
    """Of each measurement."""
    idle: tuple[int, int]
    connects: int
    scale: tuple[int, int]
    paced_rate: float = 250.0
    """Messages per second of the moderate load; the slowest peer manages about twice that."""


FULL = Plan(
    repetitions=5,
    warm_seconds=1.5,
    seconds=2.5,
    idle=(1000, 5000),
    connects=1000,
    scale=(1000, 10_000),
)
QUICK = Plan(
    repetitions=1,
    warm_seconds=1.0,
    seconds=2.0,
    idle=(1000, 3000),
    connects=500,
    scale=(500, 2000),
)


@dataclass(frozen=True)
class Workload:
    """One kind of work and the function that has it done."""

    key: str
    run: Callable[[Running, Dialect, Plan], Values]
    connections: Callable[[Plan], int]
    """The most it opens."""
    repeated: bool = True
    """Whether it is done once a repetition, or only once because it is long."""
    servers: frozenset[str] | None = None
    """Those that are given it, by key; None: all."""


def _measured(server: Running, load: Callable[[], Load]) -> tuple[Load, float]:
    """The load and the CPU seconds that the server spent on it."""
    before = server.cpu()
    done = load()
    spent = server.cpu() - before
    server.check()
    if done.problems:
        raise Invalid("; ".join(dict.fromkeys(done.problems)))
    return done, spent


def _warmed(swarm: Swarm, server: Running, seconds: float, in_flight: int) -> None:
    swarm.idle(SETTLE_SECONDS)
    _measured(server, lambda: swarm.saturate(seconds, in_flight))


def fanout(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """One room of 500: each message goes to 500 sockets; with one message under way, and with eight."""
    swarm = Swarm(dialect, server.ports)
    try:
        swarm.connect([("fan", FANOUT_MEMBERS)], CONNECT_SECONDS)
        _warmed(swarm, server, plan.warm_seconds, 1)
        one, one_cpu = _measured(server, lambda: swarm.saturate(plan.seconds, 1))
        eight, eight_cpu = _measured(server, lambda: swarm.saturate(plan.seconds, 8))
    finally:
        swarm.close()
    p50, p99 = one.percentiles(0.5, 0.99)
    return {
        "fanout_cpu_us": one_cpu / one.deliveries * 1e6,
        "fanout_deliveries_s": one.per_second * FANOUT_MEMBERS,
        "fanout_p50_ms": p50 * 1e3,
        "fanout_p99_ms": p99 * 1e3,
        "fanout8_cpu_us": eight_cpu / eight.deliveries * 1e6,
        "fanout8_deliveries_s": eight.per_second * FANOUT_MEMBERS,
    }


def small(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """200 rooms of two: a message in flight per room, then a moderate load at a fixed rate."""
    swarm = Swarm(dialect, server.ports)
    try:
        swarm.connect([(f"small{n}", SMALL_MEMBERS) for n in range(SMALL_ROOMS)], CONNECT_SECONDS)
        _warmed(swarm, server, plan.warm_seconds, SMALL_ROOMS)
        full, full_cpu = _measured(server, lambda: swarm.saturate(plan.seconds, SMALL_ROOMS))
        swarm.idle(SETTLE_SECONDS)
        paced, paced_cpu = _measured(server, lambda: swarm.pace(plan.seconds, plan.paced_rate))
    finally:
        swarm.close()
    p50, p99 = full.percentiles(0.5, 0.99)
    paced_p50, paced_p99 = paced.percentiles(0.5, 0.99)
    return {
        "small_cpu_us": full_cpu / full.messages * 1e6,
        "small_messages_s": full.per_second,
        "small_busy": full_cpu / full.whole_seconds,
        "small_p50_ms": p50 * 1e3,
        "small_p99_ms": p99 * 1e3,
        "paced_cpu_us": paced_cpu / paced.messages * 1e6,
        "paced_p50_ms": paced_p50 * 1e3,
        "paced_p99_ms": paced_p99 * 1e3,
    }


def idle(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """Memory of connections that do nothing, in rooms of two: the first thousand, and many."""
    few, many = plan.idle
    swarm = Swarm(dialect, server.ports)
    try:
        swarm.idle(SETTLE_SECONDS)
        empty = server.rss()
        swarm.connect(_pairs("few", few), CONNECT_SECONDS)
        swarm.idle(IDLE_SETTLE_SECONDS)
        few_held = server.rss() - empty
        swarm.connect(_pairs("many", many - few), CONNECT_SECONDS)
        swarm.idle(IDLE_SETTLE_SECONDS)
        many_held = server.rss() - empty
        cpu = server.cpu()
        swarm.idle(IDLE_SETTLE_SECONDS)
        cpu = server.cpu() - cpu
        _healthy(server, swarm)
    finally:
        swarm.close()
    return {
        "idle_kib": few_held / few / 1024,
        "idle_many_kib": many_held / many / 1024,
        "idle_next_kib": (many_held - few_held) / (many - few) / 1024,
        "idle_busy": cpu / IDLE_SETTLE_SECONDS,
        "empty_mib": empty / 2**20,
    }


def connect(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """CPU from the handshake to having joined, in rooms of two and in one room for all, and of leaving."""
    swarm = Swarm(dialect, server.ports)
    try:
        _connect_cpu(server, swarm, _pairs("warm", plan.connects))
        pairs, leaving = _connect_cpu(server, swarm, _pairs("pair", plan.connects))
        crowd, _ = _connect_cpu(server, swarm, [("crowd", plan.connects)])
    finally:
        swarm.close()
    return {
        "connect_us": pairs / plan.connects * 1e6,
        "connect_crowd_us": crowd / plan.connects * 1e6,
        "disconnect_us": leaving / plan.connects * 1e6,
    }


def scale(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """The fan-out to rooms of 500 and the memory, with few connections and with many.

    One message is under way at a time: two would meet in the same room more often where there are few, and
    what meets can be written together.
    """
    few, many = plan.scale
    swarm = Swarm(dialect, server.ports)
    try:
        empty = server.rss()
        swarm.connect(_halls(0, few), CONNECT_SECONDS)
        _warmed(swarm, server, plan.warm_seconds, 1)
        few_load, few_cpu = _measured(server, lambda: swarm.saturate(plan.seconds, 1))
        few_rss = server.rss() - empty
        swarm.connect(_halls(few, many), CONNECT_SECONDS)
        _warmed(swarm, server, plan.warm_seconds, 1)
        many_load, many_cpu = _measured(server, lambda: swarm.saturate(plan.seconds, 1))
        many_rss = server.rss() - empty
    finally:
        swarm.close()
    few_us, many_us = few_cpu / few_load.deliveries * 1e6, many_cpu / many_load.deliveries * 1e6
    return {
        "scale_few_us": few_us,
        "scale_many_us": many_us,
        "scale_ratio": many_us / few_us,
        "scale_few_kib": few_rss / few / 1024,
        "scale_many_kib": many_rss / many / 1024,
        "scale_memory_ratio": (many_rss / many) / (few_rss / few),
    }


def _pairs(name: str, connections: int) -> Rooms:
    return [(f"{name}{n}", 2) for n in range(connections // 2)]


def _halls(first: int, last: int) -> Rooms:
    return [(f"hall{n}", FANOUT_MEMBERS) for n in range(first // FANOUT_MEMBERS, last // FANOUT_MEMBERS)]


def _healthy(server: Running, swarm: Swarm) -> None:
    server.check()
    if swarm.problems:
        raise Invalid(swarm.problems[0])


def _connect_cpu(server: Running, swarm: Swarm, rooms: Rooms) -> tuple[float, float]:
    """CPU seconds of opening all of `rooms`, and of closing them again."""
    before = server.cpu()
    swarm.connect(rooms, CONNECT_SECONDS)
    swarm.idle(SETTLE_SECONDS)  # what a server puts off until after the greeting is part of it
    joined = server.cpu()
    _healthy(server, swarm)
    swarm.close()
    swarm.idle(LEAVE_SECONDS)
    return joined - before, server.cpu() - joined


WORKLOADS: Sequence[Workload] = (
    Workload("fanout", fanout, lambda plan: FANOUT_MEMBERS),
    Workload("small", small, lambda plan: SMALL_ROOMS * SMALL_MEMBERS),
    Workload("idle", idle, lambda plan: plan.idle[1]),
    Workload("connect", connect, lambda plan: plan.connects),
    Workload("scale", scale, lambda plan: plan.scale[1], repeated=False),
)
"""In the order of the table."""
