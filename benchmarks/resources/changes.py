"""Changes of rows and those who follow them: beside a chat message, and among many who don't match."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from ..peers import Running
from ..processes import Process
from ..shop.rows import CHANGED
from ..sockets import Client
from ..swarm import Swarm
from ..wire import OURS as CHAT
from ..wire import Dialect, frame
from ..workloads import Invalid, Plan, Values
from .followers import Followed, Followers, Make, title_of
from .languages import request
from .saves import typical
from .servers import tasks

FOLLOWERS = 1000
TURNS, STRETCHES = 8, 4
"""In how many stretches the ways take turns, each of a STRETCHES-th of the plan's seconds."""
SETTLE_SECONDS = 0.5
FILTERING = 100
"""Sockets with subscriptions that filter."""
EACH = 100
"""Subscriptions of each of them, in the end."""
MATCHING = 10
"""Subscriptions, and sockets, that each change concerns."""
ROW = CHANGED
"""The row that is changed: of category CHANGED % 10."""
CATEGORY = ROW % MATCHING
OTHER_ROW = ROW + 1
"""A row that the 1,000 don't follow."""

Filters = list[dict[str, Any]]


def followers(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """1,000 subscribers who all match, in turn with a room of 1,000; one change or message under way.

    The change is made by another process through the ORM, then by an `update` over a socket. Such an
    `update` of a row that concerns nobody says how much of the latter is the request, and not deliveries.
    """
    crowd = Followers(server.ports)
    crowd.connect([("", FOLLOWERS), ("asker", 1)])
    *members, asker = crowd.clients
    crowd.subscribe(
        [(client, [{"column": "category", "operator": "eq", "value": CATEGORY}]) for client in members]
    )
    spent: dict[str, list[float]] = {way: [] for way in ("chat", "task", "socket", "alone")}
    with task_process(server) as changing, contextlib.closing(crowd):
        from_task = by_task(changing)
        from_socket, alone = by_socket(asker), by_socket(asker, OTHER_ROW)
        size = crowd.follow(plan.warm_seconds, from_task, members).size
        crowd.follow(plan.warm_seconds, from_socket, members, asker)
        swarm, chat_size = _room(server, size)
        with contextlib.closing(swarm):
            ways: dict[str, Callable[[float], tuple[int, int]]] = {
                "chat": lambda seconds: _said(swarm, seconds),
                "task": lambda seconds: _told(crowd.follow(seconds, from_task, members)),
                "socket": lambda seconds: _told(crowd.follow(seconds, from_socket, members, asker)),
                "alone": lambda seconds: _told(crowd.follow(seconds, alone, [], asker)),
            }
            ways["chat"](plan.warm_seconds)
            for _ in range(TURNS):
                for way, work in ways.items():
                    before = server.cpu()
                    made, delivered = work(plan.seconds / STRETCHES)
                    spent[way].append((server.cpu() - before) / (delivered or made) * 1e6)
            server.check()
    each = {way: typical(stretches) for way, stretches in spent.items()}
    alone_us = each.pop("alone")
    return {
        **{f"follow_{way}_cpu_us": value for way, value in each.items()},
        "follow_alone_us": alone_us,
        "follow_task_ratio": each["task"] / each["chat"],
        "follow_socket_ratio": each["socket"] / each["chat"],
        "follow_rest_ratio": (each["socket"] - alone_us / FOLLOWERS) / each["chat"],
        "follow_bytes": float(size),
        "follow_chat_bytes": float(chat_size),
    }


def filters(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """10 subscriptions that match, among 100 and among 10,000, on 100 sockets; three kinds of filters."""
    found: Values = {}
    with task_process(server) as changing:
        for kind, made in KINDS.items():
            crowd = Followers(server.ports)
            with contextlib.closing(crowd):
                crowd.connect([("", FILTERING)])
                few = _filtered(server, crowd, made, range(1), changing, plan)
                many = _filtered(server, crowd, made, range(1, EACH), changing, plan)
            found |= {
                f"filter_{kind}_few_us": few,
                f"filter_{kind}_many_us": many,
                f"filter_{kind}_ratio": many / few,
            }
    return found


def _filtered(
    server: Running,
    crowd: Followers,
    made: Callable[[int, int], Filters],
    places: range,
    changing: Process,
    plan: Plan,
) -> float:
    """Gives each socket its subscriptions number `places`; returns microseconds of CPU of a change."""
    sockets = list(enumerate(crowd.clients))
    crowd.subscribe([(client, made(number, place)) for place in places for number, client in sockets])
    concerned = [client for number, client in sockets if number % MATCHING == CATEGORY]
    make = by_task(changing)
    crowd.idle(SETTLE_SECONDS)
    crowd.follow(plan.warm_seconds, make, concerned)
    before = server.cpu()
    followed = crowd.follow(plan.seconds, make, concerned)
    spent = server.cpu() - before
    server.check()
    return spent / followed.changes * 1e6


def _category(socket: int, place: int) -> int:
    """What a socket's subscription asks for: 1,000 values in all, ten sockets each."""
    return place * MATCHING + socket % MATCHING


KINDS: dict[str, Callable[[int, int], Filters]] = {
    # Ten ask for the same.
    "same": lambda socket, place: [_equal("category", _category(socket, place))],
    # Each asks for something else; ten of them for the row.
    "own": lambda socket, place: [
        _equal("category", _category(socket, place)),
        {"column": "id", "operator": "lt", "value": 1_000_000 + socket},
    ],
    # All ask for two things, of which the first is true of every row.
    "two": lambda socket, place: [_equal("status", "active"), _equal("category", _category(socket, place))],
}


def _equal(column: str, value: Any) -> dict[str, Any]:
    return {"column": column, "operator": "eq", "value": value}


# --- who makes the changes --------------------------------------------------------------------------


@contextlib.contextmanager
def task_process(server: Running) -> Iterator[Process]:
    process = tasks(server.where, dict(server.env))
    try:
        yield process
    finally:
        process.stop()


def by_task(process: Process) -> Make:
    return lambda number: process.tell(f"change {ROW} {title_of(number)}".encode())


def by_socket(client: Client, row: int = ROW) -> Make:
    def make(number: int) -> None:
        message = request(0, "update", record_id=row, data={"title": title_of(number)}) | {"id": 0}
        client.sock.send(frame(json.dumps(message).encode()))

    return make


def _told(followed: Followed) -> tuple[int, int]:
    return followed.changes, followed.deliveries


# --- the chat beside them ---------------------------------------------------------------------------


def _room(server: Running, size: int) -> tuple[Swarm, int]:
    """A room of as many, whose messages are as long as `size` bytes, as near as may be; and their length."""
    swarm = Swarm(CHAT, server.ports)
    length = _length(swarm)
    if length < size:
        swarm.close()
        swarm = Swarm(dataclasses.replace(CHAT, after=b"x" * (size - length) + CHAT.after), server.ports)
        length = _length(swarm)
    swarm.close()
    swarm.connect([("crowd", FOLLOWERS)], 60.0)
    swarm.idle(SETTLE_SECONDS)
    return swarm, length


def _length(swarm: Swarm) -> int:
    swarm.connect([("alone", 1)])
    swarm.saturate(0.05, 1)
    return swarm.last_bytes


def _said(swarm: Swarm, seconds: float) -> tuple[int, int]:
    load = swarm.saturate(seconds, 1)
    if load.problems:
        raise Invalid(load.problems[0])
    return load.messages, load.deliveries
