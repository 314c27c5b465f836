"""Middleware: a chain around a connection's beginning, its messages in both directions, and its end.

A middleware is an object with any of these methods, ``async def`` or ``def``::

    connect(consumer, next)            # return await next(); raise Refused(...) to say no before the upgrade
    receive(consumer, message, next)   # return await next(message); what is returned is the reply
    send(consumer, frame, next)        # await next(frame); not called: the frame is not sent
    disconnect(consumer, code, next)   # await next(code)

A plain method runs on the event loop and must not block; it returns ``next(...)``. One object serves all
connections of a consumer class: what belongs to one connection goes into ``consumer.storage``. The project's
(``REALTIME = {"MIDDLEWARE": [...]}`` in the settings) are around the consumer's own (``middleware = [...]``);
in each list the first is the outermost. docs/middleware.md shows their use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

Call = Callable[..., Any]

POINTS = ("connect", "receive", "send", "disconnect")


class Chain:
    """One consumer class's middleware, composed. A point that nobody stands at is None: it costs nothing."""

    __slots__ = ("middleware", *POINTS)

    def __init__(self, middleware: Iterable[Any]) -> None:
        self.middleware = [_instance(one) for one in middleware]
        # connect(consumer, innermost), receive(consumer, message, innermost), ...: all awaitable.
        self.connect = self._compose("connect")
        self.receive = self._compose("receive")
        self.send = self._compose("send")
        self.disconnect = self._compose("disconnect")

    def _compose(self, point: str) -> Callable[..., Awaitable[Any]] | None:
        methods = [getattr(one, point) for one in self.middleware if hasattr(one, point)]
        link: Callable[..., Awaitable[Any]] | None = None
        for method in reversed(methods):
            link = _link(method, link)
        return link


def _link(method: Call, following: Call | None) -> Callable[..., Awaitable[Any]]:
    """One middleware's method, awaitable: its ``next`` is the following link, or the consumer itself."""

    async def call(consumer: Any, *arguments: Any) -> Any:
        *values, innermost = arguments
        next = innermost if following is None else _next(following, consumer, innermost)
        result = method(consumer, *values, next)
        return await result if isawaitable(result) else result

    return call


def _next(link: Call, consumer: Any, innermost: Call) -> Call:
    return lambda *values: link(consumer, *values, innermost)


def chain_of(consumer_class: Any) -> Chain:
    """A consumer class's chain; composed at its first connection."""
    chain: Chain | None = consumer_class.__dict__.get("_composed")
    if chain is None:
        chain = consumer_class._composed = Chain([*project_middleware(), *consumer_class.middleware])
    return chain


def project_middleware() -> list[Any]:
    """What ``REALTIME["MIDDLEWARE"]`` names: classes and objects, or dotted names of them. Made once, so
    that one object serves all consumer classes. Raises ImproperlyConfigured."""
    named = tuple((getattr(settings, "REALTIME", None) or {}).get("MIDDLEWARE", ()))
    made = _project.get(named)
    if made is None:
        _project.clear()
        made = _project[named] = [_instance(one) for one in named]
    return made


_project: dict[tuple[Any, ...], list[Any]] = {}


def _instance(one: Any) -> Any:
    if isinstance(one, str):
        try:
            one = import_string(one)
        except ImportError as error:
            raise ImproperlyConfigured(f"REALTIME['MIDDLEWARE'] names {one!r}: {error}") from error
    made = one() if isinstance(one, type) else one
    if not any(callable(getattr(made, point, None)) for point in POINTS):
        raise ImproperlyConfigured(
            f"{one!r} is no middleware: it has none of the methods {', '.join(POINTS)}"
        )
    return made
