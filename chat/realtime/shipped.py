"""Middleware that comes with the layer; ``middleware.py`` says how one is written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from . import log
from .counters import add
from .envelope import Incoming
from .errors import RealtimeError, Unauthenticated
from .schema import compiled

logger = logging.getLogger("chat.realtime.messages")


class SchemaValidation:
    """The ``data`` of messages by their type: ``SchemaValidation({"order.create": OrderIn})``.

    The schemas are those of ``@on(..., schema=...)``; the handler gets an ``Incoming`` whose ``data`` is the
    checked object (a Struct's instance is no dict: handlers read ``message.data.sku``).
    """

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = {str(kind): compiled(schema) for kind, schema in schemas.items()}

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        schema = self._schemas.get(message.type) if isinstance(message, Incoming) else None
        if schema is not None:
            data = schema.check(message.data, consumer)
            message.data = await data if isawaitable(data) else data
        return await next(message)


class AuthenticationRequired:
    """Only signed-in users: ``AuthenticationRequired()`` refuses the handshake of others with 401;
    ``AuthenticationRequired("order.create", ...)`` refuses their messages of these types."""

    def __init__(self, *types: str) -> None:
        self._types = frozenset(map(str, types))

    def connect(self, consumer: Any, next: Any) -> Any:
        if not self._types:
            _check_user(consumer)
        return next()

    def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        if isinstance(message, Incoming) and message.type in self._types:
            _check_user(consumer)
        return next(message)


class MessageLogging:
    """One line a message: its type, the connection, how long it took, and how it ended. Never its content."""

    def __init__(self, level: int = logging.INFO) -> None:
        self._level = level

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        began = time.perf_counter()
        outcome = "internal"
        try:
            result = await next(message)
            outcome = "ok"
            return result
        except RealtimeError as error:
            outcome = error.code
            raise
        finally:
            log.event(
                logger,
                self._level,
                "message",
                type=type_of(consumer, message),
                outcome=outcome,
                ms=round((time.perf_counter() - began) * 1000, 3),
                connection=consumer.connection,
            )


class MessageMetrics:
    """Counts messages by type and outcome ("ok", or an error's code), for /metrics:
    ``realtime_message_outcomes_total``."""

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        outcome = "internal"
        try:
            result = await next(message)
            outcome = "ok"
            return result
        except RealtimeError as error:
            outcome = error.code
            raise
        finally:
            add(consumer.hub.counters.outcomes, f"{type_of(consumer, message)} {outcome}")


class Timing:
    """Measures what is inside it: a handler, and the middleware between. What took ``slow`` seconds or more
    is logged as a warning; ``observe(type, seconds)`` is called for every message. A stream counts up to
    its beginning."""

    def __init__(self, slow: float = 1.0, observe: Callable[[str, float], None] | None = None) -> None:
        self._slow = slow
        self._observe = observe

    async def receive(self, consumer: Any, message: Any, next: Any) -> Any:
        began = time.perf_counter()
        try:
            return await next(message)
        finally:
            took = time.perf_counter() - began
            kind = type_of(consumer, message)
            if self._observe is not None:
                self._observe(kind, took)
            if took >= self._slow:
                log.event(
                    logger,
                    logging.WARNING,
                    "slow_message",
                    type=kind,
                    ms=round(took * 1000, 3),
                    connection=consumer.connection,
                )


def type_of(consumer: Any, message: Any) -> str:
    """A message's type as a label: one of the consumer's own, "binary", "json" or "other"; never a text
    that a client has made up."""
    if isinstance(message, Incoming):
        return message.type if message.type in consumer.handlers else "other"
    return "binary" if isinstance(message, bytes) else "json"


def _check_user(consumer: Any) -> None:
    user = getattr(consumer, "user", None)
    if user is None or not user.is_authenticated:
        raise Unauthenticated()
