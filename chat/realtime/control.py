"""Questions to all workers, and their answers: statistics, lists, closing connections.

A question is published to every worker; PUBLISH tells how many took it, so ``ask`` knows how many
answers to wait for. With the in-memory layer the one process answers itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

from .auth import session_digest
from .connection import State
from .errors import LayerUnavailable
from .groups import WORKERS, room_group
from .hub import CONTROL, Hub
from .layers import WORKER, LoopLayer, MemoryLayer, get_layer
from .publish import publish
from .runtime import on_hub, run_sync
from .stats import worker_stats

logger = logging.getLogger("chat.realtime.control")

TELL_TIMEOUT = 2.0  # seconds that a caller may be held up

Command = Callable[[Hub, dict[str, Any]], dict[str, Any]]

_commands: dict[str, Command] = {}
_mailboxes: dict[str, list[dict[str, Any]]] = {}
_arrived: dict[str, asyncio.Event] = {}
_telling: set[asyncio.Task[None]] = set()


def command(name: str) -> Callable[[Command], Command]:
    """Register what a worker answers to ``name``: ``(hub, args) → plain dict``, quick, on the loop."""

    def register(function: Command) -> Command:
        _commands[name] = function
        return function

    return register


async def ask(name: str, args: dict[str, Any] | None = None, *, timeout: float = 1.0) -> list[dict[str, Any]]:
    """Ask every worker; one answer a worker, those that came within ``timeout`` seconds.

    Raises LayerUnavailable when the layer can't be reached, or, with the in-memory layer, when no server
    runs in this process.
    """
    layer = get_layer().for_loop()
    if isinstance(layer, MemoryLayer):
        if layer.hub is None or layer.hub.loop.is_closed():
            raise LayerUnavailable("The in-memory layer reaches only the server's own process.")
        return [_answer(layer.hub, name, args or {})]
    address = await _address(layer)
    ref = secrets.token_hex(8)
    _mailboxes[ref], _arrived[ref] = [], asyncio.Event()
    try:
        question = {"type": CONTROL, "ask": name, "args": args or {}, "reply_to": address, "ref": ref}
        expected = await publish(layer, WORKERS, question)
        try:
            async with asyncio.timeout(timeout):
                while len(_mailboxes[ref]) < expected:
                    _arrived[ref].clear()
                    await _arrived[ref].wait()
        except TimeoutError:
            logger.warning("%d of %d workers answered %s in time", len(_mailboxes[ref]), expected, name)
        return _mailboxes[ref]
    finally:
        del _mailboxes[ref], _arrived[ref]


def ask_sync(name: str, args: dict[str, Any] | None = None, *, timeout: float = 1.0) -> list[dict[str, Any]]:
    """``ask`` for sync views, shells and commands."""
    try:
        return run_sync(ask(name, args, timeout=timeout), timeout + 5)
    except TimeoutError:
        raise LayerUnavailable() from None


def tell(name: str, args: dict[str, Any]) -> None:
    """Tell every worker, without asking for answers; from sync and async code alike. What can't be told is
    logged: the caller's own work is not to fail for it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        try:
            run_sync(_tell(name, args), TELL_TIMEOUT)
        except TimeoutError:
            logger.error("the workers could not be told to %s: no answer", name)
    else:
        task = loop.create_task(_tell(name, args))
        _telling.add(task)
        task.add_done_callback(_telling.discard)


async def _tell(name: str, args: dict[str, Any]) -> None:
    layer = get_layer().for_loop()
    if isinstance(layer, MemoryLayer):
        if layer.hub is not None and not layer.hub.loop.is_closed():
            _answer(layer.hub, name, args)
        return
    try:
        await publish(layer, WORKERS, {"type": CONTROL, "ask": name, "args": args, "reply_to": "", "ref": ""})
    except LayerUnavailable:
        logger.error("the workers could not be told to %s: the layer can't be reached", name)


