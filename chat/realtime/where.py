"""Conditions on connections, as data: written anywhere, checked there, evaluated in each worker.

    {"room": "lobby", "metadata.plan": {"in": ["pro", "team"]}}
    {"any": [{"user.id": 7}, {"idle": {"gt": 600}}], "not": {"address": {"startswith": "10."}}}
    {"@over_limit": 500}                        # an application's own: @predicate("over_limit")

All keys of a mapping must hold. A key is a field of a connection (`FIELDS`, ``metadata.…``, ``claims.…``),
with a value to equal or ``{operator: value}``; ``any`` and ``all`` with a list of conditions; ``not`` with
one; or ``@name`` with the argument for a predicate. No code crosses from process to process, and no name in
a condition is looked up anywhere but in the tables of this file.
"""

from __future__ import annotations

import logging
import math
import operator
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from . import log
from .errors import BUGS, RealtimeError

logger = logging.getLogger("chat.realtime")

Where = Mapping[str, Any]
Condition = list[
    Any
]  # checked: ["all" | "any", [conditions]], ["not", c], ["is", name, arg], [op, field, value]
Matcher = Callable[[Any], bool]
Predicate = Callable[[Any, Any], bool]

MOST_CONDITIONS = 100  # in one `where`
DEEPEST = 8  # any, all, not
MOST_VALUES = 1000  # of `in`
LONGEST_TEXT = 1024  # characters
LARGEST_ARGUMENT = 4096  # bytes of a predicate's argument as JSON


class InvalidCondition(RealtimeError, ValueError):
    """A ``where`` says something that there is not; the text names it. Raised at the sender: receivers learn
    nothing of it."""

    code = "invalid_message"
    message = "The condition is not valid."


FIELDS: dict[str, Callable[[Any], Any]] = {
    "id": lambda c: c.id,
    "worker": lambda c: c.hub.worker,
    "state": lambda c: c.state.name.lower(),
    "room": lambda c: c.room,  # the endpoint's
    "rooms": lambda c: c.all_rooms(),  # with those that were joined later
    "user.id": lambda c: None if c.user is None else str(c.user["id"]),
    "user.username": lambda c: None if c.user is None else c.user["username"],
    "address": lambda c: c.address,
    "user_agent": lambda c: c.user_agent,
    "connected_at": lambda c: c.connected_at,  # seconds since 1970; a datetime in a condition becomes that
    "last_activity": lambda c: c.last_activity,
    "age": lambda c: time.time() - c.connected_at,  # seconds
    "idle": lambda c: time.time() - c.last_activity,  # seconds
    "rtt": lambda c: c.rtt,  # seconds; None before the first answered ping
    "queue_depth": lambda c: c.queue_depth,
    "messages_in": lambda c: c.messages_in,
    "messages_out": lambda c: c.messages_out,
    "bytes_in": lambda c: c.bytes_in,
    "bytes_out": lambda c: c.bytes_out,
    "dropped": lambda c: c.dropped,
}
_OPEN_FIELDS = ("metadata", "claims")  # mappings with the application's own keys
_PREDICATE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

_predicates: dict[str, Predicate] = {}


def predicate(name: str) -> Callable[[Predicate], Predicate]:
    """Register ``(connection, argument) → bool`` for conditions that say ``{"@name": argument}``.

    It runs on the event loop, once a connection: quick, and no I/O. Put it into a module that every process
    imports (an app's ``hooks.py``), since sender and workers both have to know it. Raises ValueError.
    """
    if not _PREDICATE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no predicate's name: small letters, digits, '_', '.', '-'")
    if name in _predicates:
        raise ValueError(f"There is a predicate {name!r} already")

    def register(function: Predicate) -> Predicate:
        _predicates[name] = function
        return function

    return register


# --- at the sender --------------------------------------------------------------------------------


def check(where: Where) -> Condition:
    """A condition in the form that crosses Redis: lists, texts and numbers. Raises InvalidCondition."""
    return _Check().mapping(where, 0)


class _Check:
    """Counts what one ``where`` holds."""

    def __init__(self) -> None:
        self.conditions = 0

    def mapping(self, where: Any, depth: int) -> Condition:
        if not isinstance(where, Mapping):
            raise InvalidCondition(f"A condition is a mapping, not {type(where).__name__}.")
        if not where:
            raise InvalidCondition(
                "An empty condition would match everybody: leave it out, or name something."
            )
        if depth > DEEPEST:
            raise InvalidCondition(f"Conditions are nested at most {DEEPEST} deep.")
        found = [one for key, value in where.items() for one in self.entry(key, value, depth)]
        return found[0] if len(found) == 1 else ["all", found]

    def entry(self, key: Any, value: Any, depth: int) -> list[Condition]:
        self.conditions += 1
        if self.conditions > MOST_CONDITIONS:
            raise InvalidCondition(f"A condition has at most {MOST_CONDITIONS} parts.")
        if not isinstance(key, str):
            raise InvalidCondition(f"A condition's keys are texts, not {type(key).__name__}.")
        if key in ("any", "all"):
            if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
                raise InvalidCondition(f'"{key}" takes a list of conditions.')
            parts = [self.mapping(part, depth + 1) for part in value]
            if not parts:
                raise InvalidCondition(f'"{key}" takes at least one condition.')
            return [[key, parts]]
        if key == "not":
            return [["not", self.mapping(value, depth + 1)]]
        if key.startswith("@"):
            return [["is", _known_predicate(key[1:]), _argument(key, value)]]
        return self.field(key, value)

    def field(self, name: str, value: Any) -> list[Condition]:
        head, dot, rest = name.partition(".")
        if name not in FIELDS and not (head in _OPEN_FIELDS and dot and rest):
            raise InvalidCondition(
                f"There is no field {name!r}: {', '.join([*FIELDS, 'metadata.…', 'claims.…'])}; or "
                "any, all, not, @predicate."
            )
        tests = value if isinstance(value, Mapping) else {"eq": value}
        if not tests:
            raise InvalidCondition(f"{name!r} says nothing: give a value or {{operator: value}}.")
        self.conditions += len(tests) - 1
        found = []
        for op, operand in tests.items():
            if op not in OPERATORS:
                raise InvalidCondition(f"There is no operator {op!r}: {', '.join(OPERATORS)}.")
            found.append([op, name, _operand(name, op, operand)])
        return found


