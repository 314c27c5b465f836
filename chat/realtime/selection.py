"""Broadcasts to some of a group's members, and their reports. What all members get is the hub's (`hub.py`).

They cross Redis on the group's own channel, as a control message, and the hub hands over what came before
them first: so they keep their place in the room's order.
"""

from __future__ import annotations

from typing import Any

from .connection import State
from .frames import Frame
from .hub import Hub
from .questions import reply
from .where import matcher


def deliver(hub: Hub, message: dict[str, Any]) -> None:
    """Give ``message["data"]`` to those whom ``message["select"]`` names, and report where it is asked for:

    ``{"worker", "attempted", "enqueued", "dropped"}``: open connections that were meant; those that took it
    (it is on its way, or in their send buffer); messages that were lost for it to full buffers.
    """
    select = message["select"]
    if "connection" in select:
        one = hub.connections.get(select["connection"])
        members = [] if one is None else [one]
    else:
        members = list(hub.groups.get(select["group"], ()))
    without = frozenset(select.get("except", ()))
    users = frozenset(select.get("except_users", ()))
    wanted = matcher(select["where"]) if "where" in select else None
    frame = Frame(message["data"])
    dropped = hub.counters.dropped
    attempted = enqueued = 0
    for connection in members:
        if connection.state is not State.OPEN or connection.id in without:
            continue
        if users and connection.user is not None and str(connection.user["id"]) in users:
            continue
        if wanted is not None and not wanted(connection):
            continue
        attempted += 1
        enqueued += connection.take(frame)
    if enqueued:
        hub.counters.gave(frame.payload, enqueued)
    if message.get("reply_to"):
        counts = {"attempted": attempted, "enqueued": enqueued, "dropped": hub.counters.dropped - dropped}
        reply(hub, message, {"worker": hub.worker, **counts})
