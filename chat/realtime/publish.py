"""Send from anywhere: a view, a task, a shell, a handler; sync, or async with an ``a`` in front.

    broadcast_room("orders", "notification", {"text": "Order 7 is paid"})

A message is encoded once, published once per group, framed once per process. Inside a database
transaction publish in ``transaction.on_commit``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import config
from .envelope import encode
from .errors import LayerUnavailable
from .groups import EVERYONE, room_group, user_group
from .hub import CONTROL, FRAME
from .layers import WORKER, WORKER_ID, MemoryLayer, get_layer
from .questions import publish
from .runtime import local_hub, run_sync


@dataclass(frozen=True, slots=True)
class Receipt:
    """``id`` of the message, and how many ``workers`` took it (those with a member of the group)."""

    id: str
    workers: int


async def abroadcast_room(
    room: str, type: str, data: Any, *, exclude: Iterable[str] = (), **fields: Any
) -> Receipt:
    """Send to every member of a room, but for the connection ids in ``exclude``.

    Raises LayerUnavailable. ``fields``: ``sender`` (a client id), ``user`` ({"id", "username"}).
    """
    return await _send(room_group(room), type, data, exclude, room=room, **fields)


async def abroadcast_all(type: str, data: Any, *, exclude: Iterable[str] = (), **fields: Any) -> Receipt:
    """Send to every connection of every worker. Raises LayerUnavailable."""
    return await _send(EVERYONE, type, data, exclude, **fields)


async def asend_to_user(user_id: Any, type: str, data: Any, **fields: Any) -> Receipt:
    """Send to every connection of a signed-in user. Raises LayerUnavailable."""
    return await _send(user_group(str(user_id)), type, data, (), **fields)


async def asend_to_connection(connection_id: str, type: str, data: Any, **fields: Any) -> Receipt:
    """Send to one connection; ``workers`` is 0 when its worker is gone. Raises LayerUnavailable."""
    ident, payload = encode(type, data, **fields)
    message = {"type": FRAME, "data": payload}
    layer = get_layer().for_loop()
    hub = local_hub()
    if isinstance(layer, MemoryLayer):
        if hub is None:
            raise LayerUnavailable("The in-memory layer reaches only the server's own process.")
        return Receipt(ident, int(hub.deliver_to_connection(connection_id, message)))
    group = WORKER + connection_id[WORKER_ID]
    return Receipt(
        ident, await publish(layer, group, {"type": CONTROL, "to": connection_id, "message": message})
    )


def broadcast_room(room: str, type: str, data: Any, **options: Any) -> Receipt:
    """``abroadcast_room`` for sync code."""
    return _sync(abroadcast_room(room, type, data, **options))


def broadcast_all(type: str, data: Any, **options: Any) -> Receipt:
    """``abroadcast_all`` for sync code."""
    return _sync(abroadcast_all(type, data, **options))


def send_to_user(user_id: Any, type: str, data: Any, **options: Any) -> Receipt:
    """``asend_to_user`` for sync code."""
    return _sync(asend_to_user(user_id, type, data, **options))


def send_to_connection(connection_id: str, type: str, data: Any, **options: Any) -> Receipt:
    """``asend_to_connection`` for sync code."""
    return _sync(asend_to_connection(connection_id, type, data, **options))


async def _send(group: str, type: str, data: Any, exclude: Iterable[str], **fields: Any) -> Receipt:
    ident, payload = encode(type, data, **fields)
    message: dict[str, Any] = {"type": FRAME, "data": payload}
    without = list(exclude)
    if without:
        message["except"] = without
    return Receipt(ident, await publish(get_layer().for_loop(), group, message))


def _sync(sending: Any) -> Receipt:
    try:
        receipt: Receipt = run_sync(sending, config.current().redis_timeout + 2)
    except TimeoutError:
        raise LayerUnavailable() from None
    return receipt
