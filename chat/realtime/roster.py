"""Who is connected, on all workers: find, count, note something, close. Sync; async with an ``a`` in front.

``where`` is a condition on each connection (`where.py`, docs/broadcasting.md). All of them wait for the
workers' answers: a round trip over Redis, and at most a second for a worker that does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from . import control, log, metadata
from .codes import CloseCode, may_send
from .connection import Connection, State
from .errors import LayerUnavailable
from .hub import Hub
from .runtime import run_sync
from .where import Condition, Where, check, matcher

T = TypeVar("T")

MOST_LISTED = 1000  # connections in one page, or in one report of those that did not go
ANSWER_TIMEOUT = 1.0  # seconds
LONGEST_CLOSING = 300.0  # seconds that somebody may wait for connections to go
CLOSE_AT_ONCE = 200  # connections, then other work has its turn: a close is 20 µs
LOOK_EVERY = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    """One page of connections, the oldest first, each as `Connection.describe` has it.

    ``total``: how many match, on the ``workers`` that answered; ``missing`` ones did not. ``next``: what to
    pass as ``after`` for the next page; None on the last one.
    """

    connections: list[dict[str, Any]]
    total: int
    workers: int
    missing: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """``closed`` connections are gone; ``remaining`` ones (at most 1,000, described) did not go in time, of
    ``total``. ``missing`` workers did not answer: of theirs nothing is known."""

    total: int
    closed: int
    remaining: list[dict[str, Any]]
    workers: int
    missing: int


async def afind_connections(
    where: Where | None = None, *, limit: int = 100, after: str | None = None
) -> Found:
    """A page of the connections for which ``where`` holds. Raises LayerUnavailable, InvalidCondition,
    ValueError for an ``after`` or a ``limit`` that there can't be."""
    if not 1 <= limit <= MOST_LISTED:
        raise ValueError(f"limit is 1 to {MOST_LISTED:,}.")
    _place(after)
    asked = {"where": _checked(where), "limit": limit, "after": after}
    found = await control.question("find", asked, timeout=ANSWER_TIMEOUT)
    listed = [entry for answer in found.answers for entry in answer["found"]]
    listed.sort(key=lambda entry: _place(entry[0]))
    rest = sum(answer["rest"] for answer in found.answers)
    page = listed[:limit]
    return Found(
        connections=[described for _, described in page],
        total=sum(answer["total"] for answer in found.answers),
        workers=len(found.answers),
        missing=found.missing,
        next=page[-1][0] if page and rest > len(page) else None,
    )


async def aconnection_count(where: Where | None = None) -> int:
    """How many connections ``where`` holds for, on the workers that answered. Raises LayerUnavailable,
    InvalidCondition."""
    return sum(await _each("count", {"where": _checked(where)}, "total"))


async def aset_metadata(where: Where, values: Mapping[str, Any]) -> int:
    """Note ``values`` on each connection for which ``where`` holds; on how many it was. A connection that has
    no room for them keeps what it had. Raises LayerUnavailable, InvalidCondition, InvalidMetadata."""
    plain = metadata.checked(values) or {}
    return sum(await _each("set_metadata", {"where": check(where), "values": plain}, "changed"))


async def aclose_all_connections(
    timeout: float = 10.0,
    *,
    where: Where | None = None,
    code: int = CloseCode.GOING_AWAY,
    reason: str | None = None,
) -> Closed:
    """Close every connection (for which ``where`` holds) on all workers, each after what was sent to it, and
    wait up to ``timeout`` seconds until they are gone. Raises LayerUnavailable, InvalidCondition, ValueError.
    """
    if not may_send(code):
        raise ValueError(f"{code} is no close code that can be sent")
    if not 0 <= timeout <= LONGEST_CLOSING:
        raise ValueError(f"timeout is 0 to {LONGEST_CLOSING:g} seconds.")
    asked = {"where": _checked(where), "timeout": timeout, "code": int(code), "reason": reason}
    found = await control.question("close_all", asked, timeout=timeout + 2)
    total = sum(answer["total"] for answer in found.answers)
    return Closed(
        total=total,
        closed=total - sum(answer["left"] for answer in found.answers),
        remaining=[one for answer in found.answers for one in answer["remaining"]][:MOST_LISTED],
        workers=len(found.answers),
        missing=found.missing,
    )


