"""Notifications on their way to connections: encoded once for all who get the same, and never before the
response to the request that caused them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chat.realtime.frames import Frame
from chat.realtime.hub import Hub

from . import messages
from .groups import DELETED, Group
from .tracking import Row

# Connections with frames that wait for a response to go first: the id of each.
holding: set[str] = set()

_renderers: dict[tuple[Any, tuple[str, ...]], Callable[[Row], dict[str, Any]]] = {}
MOST_RENDERERS = 1000


def send(
    hub: Hub,
    group: Group,
    operation: str,
    key: Any,
    row: Row | None,
    shown: bytes | None = None,
    source: str | None = None,
) -> None:
    """Tell all members of a group what happened to a row: one frame. ``source``: the request behind it."""
    data: Any = {"id": key}
    if operation != DELETED and row is not None:
        data = msgspec.Raw(encoded(group, row) if shown is None else shown)
    resource = group.resource
    frame = Frame(messages.notification(operation, group.id, resource.schema, resource.entity, key, data))
    _give(hub, group, frame, source)


def _give(hub: Hub, group: Group, frame: Frame, source: str | None) -> None:
    members = group.connections()
    if source is not None and (writer := hub.connections.get(source.partition(".")[0])):
        writer.consumer.expect(source)
    if not holding:
        hub.give(members, frame)
        return
    free = []
    for connection in members:
        if connection.id in holding:
            connection.consumer.hold(frame, group.id)
        else:
            free.append(connection)
    hub.give(free, frame)


def encoded(group: Group, row: Row, data: dict[str, Any] | None = None) -> bytes:
    """A row as the group's members see it. ``data``: what a serializer made of it."""
    names = group.query.columns
    if data is not None:
        return messages.encode({name: data[name] for name in names if name in data})
    render = _renderers.get((group.resource, names))
    if render is None:
        if len(_renderers) >= MOST_RENDERERS:
            _renderers.clear()
        render = _renderers[group.resource, names] = group.resource.representation.renderer(names)
    return messages.encode(render(row))
