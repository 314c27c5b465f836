"""Rows for clients: one, many, and those that belong to them. All of it on a database thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import connections, models, router
from django.db.models import F, Window
from django.db.models.functions import Collate, RowNumber

from .columns import Column, Kind
from .errors import InvalidQuery, NotFound
from .options import Preload, Query
from .resource import READ, ModelResource
from .rights import Asking, may_read
from .statements import select_one

if TYPE_CHECKING:
    from .relations import Relation

PRELOAD_LIMIT = 1000  # related rows of one row
MOST_RELATED = 20_000  # related rows of all rows of a page
MOST_CHECKED = 10_000  # rows that permissions are asked about one by one, for one request


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
    pk = parse_key(resource, key)
    if resource.is_fixed and not query.filters.groups and not query.preload:
        attnames = tuple(resource.representation.attnames_of(query.columns))
        row = select_one(resource.model, router.db_for_read(resource.model), attnames, pk)
        if row is None:
            raise NotFound()
        return resource.representation.tuple_renderer(query.columns)([row])[0], {"total": 1}
    rows = resource.get_queryset(asking.user).filter(query.filters.q(), pk=pk)[:1]
    found = _shown(asking, _allowed(asking, rows) if resource.checks_objects else rows, query)
    if not found:
        raise NotFound()
    return found[0], {"total": 1}


def read_many(asking: Asking, query: Query) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A page of rows and its metadata: ``total`` that match, ``count`` in the page, ``limit``, ``offset``.

    Raises InvalidQuery where too many rows would have to be looked at.
    """
    rows: Any = ordered(asking.resource.get_queryset(asking.user).filter(query.filters.q()), query)
    if asking.resource.checks_objects:
        rows = _allowed(asking, rows)  # all of them: neither a page nor a total may tell of the others
    page = rows[query.offset : query.offset + query.limit]
    found = _shown(asking, page, query) if query.limit else []
    if len(found) < query.limit and (found or not query.offset):
        total = query.offset + len(found)
    else:
        total = len(rows) if isinstance(rows, list) else rows.count()
    return found, {"total": total, "count": len(found), "limit": query.limit, "offset": query.offset}


def _allowed(asking: Asking, rows: models.QuerySet[Any]) -> list[models.Model]:
    """Those that permissions, asked about each, let this user see. Raises InvalidQuery."""
    found = list(rows[: MOST_CHECKED + 1])
    if len(found) > MOST_CHECKED:
        raise InvalidQuery(
            "Too many records would have to be looked at one by one. Narrow it with filters.",
            details={"filters": f"leave more than {MOST_CHECKED:,} records"},
        )
    return [one for one in found if asking.allows(one)]


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


def _shown(asking: Asking, rows: Any, query: Query) -> list[dict[str, Any]]:
    """Rows as the client sees them, with what it wants beside. ``rows``: a queryset, or the rows."""
    shape = asking.resource.representation
    needed = list(dict.fromkeys(one.relation.attname for one in query.preload))
    if not shape.plain or asking.resource.checks_objects:
        instances = list(rows)
        found = [shape.of_instance(one, query.columns, asking.context) for one in instances]
        keys = [{name: getattr(one, name) for name in needed} for one in instances]
    else:
        attnames = shape.attnames_of(query.columns)
        if not query.preload:
            return shape.tuple_renderer(query.columns)(rows.values_list(*attnames))
        values = list(rows.values_list(*attnames, *needed))
        found = shape.tuple_renderer(query.columns)([one[: len(attnames)] for one in values])
        keys = [dict(zip(needed, one[len(attnames) :], strict=True)) for one in values]
    for preload in query.preload:
        _attach(asking, preload, found, keys)
    return found


# --- related rows ---------------------------------------------------------------------------------


def _attach(
    asking: Asking, preload: Preload, found: list[dict[str, Any]], keys: list[dict[str, Any]]
) -> None:
    """Put the related rows of all these rows under the relation's name: one query, or two."""
    relation, query = preload.relation, preload.query
    wanted = {one[relation.attname] for one in keys} - {None}
    may = bool(wanted) and may_read(relation.resource, asking.user)
    groups = _related(asking, preload, wanted) if may else {}
    begin, end = query.offset, query.offset + _limit(query)
    for row, key in zip(found, keys, strict=True):
        rows = groups.get(key[relation.attname], [])
        if not relation.many:
            row[relation.name] = rows[0] if rows else None
        else:
            row[relation.name] = rows[begin:end] if relation.resource.checks_objects else rows


def _limit(query: Query) -> int:
    return min(query.limit, PRELOAD_LIMIT)


def _related(asking: Asking, preload: Preload, wanted: set[Any]) -> dict[Any, list[dict[str, Any]]]:
    """The related rows by whose they are; only those that this user may see. Raises InvalidQuery."""
    relation, query = preload.relation, preload.query
    resource, shape = relation.resource, relation.resource.representation
    mine = Asking(resource, asking.user, READ, auth=asking.request.auth)
    visible = resource.get_queryset(asking.user).filter(query.filters.q())
    rows = visible
    if type(resource).get_queryset is not ModelResource.get_queryset:
        # What it joins, or makes distinct, must not meet the join that says whose a row is.
        rows = resource.model._base_manager.using(visible.db).filter(pk__in=visible.values("pk"))
    rows = rows.filter(**{f"{relation.key}__in": wanted})
    whose = relation.key
    if relation.joined:
        whose = "_whose"
        rows = rows.annotate(_whose=F(relation.key))
    order = [*[_order(column, down, rows.db) for column, down in query.sort], F("pk").asc()]
    if relation.many and not resource.checks_objects:
        rows = rows.annotate(
            _place=Window(RowNumber(), partition_by=[F(relation.key)], order_by=order),
        ).filter(_place__gt=query.offset, _place__lte=query.offset + _limit(query))
    rows = rows.order_by(*order)[: MOST_RELATED + 1]
    groups: dict[Any, list[dict[str, Any]]] = {}
    if shape.plain and not resource.checks_objects:
        attnames = shape.attnames_of(query.columns)
        # Each once: where a window is filtered by, Django gives a column that is asked for twice once.
        columns = list(dict.fromkeys([*attnames, whose]))
        places, at = [columns.index(name) for name in attnames], columns.index(whose)
        values = list(rows.values_list(*columns))
        _check_count(relation, values)
        shown = shape.tuple_renderer(query.columns)([[one[place] for place in places] for one in values])
        for value, row in zip(values, shown, strict=True):
            groups.setdefault(value[at], []).append(row)
        return groups
    pairs = list(rows.values_list(whose, "pk"))
    _check_count(relation, pairs)
    known = {
        one.pk: shape.of_instance(one, query.columns, mine.context)
        for one in visible.filter(pk__in={key for _, key in pairs})
        if not resource.checks_objects or mine.allows(one)
    }
    for whose, key in pairs:
        if key in known:
            groups.setdefault(whose, []).append(known[key])
    return groups


def _check_count(relation: Relation, rows: list[Any]) -> None:
    if len(rows) > MOST_RELATED:
        raise InvalidQuery(
            "Too many related records: lower the limits.",
            details={"relation": relation.name, "limit": f"gives more than {MOST_RELATED:,} records"},
        )
