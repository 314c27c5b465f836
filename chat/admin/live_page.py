"""What the live page shows: the workers' answers, filtered, sorted and cut into pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from django.core.paginator import Page, Paginator
from django.http import QueryDict

from chat.management.output import duration, milliseconds, number, size
from chat.operator import Workers
from chat.realtime.errors import LayerUnavailable
from chat.realtime.layers import get_layer

EACH = 500  # connections that each worker is asked for
PER_PAGE = 50
ROOMS = 20  # the largest
LONGEST_FILTER = 150  # characters
SHORT = 60  # characters of a client's text

Connection = dict[str, Any]

# The keys of `o` in the page's address; a minus before one turns it round.
ORDERS: dict[str, Callable[[Connection], Any]] = {
    "user": lambda c: _who(c).lower(),
    "room": lambda c: (not c["rooms"], c["rooms"]),
    "address": lambda c: c["address"] or "",
    "connected": lambda c: c["connected_at"],
    "active": lambda c: c["last_activity"],
    "queue": lambda c: c["queue_depth"],
    "in": lambda c: c["messages_in"],
    "out": lambda c: c["messages_out"],
}
NEWEST_FIRST = "-connected"


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody wants to see, from the page's address. Anything odd in it counts as not said."""

    room: str = ""
    user: str = ""
    worker: str = ""
    text: str = ""
    order: str = NEWEST_FIRST
    page: str = "1"

    @classmethod
    def of(cls, given: QueryDict) -> Self:
        def text(name: str) -> str:
            return (given.get(name) or "").strip()[:LONGEST_FILTER].replace("\x00", "")

        order = text("o")
        return cls(
            room=text("room"),
            user=text("user"),
            worker=text("worker"),
            text=text("q"),
            order=order if order.removeprefix("-") in ORDERS else NEWEST_FIRST,
            page=text("page") or "1",
        )

    def encode(self, **changes: str) -> str:
        """The address' query, without what is the default: `room=lobby&page=2`."""
        given = replace(self, **{"page": "1", **changes})  # another filter or order starts at the first page
        query = QueryDict(mutable=True)
        for name, value, default in (
            ("room", given.room, ""),
            ("user", given.user, ""),
            ("worker", given.worker, ""),
            ("q", given.text, ""),
            ("o", given.order, NEWEST_FIRST),
            ("page", given.page, "1"),
        ):
            if value != default:
                query[name] = value
        return query.urlencode()

    @property
    def filtered(self) -> bool:
        return bool(self.room or self.user or self.worker or self.text)


def snapshot(query: Query) -> dict[str, Any]:
    """The context of the live part. `problem` ("redis", "memory", "workers") says why there is nothing."""
    try:
        found = Workers().overview(room=query.room or None, user=query.user or None, each=EACH, rooms=ROOMS)
    except LayerUnavailable:
        return {"query": query, "problem": "redis" if get_layer().kind == "redis" else "memory"}
    if not found["stats"]["workers"]:
        return {"query": query, "problem": "workers"}
    all_connections = found["connections"]["connections"]
    matching = [connection for connection in all_connections if _matches(connection, query)]
    matching.sort(key=lambda connection: connection["id"])
    matching.sort(key=ORDERS[query.order.removeprefix("-")], reverse=query.order.startswith("-"))
    page: Page[Connection] = Paginator(matching, PER_PAGE).get_page(query.page)
    now = datetime.now(UTC)
    return {
        "query": query,
        "problem": None,
        "totals": _totals(found["stats"]),
        "workers": [_worker(worker) for worker in found["stats"]["workers"]],
        "rooms": [{**room, "address": query.encode(room=room["room"])} for room in found["rooms"]["rooms"]],
        "rooms_total": found["rooms"]["total"],
        "columns": _columns(query),
        "connections": [_row(connection, now) for connection in page],
        "found": len(matching),
        "unseen": found["connections"]["total"] - len(all_connections),
        "each": EACH,
        "page": page,
        "pages": [
            (mark, query.encode(page=str(mark)) if isinstance(mark, int) else "")
            for mark in page.paginator.get_elided_page_range(page.number)
        ],
    }


