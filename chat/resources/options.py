"""``options``: what a client wants of a read or a subscription, checked once.

    {"filters": [...], "columns": ["id", "name"], "sort": [{"column": "name", "direction": "desc"}],
     "preload": [{"relation": "posts", "limit": 5}], "limit": 10, "offset": 20, "snapshot": true}

Keys that are not of these are not looked at. Every name is looked up in the resource's own tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .columns import Column
from .errors import InvalidQuery
from .filters import Filters, read_filters

if TYPE_CHECKING:
    from .relations import Relation
    from .resource import ModelResource

MAX_SORT = 10  # keys
MAX_PRELOAD = 10  # relations
MAX_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Query:
    """``columns``: the names to show, in the resource's order. ``sort``: (column, descending)."""

    filters: Filters
    columns: tuple[str, ...]
    sort: tuple[tuple[Column, bool], ...] = ()
    limit: int = 0
    offset: int = 0
    preload: tuple[Preload, ...] = ()
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Preload:
    """Rows of another resource that belong to each row."""

    relation: Relation
    query: Query


def read_options(
    resource: ModelResource, raw: dict[str, Any] | None, trusted: Sequence[Any] = (), nested: bool = False
) -> Query:
    """Check a client's options. ``trusted``: filters among them that hooks added, which may name any column.

    Raises InvalidQuery.
    """
    options = raw or {}
    names = _read_columns(options.get("columns"), resource.representation.names)
    return Query(
        filters=_read_filters(resource, options.get("filters"), trusted),
        columns=names,
        sort=_read_sort(options.get("sort"), resource.sort_columns),
        limit=_read_limit(options.get("limit"), resource.default_limit, resource.max_limit),
        offset=_read_whole("offset", options.get("offset"), 0, MAX_OFFSET),
        preload=() if nested else _read_preload(resource, options.get("preload")),
        snapshot=_read_flag("snapshot", options.get("snapshot")),
    )


def _read_filters(resource: ModelResource, raw: Any, trusted: Sequence[Any]) -> Filters:
    if not trusted or not isinstance(raw, list):
        return read_filters(raw, resource.filter_columns)
    # A hook's filter must hold, whatever the client asks for: it is a group of its own.
    own = [entry for entry in raw if not any(entry is one for one in trusted)]
    client = read_filters(own, resource.filter_columns)
    hooks = read_filters(list(trusted), resource.all_columns)
    return Filters((*client.groups, *hooks.groups))


def _read_columns(raw: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    if raw is None or raw == []:
        return known
    if not isinstance(raw, list):
        raise InvalidQuery("options.columns must be a list.", details={"columns": "must be a list"})
    if len(raw) > 2 * len(known) + 100:
        raise InvalidQuery("There are too many columns.", details={"columns": "too many"})
    asked: set[str] = set()
    for name in raw:
        if not isinstance(name, str) or name not in known:
            raise InvalidQuery("There is no such column to read.", details={"column": _shown(name)})
        asked.add(name)
    return tuple([name for name in known if name in asked])


def _read_sort(raw: Any, columns: Mapping[str, Column]) -> tuple[tuple[Column, bool], ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise InvalidQuery("options.sort must be a list.", details={"sort": "must be a list"})
    if len(raw) > MAX_SORT:
        raise InvalidQuery(f"There may be at most {MAX_SORT} sort keys.", details={"sort": "too many"})
    found = []
    for entry in raw:
        if not isinstance(entry, dict):
            raise InvalidQuery("A sort key must be an object.", details={"sort": "must be an object"})
        name, direction = entry.get("column"), entry.get("direction")
        column = columns.get(name) if isinstance(name, str) else None
        if column is None:
            raise InvalidQuery("There is no such column to sort by.", details={"column": _shown(name)})
        word = "asc" if direction is None or direction == "" else direction
        if not isinstance(word, str) or word.lower() not in ("asc", "desc"):
            raise InvalidQuery(
                'A direction is "asc" or "desc".',
                details={"column": name, "direction": _shown(direction)},
            )
        found.append((column, word.lower() == "desc"))
    return tuple(found)


def _read_limit(raw: Any, default: int, largest: int) -> int:
    """More than the largest is cut to it: ``metadata.limit`` says what held."""
    return min(_read_whole("limit", raw, default, MAX_OFFSET), largest)


def _read_whole(name: str, raw: Any, default: int, largest: int) -> int:
    if raw is None:
        return default
    if type(raw) is not int or not 0 <= raw <= largest:
        raise InvalidQuery(
            f"options.{name} must be a whole number from 0 on.",
            details={name: "must be a whole number from 0 on"},
        )
    return raw


def _read_flag(name: str, raw: Any) -> bool:
    if raw is None or type(raw) is bool:
        return bool(raw)
    raise InvalidQuery(f"options.{name} must be true or false.", details={name: "must be true or false"})


def _read_preload(resource: ModelResource, raw: Any) -> tuple[Preload, ...]:
    from .relations import relation_of

    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise InvalidQuery("options.preload must be a list.", details={"preload": "must be a list"})
    if len(raw) > MAX_PRELOAD:
        raise InvalidQuery(f"There may be at most {MAX_PRELOAD} preloads.", details={"preload": "too many"})
    found: dict[str, Preload] = {}
    for entry in raw:
        one = {"relation": entry} if isinstance(entry, str) else entry
        if not isinstance(one, dict):
            raise InvalidQuery("A preload must be an object.", details={"preload": "must be an object"})
        name = one.get("relation")
        relation = relation_of(resource, name) if isinstance(name, str) else None
        if relation is None or not isinstance(name, str):
            raise InvalidQuery("There is no such relation to preload.", details={"relation": _shown(name)})
        if name in found:
            raise InvalidQuery("A relation can be preloaded once.", details={"relation": name})
        found[name] = Preload(relation, read_options(relation.resource, one, nested=True))
    return tuple(found.values())


def _shown(word: Any) -> Any:
    """What a client wrote, as the details name it: its own word, cut."""
    return word[:100] if isinstance(word, str) else None
