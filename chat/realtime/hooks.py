"""Hooks: functions that any installed app registers at points of the layer, without touching what runs there.

    @hook(Hook.BEFORE_HANDLE, scope=OrderConsumer, order=10)
    async def no_orders_at_night(context): ...

They live in an app's ``hooks`` module, which is imported at start. At a point they run one after another, by
``order``, then as registered. A hook gets the point's context and may change it by assigning; in a BEFORE
point it refuses by raising a RealtimeError. ``async def`` hooks run on the event loop; plain ones on one of
the database's threads, where they may use the ORM and must not touch the connection. docs/middleware.md.

A layer above has points of its own: another enum of ``HookPoint``, and contexts derived from ``HookContext``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from django.utils.module_loading import autodiscover_modules

from . import config, log
from .database import in_database
from .errors import BUGS

logger = logging.getLogger("chat.realtime")

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


class HookPoint(Enum):
    """A place at which hooks may be registered."""


class Hook(HookPoint):
    """The points of the realtime layer."""

    BEFORE_CONNECT = "before_connect"  # the handshake is allowed so far; may refuse it
    CONNECTED = "connected"  # the socket is open, and ``connected()`` has run
    RETURNED = "returned"  # after CONNECTED: the client was here before, as ``context.previous``
    LOST = "lost"  # the line broke, or the client stopped answering or reading
    DISCONNECTED = "disconnected"  # after LOST if it was lost: the socket has gone, ``disconnect()`` has run
    BEFORE_HANDLE = "before_handle"  # may change ``context.message``, or refuse it
    AFTER_HANDLE = "after_handle"  # may change ``context.result``
    BEFORE_PUBLISH = "before_publish"  # may change ``context.type`` and ``context.data``, or refuse it
    AFTER_PUBLISH = "after_publish"  # ``context.receipt`` tells how many workers took it


@dataclass(slots=True, kw_only=True)
class HookContext:
    """What hooks of a point are told. Where a plain function must not go on a thread: ``async def``."""

    point: HookPoint | None = None


@dataclass(slots=True, kw_only=True)
class ConnectionContext(HookContext):
    """``code``: the close code, at the end. ``previous``: the client's id of last time, by its own word."""

    consumer: Any
    code: int | None = None
    previous: str | None = None


@dataclass(slots=True, kw_only=True)
class MessageContext(HookContext):
    """``message``: the checked ``Incoming``. ``result``: what the handler returned, afterwards."""

    consumer: Any
    message: Any
    result: Any = None


@dataclass(slots=True, kw_only=True)
class PublishContext(HookContext):
    """A message for a room (``room``), a user (``user_id``), one connection or everybody."""

    type: str
    data: Any
    room: str | None = None
    user_id: Any = None
    connection_id: str | None = None
    sender: str | None = None
    receipt: Any = None


@dataclass(frozen=True, slots=True)
class _Registered:
    function: Callable[..., Any]
    call: Callable[[Any], Awaitable[Any]]
    order: int
    scope: Hashable


_registered: dict[HookPoint, list[_Registered]] = {}

# Whether anybody listens there: what the layer looks at for each message (30 ns).
handling = False
publishing = False


def hook(point: HookPoint, *, order: int = 0, scope: Hashable = None) -> Callable[[Function], Function]:
    """Register a function at a point. ``scope``: only there; for the layer's points a consumer class (and
    those derived from it). None: everywhere."""
    if not isinstance(point, HookPoint):
        raise TypeError(f"{point!r} is no hook point: take one of Hook")

    def register(function: Function) -> Function:
        _add(point, function, order, scope)
        return function

    return register


@contextmanager
def temporary(
    point: HookPoint, function: Callable[..., Any], *, order: int = 0, scope: Hashable = None
) -> Iterator[None]:
    """Have a hook registered while the block runs."""
    added = _add(point, function, order, scope)
    try:
        yield
    finally:
        _registered[point].remove(added)
        _changed()


def discover() -> None:
    """Import the ``hooks`` module of every installed app."""
    autodiscover_modules("hooks")


def has(*points: HookPoint) -> bool:
    """Whether anybody is registered at one of these points."""
    return any(_registered.get(point) for point in points)


async def run(point: HookPoint, context: HookContext, *scopes: Hashable) -> None:
    """Run the hooks of a point. What one of them raises is raised, and ends it."""
    context.point = point
    for registered in _at(point, scopes):
        await registered.call(context)


def run_here(
    point: HookPoint, context: HookContext, *scopes: Hashable, loop: asyncio.AbstractEventLoop
) -> None:
    """``run`` for code that is on a database thread and stays there, so that a plain function's queries are
    part of the transaction that is open on it. An ``async def`` hook runs on ``loop``, and is waited for."""
    context.point = point
    for registered in _at(point, scopes):
        if inspect.iscoroutinefunction(registered.function):
            waited = asyncio.run_coroutine_threadsafe(_on_loop(registered.function, context), loop)
            try:
                waited.result(config.current().handler_timeout)
            finally:
                waited.cancel()
        else:
            registered.function(context)


async def _on_loop(function: Callable[..., Any], context: HookContext) -> None:
    """A task that ends with SystemExit ends the event loop with it."""
    try:
        await function(context)
    except SystemExit as error:
        raise RuntimeError(f"{_name(function)} called sys.exit({error.code!r})") from error


async def around_publish(
    context: PublishContext, publish: Callable[[PublishContext], Awaitable[Result]]
) -> Result:
    """``publish`` what the hooks have made of a message; they see its receipt."""
    await run(Hook.BEFORE_PUBLISH, context)
    context.receipt = receipt = await publish(context)
    await tell(Hook.AFTER_PUBLISH, context)
    return receipt


async def tell(point: HookPoint, context: HookContext, *scopes: Hashable) -> None:
    """Run the hooks of a point that only tells: one's error is logged, and the others go on."""
    context.point = point
    for registered in _at(point, scopes):
        try:
            async with asyncio.timeout(config.current().handler_timeout):
                await registered.call(context)
        except BUGS as error:  # one's bug does not keep the others from being told
            log.failure(logger, "hook_failed", error, hook=_name(registered.function), at=point.value)


def _at(point: HookPoint, scopes: tuple[Hashable, ...]) -> list[_Registered]:
    """A copy, so that hooks may be registered meanwhile."""
    return [one for one in _registered.get(point, ()) if one.scope is None or one.scope in scopes]


def _add(point: HookPoint, function: Callable[..., Any], order: int, scope: Hashable) -> _Registered:
    call = function if inspect.iscoroutinefunction(function) else in_database(function)
    added = _Registered(function, call, order, scope)
    at = _registered.setdefault(point, [])
    at.append(added)
    at.sort(key=lambda one: one.order)  # stable: as registered where the order is the same
    _changed()
    return added


def _changed() -> None:
    global handling, publishing
    handling = has(Hook.BEFORE_HANDLE, Hook.AFTER_HANDLE)
    publishing = has(Hook.BEFORE_PUBLISH, Hook.AFTER_PUBLISH)


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