def chosen(selected: list[str], room: str) -> tuple[list[dict[str, Any]], int]:
    """The rows of those among `selected` that are still there, or of a room's connections, of which there
    may be more; and how many there are. Raises LayerUnavailable."""
    if room:
        found = Workers().connections(room=room, limit=PER_PAGE)
        connections, total = found["connections"], found["total"]
    else:
        connections = Workers().find(selected)
        total = len(connections)
    now = datetime.now(UTC)
    return [_row(connection, now) for connection in connections], total


def _matches(connection: Connection, query: Query) -> bool:
    if query.worker and connection["worker"] != query.worker:
        return False
    if not query.text:
        return True
    texts = (connection["id"], _who(connection), connection["name"], connection["address"])
    wanted = query.text.lower()
    return any(wanted in (text or "").lower() for text in (*texts, connection["user_agent"]))


def _columns(query: Query) -> list[dict[str, str]]:
    """The sortable columns' heads: label, address of the page sorted by it, and how it is sorted now."""
    columns = []
    for key, label, numeric in (
        ("user", "Who", False),
        ("room", "Room", False),
        ("address", "Address and program", False),
        ("connected", "Connected", True),
        ("active", "Idle", True),
        ("queue", "Queue", True),
        ("in", "In", True),
        ("out", "Out", True),
    ):
        other = f"-{key}"
        sorted_now = {key: "ascending", other: "descending"}.get(query.order, "")
        columns.append(
            {
                "label": label,
                "numeric": "numeric" if numeric else "",
                "sorted": sorted_now,
                "address": query.encode(
                    order=key if query.order == other or not (numeric or sorted_now) else other
                ),
            }
        )
    return columns


def _totals(stats: dict[str, Any]) -> list[tuple[str, str]]:
    totals = stats["totals"]
    return [
        ("Connections", number(totals["connections"])),
        ("Rooms", number(totals["rooms"])),
        ("Workers", number(len(stats["workers"]))),
        ("Messages in / s", number(totals["rates"]["in"])),
        ("Messages out / s", number(totals["rates"]["out"])),
        ("Dropped", number(totals["dropped"])),
        ("Closed as too slow", number(totals["slow_closed"])),
    ]


def _worker(worker: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": worker["worker"],
        "host": worker["host"],
        "pid": worker["pid"],
        "state": worker["state"],
        "layer": "in memory" if worker["layer_kind"] == "memory" else worker["layer"],
        "ok": worker["state"] == "serving" and worker["layer"] == "ok",
        "uptime": duration(worker["uptime"]),
        "connections": number(worker["connections"]),
        "rooms": number(worker["rooms"]),
        "in": number(worker["messages_in"]),
        "out": number(worker["messages_out"]),
        "rate_in": number(worker["rates"]["in"]),
        "rate_out": number(worker["rates"]["out"]),
        "dropped": number(worker["dropped"]),
        "slow_closed": number(worker["slow_closed"]),
        "memory": size(worker["rss"]),
    }


def _row(connection: Connection, now: datetime) -> dict[str, Any]:
    """Plain text: the template escapes it, and shortens what clients chose."""
    connected = datetime.fromisoformat(connection["connected_at"])
    active = datetime.fromisoformat(connection["last_activity"])
    return {
        "id": connection["id"],
        "user": connection["user"],
        "name": connection["name"],
        "who": _who(connection),
        "room": next(iter(connection["rooms"]), None),
        "more_rooms": connection["rooms"][1:],
        "address": connection["address"],
        "user_agent": connection["user_agent"],
        "connected_at": connected,
        "connected": duration((now - connected).total_seconds()),
        "idle": duration((now - active).total_seconds()),
        "rtt": None if connection["rtt"] is None else milliseconds(connection["rtt"]),
        "queue": number(connection["queue_depth"]),
        "waiting": connection["queue_depth"] > 0,
        "in": number(connection["messages_in"]),
        "out": number(connection["messages_out"]),
    }


def _who(connection: Connection) -> str:
    user = connection["user"]
    return str(user["username"]) if user else connection["name"] or "Anonymous"
