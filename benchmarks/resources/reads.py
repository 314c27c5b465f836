"""Reading rows: one and a page, one request at a time and several; and many at once on one socket."""

from __future__ import annotations

import json

from ..peers import Running
from ..shop.rows import FIELDS, ROWS
from ..wire import Dialect
from ..workloads import Invalid, Plan, Values
from .askers import Asked, Askers, Build
from .languages import PAGE, Language

SOCKETS = 8
"""That ask at the same time; the peer takes the requests of one socket one after the other."""
PIPELINED = 100
"""Requests at once on one socket."""
TURNS = 4
"""Stretches in which one way and the other take turns."""
SETTLE_SECONDS = 0.5


def one_row(language: Language, number: int) -> bytes:
    """A request for one row; for another one each time."""
    return language.read_one(number, 1 + number * 7 % ROWS)


def one_page(language: Language, number: int) -> bytes:
    """A request for a page; for another one each time."""
    return language.read_page(number, number % (ROWS // PAGE) * PAGE)


def reads(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """One row, then a page of 100: one request under way, then one on each of eight sockets."""
    found: Values = {}
    askers = _connected(server, dialect)
    try:
        for key, build, rows in (("one", one_row, 1), ("page", one_page, PAGE)):
            _check(askers, build, rows)
            askers.ask(plan.warm_seconds, build, SOCKETS, 1)
            for name, sockets in (("", 1), ("8", SOCKETS)):
                asked, cpu = _measured(server, askers, build, plan.seconds / 2, sockets, 1)
                found[f"{key}{name}_cpu_us"] = cpu / asked.requests * 1e6
                found[f"{key}{name}_s"] = asked.requests / asked.seconds
    finally:
        askers.close()
    return found


def pipeline(server: Running, dialect: Dialect, plan: Plan) -> Values:
    """100 requests for a row written to one socket at once, in turn with one at a time on it."""
    found: Values = {}
    askers = _connected(server, dialect)
    try:
        for key, build, rows in (("", one_row, 1), ("page_", one_page, PAGE)):
            _check(askers, build, rows)
            askers.ask(plan.warm_seconds, build, 1, PIPELINED)
            cpu: dict[int, float] = dict.fromkeys((1, PIPELINED), 0.0)
            seconds, requests = dict(cpu), dict(cpu)
            for _ in range(TURNS):
                for burst in cpu:
                    asked, spent = _measured(server, askers, build, plan.seconds / TURNS, 1, burst)
                    cpu[burst] += spent
                    seconds[burst] += asked.seconds
                    requests[burst] += asked.requests
            for name, spent in (("cpu", cpu), ("wall", seconds)):
                single, piped = (spent[burst] / requests[burst] * 1e6 for burst in (1, PIPELINED))
                found[f"pipe_{key}single_{name}_us"] = single
                found[f"pipe_{key}{name}_us"] = piped
                found[f"pipe_{key}{name}_ratio"] = piped / single
    finally:
        askers.close()
    return found


def _connected(server: Running, dialect: Dialect) -> Askers:
    assert isinstance(dialect, Language)
    askers = Askers(dialect, server.ports)
    askers.connect([("", SOCKETS)])
    askers.idle(SETTLE_SECONDS)
    return askers


def _check(askers: Askers, build: Build, count: int) -> None:
    """Both sides have to answer with the same rows and columns."""
    answer = askers.look(build)
    try:
        rows = askers.dialect.rows(answer)
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"a request was refused: {error}") from None
    if len(rows) != count or any(sorted(row) != sorted(FIELDS) for row in rows):
        raise Invalid(f"other rows than asked for: {json.dumps(rows)[:200]}")


def _measured(
    server: Running, askers: Askers, build: Build, seconds: float, sockets: int, burst: int
) -> tuple[Asked, float]:
    """What was asked, and the CPU seconds that the server spent on it."""
    before = server.cpu()
    asked = askers.ask(seconds, build, sockets, burst)
    spent = server.cpu() - before
    server.check()
    return asked, spent
