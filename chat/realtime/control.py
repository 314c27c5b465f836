"""Questions to all workers, and what they answer: statistics, lists, closing connections.

With the in-memory layer the one process answers itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from . import log
from .connection import State
from .errors import BUGS, LayerUnavailable
from .groups import WORKERS, room_group
from .hub import CONTROL, Hub
from .layers import WORKER, MemoryLayer, get_layer
from .questions import Answers, collect, publish, publish_and_gather, reply
from .runtime import on_hub, run_sync
from .selection import deliver
from .stats import worker_stats
from .where import matcher

logger = logging.getLogger("chat.realtime.control")

TELL_TIMEOUT = 2.0  # seconds that a caller may be held up

Command = Callable[[Hub, dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]

_commands: dict[str, Command] = {}
_tasks: set[asyncio.Task[None]] = set()  # tellings and long answers under way


def command(name: str) -> Callable[[Command], Command]:
    """Register what a worker answers to ``name``: ``(hub, args) → plain dict``, quick, on the loop; or a
    coroutine function, for what takes its time."""

    def register(function: Command) -> Command:
        _commands[name] = function
        return function

    return register


async def question(name: str, args: dict[str, Any] | None = None, *, timeout: float = 1.0) -> Answers:
    """Ask every worker; one answer a worker, those that came within ``timeout`` seconds.

    Raises LayerUnavailable when the layer can't be reached, or, with the in-memory layer, when no server
    runs in this process.
    """
    layer = get_layer().for_loop()
    if isinstance(layer, MemoryLayer):
        if layer.hub is None or layer.hub.loop.is_closed():
            raise LayerUnavailable("The in-memory layer reaches only the server's own process.")
        return Answers([await _answer(layer.hub, name, args or {})], 1)
    asking = {"type": CONTROL, "ask": name, "args": args or {}}
    found = await publish_and_gather(layer, WORKERS, asking, timeout)
    if found.missing:
        log.event(
            logger,
            logging.WARNING,
            "answers_missing",
            question=name,
            asked=found.asked,
            missing=found.missing,
        )
    return found


async def ask(name: str, args: dict[str, Any] | None = None, *, timeout: float = 1.0) -> list[dict[str, Any]]:
    """``question``, for its answers only."""
    return (await question(name, args, timeout=timeout)).answers


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
            _untold(name)
    else:
        _keep(loop.create_task(_tell(name, args)))


async def _tell(name: str, args: dict[str, Any]) -> None:
    layer = get_layer().for_loop()
    if isinstance(layer, MemoryLayer):
        if layer.hub is not None and not layer.hub.loop.is_closed():
            await _answer(layer.hub, name, args)
        return
    try:
        await publish(layer, WORKERS, {"type": CONTROL, "ask": name, "args": args, "reply_to": "", "ref": ""})
    except LayerUnavailable:
        _untold(name)


def _untold(name: str) -> None:
    log.event(logger, logging.ERROR, "workers_not_told", what=name)


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
        _take_question(hub, message)
    elif "select" in message:
        deliver(hub, message)
    else:
        collect(message)


def _take_question(hub: Hub, message: dict[str, Any]) -> None:
    name = message["ask"]
    if name not in _commands:
        return  # a newer version's question, during a rolling update
    result = _commands[name](hub, message["args"])
    if isinstance(result, dict):
        _reply(hub, message, result)
    else:
        _keep(hub.loop.create_task(_reply_later(hub, message, result)))


async def _reply_later(hub: Hub, message: dict[str, Any], result: Awaitable[dict[str, Any]]) -> None:
    try:
        _reply(hub, message, await result)
    except BUGS as error:  # nobody awaits this task: its bug is logged here
        log.failure(logger, "answer_failed", error, question=message["ask"])


def _reply(hub: Hub, message: dict[str, Any], result: dict[str, Any]) -> None:
    if message["reply_to"]:
        reply(hub, message, {"worker": hub.worker, **result})


async def _answer(hub: Hub, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """What the one process of the in-memory layer answers."""
    result = _commands[name](hub, args)
    return {"worker": hub.worker, **(result if isinstance(result, dict) else await result)}


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


@command("stats")
def _stats(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return worker_stats(hub)


@command("connections")
def _connections(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    found = [connection for connection in hub.connections.values() if _matches(connection, args)]
    if args.get("where"):
        wanted = matcher(args["where"])
        found = [connection for connection in found if wanted(connection)]
    limit = int(args.get("limit", 500))
    return {"total": len(found), "connections": [connection.describe() for connection in found[:limit]]}


@command("rooms")
def _rooms(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    rooms: dict[str, int] = {}
    for connection in hub.connections.values():
        for room in connection.all_rooms():
            rooms[room] = rooms.get(room, 0) + 1
    return {"rooms": rooms}


@command("members")
def _members(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    limit = int(args.get("limit", 1000))
    room = args["room"]
    found = [member for member in hub.groups.get(room_group(room), ()) if member.in_room(room)]
    members = [{"id": member.id, "name": member.get("name"), "user": member.user} for member in found[:limit]]
    return {"members": members, "total": len(found)}


@command("close")
def _close(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    """Close what matches. Of a room: those whose endpoint's room it is; those who joined it leave it."""
    if not any(args.get(key) for key in ("all", "room", "user_id", "username", "connection")):
        return {"closed": 0, "left": 0}  # a filter that matches everybody by accident closes nobody
    found = [connection for connection in hub.connections.values() if _matches(connection, args)]
    room, closed = args.get("room"), 0
    for connection in found:
        if room and connection.room != room:
            connection.consumer.put_out(room, "closed_by_administrator")
        else:
            connection.close(int(args.get("code", 4510)), args.get("reason") or None)
            closed += 1
    return {"closed": closed, "left": len(found) - closed}


def _matches(connection: Any, args: dict[str, Any]) -> bool:
    if connection.state > State.OPEN:
        return False
    if args.get("connection") and connection.id != args["connection"]:
        return False
    if args.get("room") and not connection.in_room(args["room"]):
        return False
    user = connection.user or {}
    if args.get("user_id") and str(user.get("id")) != str(args["user_id"]):
        return False
    return not args.get("username") or user.get("username") == args["username"]
