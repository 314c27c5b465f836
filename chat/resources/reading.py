"""Rows for clients: one, many, and those that belong to them. All of it on a database thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import connections, models
from django.db.models import F, Window
from django.db.models.functions import Collate, RowNumber

from .columns import Column, Kind
from .errors import NotFound
from .options import Preload, Query
from .resource import READ
from .rights import Asking, may_read

if TYPE_CHECKING:
    from .resource import ModelResource

PRELOAD_LIMIT = 1000  # related rows of one row


def parse_key(resource: ModelResource, key: Any) -> Any:
    """A client's ``record_id`` as a primary key. Raises NotFound for what can't be one."""
    try:
        return resource.pk.to_python(resource.pk_column.parse(_loose(resource, key)))
    except (ValueError, ValidationError, OverflowError):
        raise NotFound() from None


def _loose(resource: ModelResource, key: Any) -> Any:
    """Texts and numbers stand for each other in keys."""
    return str(key) if type(key) is int and resource.pk_column.kind in (Kind.TEXT, Kind.UUID) else key


def read_one(asking: Asking, key: Any, query: Query) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row and its metadata. Raises NotFound where it is not there, or not this user's."""
    resource = asking.resource
    rows = resource.get_queryset(asking.user).filter(query.filters.q(), pk=parse_key(resource, key))
    found = _shown(asking, rows[:1], query)
    if not found:
        raise NotFound()
    return found[0], {"total": 1}


def read_many(asking: Asking, query: Query) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A page of rows and its metadata: ``total`` that match, ``count`` in the page, ``limit``, ``offset``."""
    rows = asking.resource.get_queryset(asking.user).filter(query.filters.q())
    page = ordered(rows, query)[query.offset : query.offset + query.limit]
    found = _shown(asking, page, query) if query.limit else []
    whole = len(found) < query.limit and (found or not query.offset)
    total = query.offset + len(found) if whole and not asking.resource.checks_objects else rows.count()
    return found, {"total": total, "count": len(found), "limit": query.limit, "offset": query.offset}


def ordered(rows: models.QuerySet[Any], query: Query) -> models.QuerySet[Any]:
    """Rows in the order that was asked for; the primary key breaks ties."""
    return rows.order_by(*[_order(column, down, rows.db) for column, down in query.sort], "pk")


def _order(column: Column, descending: bool, alias: str) -> Any:
    """Nulls are the lowest values, and texts compare by code points, on every database."""
    value: Any = F(column.attname)
    if column.kind is Kind.TEXT and connections[alias].vendor == "postgresql":
        value = Collate(value, "C")
    if not column.null:
        return value.desc() if descending else value.asc()
    return value.desc(nulls_last=True) if descending else value.asc(nulls_first=True)


def _shown(asking: Asking, rows: models.QuerySet[Any], query: Query) -> list[dict[str, Any]]:
    """Rows as the client sees them, with what it wants beside."""
    shape = asking.resource.representation
    needed = [one.relation.attname for one in query.preload if one.relation.attname is not None]
    pk = asking.resource.pk.attname
    if not shape.plain or asking.resource.checks_objects:
        instances = [one for one in rows if not asking.resource.checks_objects or asking.allows(one)]
        found = [shape.of_instance(one, query.columns, asking.context) for one in instances]
        keys = [{name: getattr(one, name) for name in (pk, *needed)} for one in instances]
    else:
        attnames = shape.attnames_of(query.columns)
        if not query.preload:
            return shape.tuple_renderer(query.columns)(_tuples(rows, attnames))
        extra = list(dict.fromkeys((pk, *needed)))
        values = list(_tuples(rows, [*attnames, *extra]))
        found = shape.tuple_renderer(query.columns)([one[: len(attnames)] for one in values])
        keys = [dict(zip(extra, one[len(attnames) :], strict=True)) for one in values]
    for preload in query.preload:
        _attach(asking, preload, found, keys)
    return found


def _tuples(rows: models.QuerySet[Any], attnames: Sequence[str]) -> Any:
    return rows.values_list(*attnames)


# --- related rows ---------------------------------------------------------------------------------


def _attach(
    asking: Asking, preload: Preload, found: list[dict[str, Any]], keys: list[dict[str, Any]]
) -> None:
    """Put the related rows of all these rows under the relation's name: one query."""
    relation, query = preload.relation, preload.query
    own = relation.attname or asking.resource.pk.attname
    wanted = {one[own] for one in keys if one[own] is not None}
    groups = _related(asking, preload, wanted) if wanted else {}
    for row, key in zip(found, keys, strict=True):
        rows = groups.get(key[own], [])
        if relation.many:
            row[relation.name] = rows[: min(query.limit, PRELOAD_LIMIT)]
        else:
            row[relation.name] = rows[0] if rows else None


def _related(asking: Asking, preload: Preload, wanted: set[Any]) -> dict[Any, list[dict[str, Any]]]:
    """The related rows by whose they are; only those that this user may see."""
    relation, query = preload.relation, preload.query
    resource = relation.resource
    mine = Asking(resource, asking.user, READ, auth=asking.request.auth)
    if not may_read(resource, asking.user):
        return {}
    rows = resource.get_queryset(asking.user).filter(query.filters.q(), **{f"{relation.key}__in": wanted})
    order = [*[_order(column, down, rows.db) for column, down in query.sort], F("pk").asc()]
    if relation.many:
        rows = rows.annotate(
            _whose=F(relation.key),
            _place=Window(RowNumber(), partition_by=[F(relation.key)], order_by=order),
        ).filter(_place__gt=query.offset, _place__lte=query.offset + min(query.limit, PRELOAD_LIMIT))
    else:
        rows = rows.annotate(_whose=F(relation.key))
    rows = rows.order_by(*order)
    shape = resource.representation
    groups: dict[Any, list[dict[str, Any]]] = {}
    if shape.plain and not resource.checks_objects:
        attnames = shape.attnames_of(query.columns)
        values = list(rows.values_list("_whose", *attnames))
        shown = shape.tuple_renderer(query.columns)([one[1:] for one in values])
        for value, row in zip(values, shown, strict=True):
            groups.setdefault(value[0], []).append(row)
    else:
        for one in rows:
            if not resource.checks_objects or mine.allows(one):
                row = shape.of_instance(one, query.columns, mine.context)
                groups.setdefault(one._whose, []).append(row)
    return groups
