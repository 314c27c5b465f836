"""Handlers: methods of a consumer, each for one type of message, marked with ``@on``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .schema import Schema, compiled

Method = TypeVar("Method", bound=Callable[..., Any])

BINARY = "receive_binary"  # the method for binary frames


@dataclass(frozen=True, slots=True)
class Handler:
    """The method for one type of message: its name, and what the message's ``data`` must be."""

    name: str
    schema: Schema | None
    takes_message: bool  # beside the checked data, the ``Incoming`` too
    plain: bool  # an ``async def`` that gets the ``Incoming``
    streams: bool

    @classmethod
    def of(cls, method: Any, schema: Schema | None) -> Handler:
        """Look at a method of a consumer class."""
        takes_message = schema is not None and len(inspect.signature(method).parameters) > 2
        plain = schema is None and inspect.iscoroutinefunction(method)
        return cls(method.__name__, schema, takes_message, plain, inspect.isasyncgenfunction(method))


class On:
    """The decorator ``on``."""

    def __call__(self, kind: str, *, schema: Any = None) -> Callable[[Method], Method]:
        """Make a method the handler of one message type.

        It gets the checked ``Incoming``; with a ``schema`` (a msgspec type, a serializer class) the data as
        that, and as a second argument, if it takes one, the ``Incoming``. What it returns is the reply, what
        it yields a stream.
        """
        check = None if schema is None else compiled(schema)

        def mark(method: Method) -> Method:
            method.handles = (str(kind), check)  # type: ignore[attr-defined]
            return method

        return mark

    def binary(self, method: Method) -> Method:
        """Make a method the handler of binary frames; it gets the ``bytes``."""
        method.handles_binary = True  # type: ignore[attr-defined]
        return method


on = On()


def handlers_of(consumer_class: Any, members: dict[str, Any]) -> dict[str, Handler]:
    """A class's handlers by type: those it inherits, and those that its body marks or overrides."""
    handlers: dict[str, Handler] = {}
    known = {
        kind: handler
        for base in reversed(consumer_class.__mro__[1:])  # a class may have several bases with handlers
        for kind, handler in vars(base).get("handlers", {}).items()
    }
    for kind, inherited in known.items():
        overriding = members.get(inherited.name)
        again = Handler.of(overriding, inherited.schema) if callable(overriding) else inherited
        handlers[kind] = again
    for member in members.values():
        marked = getattr(member, "handles", None)
        if marked is not None:
            kind, schema = marked
            handlers[kind] = Handler.of(member, schema)
    return handlers


def binary_handler_of(members: dict[str, Any]) -> str | None:
    """The name of the method that a class's body has for binary frames, or None."""
    for name, member in members.items():
        if getattr(member, "handles_binary", False):
            return name
    return BINARY if BINARY in members else None