def _attach(hub: Hub) -> None:
    """A new hub listens to what is meant for all workers, and to what is meant for it."""
    hub.on_control = handle
    hub.listen(WORKERS)
    hub.listen(WORKER + hub.worker)


on_hub.append(_attach)


def handle(hub: Hub, message: dict[str, Any]) -> None:
    """A control message came to this worker."""
    if "to" in message:
        hub.deliver_to_connection(message["to"], message["message"])
    elif "ask" in message:
        if message["ask"] not in _commands:
            return  # a newer version's question, during a rolling update
        reply = _answer(hub, message["ask"], message["args"])
        if not message["reply_to"]:
            return
        answer = {"type": CONTROL, "ref": message["ref"], "reply": reply}
        hub.layer.publish(message["reply_to"], answer)
    else:
        _collect(message)


def _collect(message: dict[str, Any]) -> None:
    """An answer to a question of this process; late ones find no mailbox."""
    mailbox = _mailboxes.get(message["ref"])
    if mailbox is not None:
        mailbox.append(message["reply"])
        _arrived[message["ref"]].set()


def _answer(hub: Hub, name: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"worker": hub.worker, **_commands[name](hub, args)}


class _Mailbox:
    """Stands in for a hub where no server runs: a command, a task worker. It only takes answers."""

    def __init__(self, layer: LoopLayer) -> None:
        self.address = "realtime.asker." + secrets.token_hex(8)
        self.subscribed = layer.subscribe(self.address)
        self.connections: dict[str, Any] = {}

    def deliver(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        for _, message in batch:
            if message["type"] == CONTROL and "ref" in message:
                _collect(message)


async def _address(layer: LoopLayer) -> str:
    if isinstance(layer.hub, Hub):
        return WORKER + layer.hub.worker
    if layer.hub is None:
        layer.hub = _Mailbox(layer)
    mailbox: _Mailbox = layer.hub
    if mailbox.subscribed.done() and mailbox.subscribed.exception():
        mailbox.subscribed = layer.subscribe(mailbox.address)
    await asyncio.shield(mailbox.subscribed)
    return mailbox.address


@command("stats")
def _stats(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return worker_stats(hub)


@command("connections")
def _connections(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    found = [connection for connection in hub.connections.values() if _matches(connection, args)]
    limit = int(args.get("limit", 500))
    return {"total": len(found), "connections": [connection.describe() for connection in found[:limit]]}


@command("rooms")
def _rooms(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    rooms: dict[str, int] = {}
    for connection in hub.connections.values():
        if connection.room is not None:
            rooms[connection.room] = rooms.get(connection.room, 0) + 1
    return {"rooms": rooms}


@command("members")
def _members(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    limit = int(args.get("limit", 1000))
    room = args["room"]
    found = [member for member in hub.groups.get(room_group(room), ()) if member.room == room]
    members = [
        {"id": member.id, "name": (member.metadata or {}).get("name"), "user": member.user}
        for member in found[:limit]
    ]
    return {"members": members, "total": len(found)}


@command("close")
def _close(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    if not any(args.get(key) for key in ("all", "room", "user", "connection", "session")):
        return {"closed": 0}  # a filter that matches everybody by accident closes nobody
    found = [connection for connection in hub.connections.values() if _matches(connection, args)]
    for connection in found:
        connection.close(int(args.get("code", 4510)), args.get("reason") or None)
    return {"closed": len(found)}


def _matches(connection: Any, args: dict[str, Any]) -> bool:
    if connection.state > State.OPEN:
        return False
    if args.get("connection") and connection.id != args["connection"]:
        return False
    if args.get("room") and connection.room != args["room"]:
        return False
    if args.get("session"):
        key = connection.session_key
        if key is None or session_digest(key) != args["session"]:
            return False
    if args.get("user"):
        user = connection.user or {}
        return args["user"] in (str(user.get("id")), user.get("username"))
    return True
