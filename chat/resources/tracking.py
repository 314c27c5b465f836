"""Which models' changes can be followed, and how a row crosses from process to process.

A row is the columns that any resource of its model shows or filters by, as ``{attname: value}`` with the
values that the database gives.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
from django.db import models

from chat.realtime.groups import topic_group

from . import registry
from .columns import Kind, kind_of
from .statements import select_one, shows_all

Row = dict[str, Any]

AT_ONCE = 500  # keys in one query: SQLite takes 32,766 values, and a short statement is planned faster

# What msgpack brings as text becomes what the database gave.
_TYPES: dict[Kind, Any] = {
    Kind.DATE: datetime.date,
    Kind.DATETIME: datetime.datetime,
    Kind.TIME: datetime.time,
    Kind.DURATION: datetime.timedelta,
    Kind.DECIMAL: decimal.Decimal,
    Kind.UUID: uuid.UUID,
}

_encoder = msgspec.msgpack.Encoder(enc_hook=str)


class Tracked:
    """One concrete model whose rows can be followed."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        self.label = model._meta.label_lower
        self.group = topic_group("model:" + self.label)
        pk: models.Field[Any, Any] = model._meta.pk
        names = dict.fromkeys([pk.attname])
        resources = registry.resources_of(model)
        for resource in resources:
            names.update(dict.fromkeys(resource.attnames))
        self.attnames = tuple(names)
        by_attname = {field.attname: field for field in model._meta.concrete_fields}
        self._special = [
            (name, _TYPES[kind]) for name in self.attnames if (kind := kind_of(by_attname[name])) in _TYPES
        ]
        tested = [column for resource in resources for column in resource.filter_columns.values()]
        self.tested = tuple(dict.fromkeys(column.attname for column in tested))  # what filters look at
        self._all = shows_all(model._base_manager)
        self._pk_type = _TYPES.get(kind_of(pk))

    def rows(self, alias: str, keys: Iterable[Any], lock: bool = False) -> dict[Any, Row]:
        """Rows by primary key, as they are now; those that are not there are left out."""
        found: dict[Any, Row] = {}
        wanted = list(dict.fromkeys(keys))
        if len(wanted) == 1 and not lock and self._all:
            values = select_one(self.model, alias, self.attnames, wanted[0])
            return {} if values is None else {values[0]: dict(zip(self.attnames, values, strict=True))}
        table = self.model._base_manager.using(alias)
        if lock:
            table = table.select_for_update()
        for start in range(0, len(wanted), AT_ONCE):
            chosen = table.filter(pk__in=wanted[start : start + AT_ONCE])
            for values in chosen.values_list(*self.attnames):
                found[values[0]] = dict(zip(self.attnames, values, strict=True))
        return found

    def pack(self, value: Any) -> bytes:
        """A row, None or a key as bytes."""
        return _encoder.encode(value)

    def slim(self, row: Row | None) -> Row | None:
        """What of a row must be kept to say which filters it fits."""
        return None if row is None else {name: row[name] for name in self.tested}

    def unpack_row(self, data: bytes) -> Row | None:
        row: Row | None = msgspec.msgpack.decode(data)
        if row is not None:
            for name, kind in self._special:
                value = row.get(name)
                if value is not None and type(value) is not kind:
                    row[name] = msgspec.convert(value, kind, strict=False)
        return row

    def unpack_key(self, data: bytes) -> Any:
        key = msgspec.msgpack.decode(data)
        return key if self._pk_type is None else msgspec.convert(key, self._pk_type, strict=False)


def digest(data: bytes) -> bytes:
    """Of a packed row: the same where the rows are."""
    return blake2b(data, digest_size=8).digest()


def concrete_of(model: type[models.Model]) -> type[models.Model]:
    """The model with the table, of a proxy."""
    return model._meta.concrete_model or model


@lru_cache(maxsize=4096)
def _tracked(model: type[models.Model]) -> Tracked:
    return Tracked(model)


def tracked(model: type[models.Model]) -> Tracked:
    """What is known of a model, or of the model behind a proxy."""
    return _tracked(concrete_of(model))


def forget() -> None:
    """The registered resources have changed."""
    _tracked.cache_clear()
