"""The road over the channel layer."""

from __future__ import annotations

import asyncio
from typing import Any

from chat.operator.calls import MAX_LISTED, Body, Operator, check_target, user_filter
from chat.realtime.codes import CloseCode
from chat.realtime.control import ask, ask_sync
from chat.realtime.errors import LayerUnavailable
from chat.realtime.publish import broadcast_all, broadcast_room
from chat.realtime.runtime import run_sync
from chat.realtime.where import check

ASK_TIMEOUT = 6  # seconds for a question's whole way; the workers themselves have one

_SUMMED = ("connections", "messages_in", "messages_out", "dropped", "slow_closed")


class Workers(Operator):
    """Over the channel layer. Raises LayerUnavailable."""

    def stats(self) -> Body:
        stats, rooms = _ask_together(("stats", {}), ("rooms", {}))
        return _stats(stats, rooms)

    def rooms(self, limit: int = MAX_LISTED) -> Body:
        return _rooms(ask_sync("rooms"), limit)

    def members(self, room: str, limit: int = MAX_LISTED) -> Body:
        """`{"room", "members": [{"id", "name", "user"}], "total", "truncated"}`."""
        answers = ask_sync("members", {"room": room, "limit": limit})
        members = [member for answer in answers for member in answer["members"]][:limit]
        total = sum(answer["total"] for answer in answers)
        return {"room": room, "members": members, "total": total, "truncated": total > len(members)}

    def is_in(self, room: str, user_id: Any) -> bool:
        """Whether a connection of this user is in the room now."""
        asked = {"room": room, "user_id": str(user_id), "limit": 1}
        return any(answer["total"] for answer in ask_sync("connections", asked))

    def connections(
        self,
        *,
        room: str | None = None,
        user: str | None = None,
        username: str | None = None,
        where: Body | None = None,
        limit: int = MAX_LISTED,
    ) -> Body:
        filters = _filters(room, user, limit, username)
        if where is not None:
            filters["where"] = check(where)
        found = _connections(ask_sync("connections", filters))
        return found | {"connections": found["connections"][:limit]}

    def find(self, connections: list[str]) -> list[Body]:
        """Those of the connections with these ids that are there."""
        answers = _ask_together(*[("connections", {"connection": ident}) for ident in connections if ident])
        return [connection for some in answers for answer in some for connection in answer["connections"]]

    def overview(self, *, room: str | None, user: str | None, each: int, rooms: int) -> Body:
        """All at once: `{"stats", "rooms", "connections"}`; up to `each` connections of each worker."""
        stats, in_rooms, connections = _ask_together(
            ("stats", {}), ("rooms", {}), ("connections", _filters(room, user, each))
        )
        return {
            "stats": _stats(stats, in_rooms),
            "rooms": _rooms(in_rooms, rooms),
            "connections": _connections(connections),
        }

    def close(self, target: Body, reason: str = "") -> Body:
        check_target(target)
        return _closed(ask_sync("close", _closing(target, reason)))

    def close_each(self, connections: list[str], reason: str = "") -> Body:
        """Close several connections at once: `{"closed", "left", "workers"}`."""
        answers = _ask_together(
            *[("close", _closing({"connection": ident}, reason)) for ident in connections if ident]
        )
        return _closed([answer for some in answers for answer in some])

    def broadcast(self, room: str | None, kind: str, data: Body) -> Body:
        receipt = broadcast_all(kind, data) if room is None else broadcast_room(room, kind, data)
        return {"id": receipt.id, "workers": receipt.workers}


def _ask_together(*questions: tuple[str, Body]) -> list[list[Body]]:
    """The answers to several questions, in their order, in the time of one. Raises LayerUnavailable."""

    async def together() -> list[list[Body]]:
        return await asyncio.gather(*[ask(name, args) for name, args in questions])

    try:
        return run_sync(together(), ASK_TIMEOUT)
    except TimeoutError:
        raise LayerUnavailable() from None


def _stats(answers: list[Body], in_rooms: list[Body]) -> Body:
    workers = sorted(answers, key=lambda worker: (worker["host"], worker["pid"]))
    totals: Body = {key: sum(worker[key] for worker in workers) for key in _SUMMED}
    totals["rates"] = {
        way: round(sum(worker["rates"][way] for worker in workers), 2) for way in ("in", "out")
    }
    # A room may have members on several workers: the sum of the workers' rooms would count it again.
    totals["rooms"] = len({room for answer in in_rooms for room in answer["rooms"]})
    return {"workers": workers, "totals": totals, "rooms": totals["rooms"]}


def _rooms(answers: list[Body], limit: int) -> Body:
    members: dict[str, int] = {}
    for answer in answers:
        for room, count in answer["rooms"].items():
            members[room] = members.get(room, 0) + count
    largest = sorted(members.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return {
        "rooms": [{"room": room, "members": count} for room, count in largest],
        "total": len(members),
        "workers": len(answers),
    }


def _filters(room: str | None, user: str | None, limit: int, username: str | None = None) -> Body:
    given = {"room": room, "username": username, "limit": limit, **(user_filter(user) if user else {})}
    return {key: value for key, value in given.items() if value}


def _connections(answers: list[Body]) -> Body:
    found = [connection for answer in answers for connection in answer["connections"]]
    found.sort(key=lambda connection: (connection["connected_at"], connection["id"]))
    return {
        "connections": found,
        "total": sum(answer["total"] for answer in answers),
        "workers": len(answers),
    }


def _closing(target: Body, reason: str) -> Body:
    if "user" in target:
        target = user_filter(target["user"])
    return {**target, "code": int(CloseCode.CLOSED_BY_ADMINISTRATOR), "reason": reason}


def _closed(answers: list[Body]) -> Body:
    workers = {answer["worker"] for answer in answers if answer["closed"] or answer.get("left")}
    return {
        "closed": sum(answer["closed"] for answer in answers),
        "left": sum(answer.get("left", 0) for answer in answers),
        "workers": len(workers),
    }