def _known_predicate(name: str) -> str:
    if name not in _predicates:
        raise InvalidCondition(
            f"There is no predicate {name!r}: {', '.join(sorted(_predicates)) or 'none is registered'}."
        )
    return name


def _argument(key: str, value: Any) -> Any:
    try:
        encoded = msgspec.json.encode(value)
        plain = msgspec.json.decode(encoded)
        msgspec.msgpack.encode(plain)  # a number has 64 bits
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidCondition(f"The argument of {key!r} is nothing that JSON can say.") from error
    if len(encoded) > LARGEST_ARGUMENT:
        raise InvalidCondition(f"The argument of {key!r} is larger than {LARGEST_ARGUMENT:,} bytes.")
    return plain


def _operand(name: str, op: str, value: Any) -> Any:
    if op == "is_null":
        if not isinstance(value, bool):
            raise InvalidCondition('"is_null" takes true or false.')
        return value
    if op in ("in", "between"):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise InvalidCondition(f'"{op}" takes a list of values.')
        values = [_value(name, one) for one in value]
        if len(values) > MOST_VALUES:
            raise InvalidCondition(f'"in" takes at most {MOST_VALUES:,} values.')
        if op == "between" and len(values) != 2:
            raise InvalidCondition('"between" takes the lowest and the highest value.')
        return values
    plain = _value(name, value)
    if op in ("icontains", "startswith", "endswith") and not isinstance(plain, str):
        raise InvalidCondition(f'"{op}" takes a text.')
    return plain


def _value(name: str, value: Any) -> Any:
    """A single value, as JSON can say it."""
    if name == "user.id" and value is not None:
        value = str(value)
    if isinstance(value, datetime):
        value = value.timestamp()
    elif isinstance(value, uuid.UUID | Decimal):
        value = str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_TEXT:
        return str(value)  # a plain one: translations and enums are texts too
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidCondition(
        f"{name!r} is compared with a text of at most {LONGEST_TEXT:,} characters, a finite number, "
        f"true, false or null, not {type(value).__name__}."
    )


# --- in the worker --------------------------------------------------------------------------------


def matcher(condition: Condition) -> Matcher:
    """``check``'s result as a function of a connection. A predicate that this worker does not know, or that
    fails, matches nobody."""
    kind = condition[0]
    if kind == "all":
        parts = [matcher(part) for part in condition[1]]
        return lambda connection: all(part(connection) for part in parts)
    if kind == "any":
        parts = [matcher(part) for part in condition[1]]
        return lambda connection: any(part(connection) for part in parts)
    if kind == "not":
        inner = matcher(condition[1])
        return lambda connection: not inner(connection)
    if kind == "is":
        return _asking(condition[1], condition[2])
    op, name, value = condition
    test, get = OPERATORS[op], FIELDS.get(name) or _own(name)
    return lambda connection: test(get(connection), value)


def _own(name: str) -> Callable[[Any], Any]:
    """The getter of a field of the application's own: ``metadata.plan``, ``claims.org.id``."""
    mapping, *path = name.split(".")

    def get(connection: Any) -> Any:
        value = getattr(connection, mapping, None)
        for key in path:
            if not isinstance(value, dict | MappingProxyType) or key not in value:
                return None
            value = value[key]
        return value

    return get


def _asking(name: str, argument: Any) -> Matcher:
    function = _predicates.get(name)
    if function is None:
        log.event(logger, logging.ERROR, "predicate_unknown", predicate=name)
        return lambda connection: False

    def ask(connection: Any) -> bool:
        try:
            return bool(function(connection, argument))
        except BUGS as error:  # an application's bug must not keep others from a message
            log.failure(logger, "predicate_failed", error, predicate=name, connection=connection)
            return False

    return ask


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison that is false for what can't be compared: nothing, or a text with a number."""

    def test(found: Any, value: Any) -> bool:
        try:
            return compare(found, value)
        except TypeError:
            return False

    return test


def _contains(found: Any, value: Any) -> bool:
    """A text that holds the text, or a list that has the value."""
    if isinstance(found, str):
        return isinstance(value, str) and value in found
    return isinstance(found, list | tuple) and value in found


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "between": _ordered(lambda found, bounds: bounds[0] <= found <= bounds[1]),
    "in": lambda found, values: found in values,
    "contains": _contains,
    "icontains": lambda found, text: isinstance(found, str) and text.lower() in found.lower(),
    "startswith": lambda found, text: isinstance(found, str) and found.startswith(text),
    "endswith": lambda found, text: isinstance(found, str) and found.endswith(text),
    "is_null": lambda found, null: (found is None) is null,
}
