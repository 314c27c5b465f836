"""What the database says about changed rows, for those who follow them. On a database thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, router

from chat.realtime.errors import BUGS

from .resource import READ
from .rights import Asking, fresh, may_read
from .tracking import AT_ONCE, Row, Tracked

if TYPE_CHECKING:
    from .groups import Group
    from .resource import ModelResource

Visible = dict[Any, tuple[Row, dict[str, Any] | None]]


@dataclass(slots=True)
class Owner:
    """A user, of which rows to say whether they are theirs, and which columns are asked for beside."""

    user: Any
    keys: set[Any] = field(default_factory=set)
    extra: frozenset[str] = frozenset()


@dataclass(slots=True)
class Needs:
    """What changes need to know. ``rows``: keys of rows to be read anew; ``unclear``: those of them whose
    changes were heard in another order than they were made; ``owners``: by resource and the user's key;
    ``readers``: (resource, user) who may have lost the right to read; ``ready``: the groups that remember,
    and for which this is asked."""

    tracked: Tracked
    rows: set[Any] = field(default_factory=set)
    unclear: set[Any] = field(default_factory=set)
    owners: dict[tuple[ModelResource, Any], Owner] = field(default_factory=dict)
    readers: list[tuple[ModelResource, Any]] = field(default_factory=list)
    ready: set[Group] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.rows or self.owners or self.readers)


@dataclass(slots=True)
class Facts:
    """``rows``: as they are now. ``visible``: (resource, the user's key) → primary key → the row as the user
    may see it, and what a serializer makes of it (None where columns are enough). ``may``: whether a user may
    read at all. ``failed``: of whom it could not be said, and why."""

    rows: dict[Any, Row] = field(default_factory=dict)
    visible: dict[tuple[ModelResource, Any], Visible] = field(default_factory=dict)
    may: dict[tuple[ModelResource, Any], bool] = field(default_factory=dict)
    failed: dict[tuple[ModelResource, Any], BaseException] = field(default_factory=dict)


def look(needs: Needs) -> Facts:
    """Raises django.db.Error. What an app's own code raises for one user concerns nobody else."""
    facts = Facts()
    for resource, user in needs.readers:
        key = getattr(user, "pk", None)
        with _noting(facts, (resource, key)):
            facts.may[resource, key] = may_read(resource, fresh(user))
    for (resource, key), owner in needs.owners.items():
        with _noting(facts, (resource, key)):
            allowed = may_read(resource, fresh(owner.user))
            facts.visible[resource, key] = visible(needs.tracked, resource, owner) if allowed else {}
            facts.may[resource, key] = allowed
    if needs.rows:
        facts.rows = needs.tracked.rows(router.db_for_write(needs.tracked.model), needs.rows)
    return facts


@contextmanager
def _noting(facts: Facts, asked: tuple[ModelResource, Any]) -> Iterator[None]:
    """Note what is raised, except where the database does not answer: then it answers nobody."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise
    except BUGS as error:
        facts.failed[asked] = error


def visible(tracked: Tracked, resource: ModelResource, owner: Owner) -> Visible:
    """Which of these rows a user may see now, and how: a version that they may not see is never told."""
    user = fresh(owner.user)
    asking = Asking(resource, user, READ)
    rows = resource.get_queryset(user)
    shape, names = resource.representation, tuple(dict.fromkeys([*tracked.attnames, *owner.extra]))
    wanted = list(owner.keys)
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