def find_connections(where: Where | None = None, *, limit: int = 100, after: str | None = None) -> Found:
    """``afind_connections`` for sync code."""
    return _sync(afind_connections(where, limit=limit, after=after))


def connection_count(where: Where | None = None) -> int:
    """``aconnection_count`` for sync code."""
    return _sync(aconnection_count(where))


def set_metadata(where: Where, values: Mapping[str, Any]) -> int:
    """``aset_metadata`` for sync code."""
    return _sync(aset_metadata(where, values))


def close_all_connections(timeout: float = 10.0, **options: Any) -> Closed:
    """``aclose_all_connections`` for sync code."""
    return _sync(aclose_all_connections(timeout, **options), timeout)


async def _each(name: str, args: dict[str, Any], key: str) -> list[int]:
    found = await control.question(name, args, timeout=ANSWER_TIMEOUT)
    return [answer[key] for answer in found.answers]


def _sync(asking: Coroutine[Any, Any, T], timeout: float = 0) -> T:
    try:
        return run_sync(asking, timeout + ANSWER_TIMEOUT + 5)
    except TimeoutError:
        raise LayerUnavailable() from None


def _checked(where: Where | None) -> Condition | None:
    return None if where is None else check(where)


def _place(mark: str | None) -> tuple[float, str]:
    """Where a page begins, from ``Found.next``. Raises ValueError."""
    if mark is None:
        return (0.0, "")
    moment, _, ident = mark.partition("-")
    try:
        return (float(moment), ident)
    except ValueError:
        raise ValueError(f"{mark!r} is no place in the list of connections") from None


# --- in the worker --------------------------------------------------------------------------------


def living(hub: Hub, condition: Condition | None) -> list[Connection]:
    """The connections of a worker that are connecting or open and for which the condition holds."""
    there = [one for one in hub.connections.values() if one.state <= State.OPEN]
    if condition is None:
        return there
    wanted = matcher(condition)
    return [one for one in there if wanted(one)]


@control.command("find")
def _find(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    matching = living(hub, args["where"])
    begin = _place(args["after"])
    rest = [one for one in matching if (one.connected_at, one.id) > begin]
    rest.sort(key=lambda one: (one.connected_at, one.id))
    page = [(f"{one.connected_at!r}-{one.id}", one.describe()) for one in rest[: args["limit"]]]
    return {"total": len(matching), "rest": len(rest), "found": page}


@control.command("count")
def _count(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return {"total": len(living(hub, args["where"]))}


@control.command("set_metadata")
def _set_metadata(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    changed = 0
    for connection in living(hub, args["where"]):
        try:
            connection.set(**args["values"])
        except metadata.InvalidMetadata as error:
            log.event(
                control.logger, logging.WARNING, "metadata_refused", connection=connection, reason=str(error)
            )
        else:
            changed += 1
    return {"changed": changed}


@control.command("close_all")
async def _close_all(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    """Close, a few at a time, and wait until they are gone or the time is over."""
    end = time.monotonic() + args["timeout"]
    going = living(hub, args["where"])
    for number, connection in enumerate(going, 1):
        connection.close(args["code"], args["reason"])
        if number % CLOSE_AT_ONCE == 0:
            await asyncio.sleep(0)
    total = len(going)
    while going := [one for one in going if one.id in hub.connections]:
        if time.monotonic() >= end:
            break
        await asyncio.sleep(min(LOOK_EVERY, max(end - time.monotonic(), 0)))
    return {
        "total": total,
        "left": len(going),
        "remaining": [one.describe() for one in going[:MOST_LISTED]],
    }
