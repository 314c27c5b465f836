"""What the database says about changed rows, for those who follow them. On a database thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import router

from .resource import READ
from .rights import Asking, fresh, may_read
from .tracking import AT_ONCE, Row, Tracked

if TYPE_CHECKING:
    from .resource import ModelResource

Visible = dict[Any, tuple[Row, dict[str, Any] | None]]


@dataclass(slots=True)
class Needs:
    """What changes need to know. ``rows``: keys of rows to be read anew; ``unclear``: those of them whose
    changes were heard in another order than they were made; ``owners``: (resource, the user's key) → the
    user, and of which rows to say whether they are theirs; ``readers``: (resource, user) who may have lost
    the right to read."""

    tracked: Tracked
    rows: set[Any] = field(default_factory=set)
    unclear: set[Any] = field(default_factory=set)
    owners: dict[tuple[ModelResource, Any], tuple[Any, set[Any]]] = field(default_factory=dict)
    readers: list[tuple[ModelResource, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.owners or self.readers)


@dataclass(slots=True)
class Facts:
    """``rows``: as they are now. ``visible``: (resource, the user's key) → primary key → the row as the user
    may see it, and what a serializer makes of it (None where columns are enough). ``may``: whether a user may
    read at all. ``unclear``: as in Needs."""

    rows: dict[Any, Row] = field(default_factory=dict)
    visible: dict[tuple[ModelResource, Any], Visible] = field(default_factory=dict)
    may: dict[tuple[ModelResource, Any], bool] = field(default_factory=dict)
    unclear: set[Any] = field(default_factory=set)


def look(needs: Needs) -> Facts:
    """Raises django.db.Error."""
    facts = Facts(unclear=needs.unclear)
    for resource, user in needs.readers:
        key = getattr(user, "pk", None)
        if (resource, key) not in facts.may:
            facts.may[resource, key] = may_read(resource, fresh(user))
    for (resource, key), (user, keys) in needs.owners.items():
        allowed = facts.may[resource, key] = may_read(resource, fresh(user))
        facts.visible[resource, key] = visible(needs.tracked, resource, user, keys) if allowed else {}
    if needs.rows:
        facts.rows = needs.tracked.rows(router.db_for_write(needs.tracked.model), needs.rows)
    return facts


def visible(tracked: Tracked, resource: ModelResource, user: Any, keys: Iterable[Any]) -> Visible:
    """Which of these rows a user may see now, and how: a version that they may not see is never told."""
    user = fresh(user)
    asking = Asking(resource, user, READ)
    rows = resource.get_queryset(user)
    shape, names = resource.representation, tracked.attnames
    wanted = list(keys)
    found: Visible = {}
    for start in range(0, len(wanted), AT_ONCE):
        chosen = rows.filter(pk__in=wanted[start : start + AT_ONCE])
        if shape.plain and not resource.checks_objects:
            for values in chosen.values_list(*names):
                found[values[0]] = dict(zip(names, values, strict=True)), None
            continue
        for one in chosen:
            if not resource.checks_objects or asking.allows(one):
                shown = None if shape.plain else shape.of_instance(one, shape.names, asking.context)
                found[one.pk] = {name: getattr(one, name) for name in names}, shown
    return found
