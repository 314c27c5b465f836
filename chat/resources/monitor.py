"""Who is connected to the resources, what they follow, and a word to them. Sync; async with an ``a`` before.

All of them speak with every worker: a round trip over Redis.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from chat.realtime import control
from chat.realtime.errors import LayerUnavailable
from chat.realtime.hub import CONTROL, FRAME
from chat.realtime.layers import get_layer
from chat.realtime.questions import publish
from chat.realtime.roster import afind_connections
from chat.realtime.runtime import run_sync
from chat.realtime.where import Where, check

from . import messages
from .consumer import EVERY_RESOURCE_CONNECTION

T = TypeVar("T")

TIMEOUT = 1.0  # seconds for the workers' answers


async def abroadcast_message(message: Any, where: Where | None = None) -> int:
    """Send any JSON value to every connection of the resource endpoint, or to those for which ``where`` holds
    (docs/broadcasting.md); how many workers took it. Raises LayerUnavailable, InvalidCondition."""
    data = messages.encode(message)
    layer = get_layer().for_loop()
    frame: dict[str, Any] = {"type": FRAME, "data": data}
    if where is not None:
        select = {"group": EVERY_RESOURCE_CONNECTION, "where": check(where)}
        frame = {"type": CONTROL, "select": select, "data": data}
    return await publish(layer, EVERY_RESOURCE_CONNECTION, frame)


async def aget_connection(ident: str) -> dict[str, Any] | None:
    """One connection's state and metadata, or None. Raises LayerUnavailable."""
    found = await afind_connections({"id": ident}, limit=1)
    return found.connections[0] if found.connections else None


async def aget_connection_count() -> int:
    """How many connections the resource endpoint has, on the workers that answered.

    Raises LayerUnavailable."""
    return await _sum("connections")


async def aget_subscription_count() -> int:
    """How many subscriptions there are, on the workers that answered. Raises LayerUnavailable."""
    return await _sum("subscriptions")


def broadcast_message(message: Any, where: Where | None = None) -> int:
    """``abroadcast_message`` for sync code."""
    return _sync(abroadcast_message(message, where))


def get_connection(ident: str) -> dict[str, Any] | None:
    """``aget_connection`` for sync code."""
    return _sync(aget_connection(ident))


def get_connection_count() -> int:
    """``aget_connection_count`` for sync code."""
    return _sync(aget_connection_count())


def get_subscription_count() -> int:
    """``aget_subscription_count`` for sync code."""
    return _sync(aget_subscription_count())


async def _sum(key: str) -> int:
    answers = await control.ask("resource_counts", timeout=TIMEOUT)
    return sum(int(answer[key]) for answer in answers)


def _sync(asking: Coroutine[Any, Any, T]) -> T:
    try:
        return run_sync(asking, TIMEOUT + 5)
    except TimeoutError:
        raise LayerUnavailable() from None
