"""A resource's columns: what a client may filter and sort by, and which values fit there.

Values arrive as JSON. ``Column.parse`` turns one into the Python value that the database gives for the same
row, so that a filter means the same in SQL and in memory.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime, parse_duration, parse_time
from django.utils.duration import duration_microseconds

MAX_TEXT = 10_000  # characters of one value
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


class Kind(StrEnum):
    """What sort of value a column holds; decides which operators fit."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    DURATION = "duration"
    UUID = "uuid"
    OPAQUE = "opaque"  # JSON, bytes, ...: only null or not null can be asked


@dataclass(frozen=True, slots=True)
class Column:
    """``name`` is the client's word, ``attname`` the model's: the only one that reaches the ORM."""

    name: str
    attname: str
    kind: Kind
    null: bool

    def parse(self, value: Any) -> Any:
        """A JSON value as this column's. Raises ValueError, whose text names what is expected."""
        return _PARSERS[self.kind](value)


def column_of(name: str, field: models.Field[Any, Any]) -> Column:
    """The column behind a model's field; a foreign key is the key of the row that it points to."""
    return Column(name, field.attname, kind_of(field), field.null)


def kind_of(field: models.Field[Any, Any]) -> Kind:
    target = field
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    for types, kind in _KINDS:
        if isinstance(target, types):
            return kind
    return Kind.OPAQUE


_KINDS: list[tuple[tuple[type, ...], Kind]] = [
    ((models.BooleanField,), Kind.BOOLEAN),
    ((models.IntegerField, models.AutoField), Kind.INTEGER),
    ((models.FloatField,), Kind.FLOAT),
    ((models.DecimalField,), Kind.DECIMAL),
    ((models.DateTimeField,), Kind.DATETIME),
    ((models.DateField,), Kind.DATE),
    ((models.TimeField,), Kind.TIME),
    ((models.DurationField,), Kind.DURATION),
    ((models.UUIDField,), Kind.UUID),
    # FileField and FilePathField hold a path, GenericIPAddressField is a type of its own in PostgreSQL.
    ((models.CharField, models.TextField, models.FileField), Kind.TEXT),
]


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT:,} characters")
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _integer(value: Any) -> int:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is str and _INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63:
        return int(value)
    raise ValueError("must be a whole number of 64 bits")


def _float(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    raise ValueError("must be a number")


def _decimal(value: Any) -> decimal.Decimal:
    if type(value) in (int, float) or (type(value) is str and len(value) <= 100):
        try:
            number = decimal.Decimal(str(value))
        except decimal.InvalidOperation:
            raise ValueError("must be a number") from None
        if number.is_finite() and abs(number.adjusted()) < 100:
            return number
    raise ValueError("must be a number")


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("must be true or false")


def _moment(parse: Callable[[str], Any], words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = None
        if type(value) is str and len(value) <= 64:
            try:
                found = parse(value)
            except (ValueError, OverflowError):
                found = None
        if found is None:
            raise ValueError(words)
        return found

    return read


def _aware(text: str) -> datetime.datetime | None:
    """A time without a zone is UTC. A date alone is its midnight."""
    moment = parse_datetime(text)
    if moment is None:
        day = parse_date(text)
        moment = None if day is None else datetime.datetime.combine(day, datetime.time())
    if moment is not None and timezone.is_naive(moment):
        moment = moment.replace(tzinfo=datetime.UTC)
    return None if moment is None else moment.astimezone(datetime.UTC)


def _duration(text: str) -> datetime.timedelta | None:
    """What 64 bits of microseconds hold, as SQLite keeps it: 292,000 years."""
    span = parse_duration(text)
    return span if span is not None and abs(duration_microseconds(span)) < 2**63 else None


def _uuid(value: Any) -> uuid.UUID:
    if type(value) is str and len(value) <= 45:
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise ValueError("must be a UUID")


def _opaque(value: Any) -> Any:
    raise ValueError("can only be asked for null")


_PARSERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _moment(parse_date, "must be a date like 2025-12-31"),
    Kind.DATETIME: _moment(_aware, "must be a time like 2025-12-31T23:59:59Z"),
    Kind.TIME: _moment(parse_time, "must be a time of day like 23:59:59"),
    Kind.DURATION: _moment(_duration, "must be a duration like P3DT12H or 12:30:00"),
    Kind.UUID: _uuid,
    Kind.OPAQUE: _opaque,
}
