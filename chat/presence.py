"""Who is in a room: told to the others as it changes, and listed for those who ask on arrival.

A worker remembers the members on other workers that its clients were told of, so that it can tell them that
they are gone when their worker was killed. No list outlives its room's last local member.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chat import live
from chat.realtime import control, envelope
from chat.realtime.connection import Connection
from chat.realtime.frames import Frame
from chat.realtime.groups import room_group
from chat.realtime.hub import FRAME, Hub
from chat.realtime.peers import heard_of, on_lost
from chat.realtime.runtime import on_hub

MAX_LISTED = 500  # members in one list
ASK_TIMEOUT = 0.5  # seconds for the workers to answer
_WORKER_ID = slice(0, 8)  # of a connection id

# room → the members on other workers, by id: {"id", "name", "user"}
_remote: dict[str, dict[str, dict[str, Any]]] = {}
_asking: dict[tuple[Any, str], asyncio.Future[tuple[list[dict[str, Any]], int]]] = {}


def announce(connection: Connection, room: str, status: str, members: int) -> None:
    """Tell the others in the room who came (``online``) or went (``offline``), unless it is a large room."""
    if members > live.policy().presence_limit:
        return
    member = {
        "id": connection.id,
        "name": connection.get("name"),
        "user": connection.user,
    }
    connection.hub.layer.publish(
        room_group(room),
        {
            "type": FRAME,
            "data": _encode(member, room, status),
            "except": [connection.id],
            "note": {"room": room, "status": status, "member": member},
        },
    )


def note(hub: Hub, message: dict[str, Any]) -> None:
    """A presence message came for this worker's clients: remember whom they know of."""
    found = message["note"]
    member, room = found["member"], found["room"]
    if member["id"][_WORKER_ID] == hub.worker:
        return
    if found["status"] == "online":
        _remember(hub, room, [member])
    elif room in _remote:
        _remote[room].pop(member["id"], None)


async def members_of(hub: Hub, room: str) -> tuple[list[dict[str, Any]], int]:
    """The room's members on all workers and their number; questions that overlap are one question.

    Raises LayerUnavailable.
    """
    key = (hub, room)
    asking = _asking.get(key)
    if asking is None:
        asking = _asking[key] = asyncio.ensure_future(_ask(hub, room))
        asking.add_done_callback(lambda _: _asking.pop(key, None))
    return await asyncio.shield(asking)


def forget(hub: Hub, room: str) -> None:
    """A member left: without local members nobody here needs the list."""
    if room_group(room) not in hub.groups:
        _remote.pop(room, None)


async def _ask(hub: Hub, room: str) -> tuple[list[dict[str, Any]], int]:
    answers = await control.ask("members", {"room": room, "limit": MAX_LISTED}, timeout=ASK_TIMEOUT)
    for answer in answers:
        if answer["worker"] != hub.worker:
            _remember(hub, room, answer["members"])
    members = [member for answer in answers for member in answer["members"]]
    return members[:MAX_LISTED], sum(answer["total"] for answer in answers)


def _remember(hub: Hub, room: str, members: list[dict[str, Any]]) -> None:
    if room_group(room) not in hub.groups:
        return
    known = _remote.setdefault(room, {})
    for member in members:
        heard_of(hub, member["id"][_WORKER_ID])
        if len(known) < MAX_LISTED:
            known[member["id"]] = member


def _worker_lost(hub: Hub, worker: str) -> None:
    """A worker was killed: its members are gone without a word, so this worker says it to its own clients."""
    for room, known in list(_remote.items()):
        for ident in [ident for ident in known if ident[_WORKER_ID] == worker]:
            frame = Frame(_encode(known.pop(ident), room, "offline"))
            for connection in list(hub.groups.get(room_group(room), ())):
                connection.push(frame)
        if not known:
            del _remote[room]


on_lost.append(_worker_lost)
on_hub.append(lambda hub: hub.on_note.append(note))


def _encode(member: dict[str, Any], room: str, status: str) -> bytes:
    data: dict[str, Any] = {"status": status}
    if member["name"] is not None:
        data["name"] = member["name"]
    return envelope.encode("presence", data, room=room, sender=member["id"], user=member["user"])[1]
