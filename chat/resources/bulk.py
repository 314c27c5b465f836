"""Writes that send no signal, told all the same.

    class Order(models.Model):
        objects = LiveManager()

``LiveManager`` (or ``LiveQuerySet`` in a queryset of your own) tells what ``update``, ``bulk_create`` and
``bulk_update`` change; ``delete`` sends signals by itself. For raw SQL there is ``notify``:

    with following(Order.objects.filter(shop=7)):
        cursor.execute("UPDATE orders SET ...")
    notify(Order, [17, 18])                        # after the fact; of rows that were deleted too
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import models, router, transaction
from django.db.models import Q

from . import interest
from .changes import record_late, record_many, record_untold
from .tracking import concrete_of, tracked


def _is_watched(model: type[models.Model]) -> bool:
    return interest.watched(concrete_of(model)._meta.label_lower)


def _keys(rows: models.QuerySet[Any]) -> list[Any]:
    return list(rows.order_by().values_list("pk", flat=True))


class LiveQuerySet(models.QuerySet[Any]):
    """A queryset whose bulk writes are told to subscribers. Costs two reads where somebody follows the
    model, and nothing where nobody does."""

    def update(self, **values: Any) -> int:
        self._for_write = True
        if not _is_watched(self.model):
            changed = super().update(**values)
            if changed and transaction.get_connection(self.db).in_atomic_block:
                _begin_anew(self.model, self.db)
            return changed
        with following(self):
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        self._for_write = True
        rows = list(objs)
        target = tracked(self.model)
        with transaction.atomic(using=self.db, savepoint=False):  # as Django's own
            watched = _is_watched(self.model)
            before = target.rows(self.db, self._known(rows, options)) if watched else {}
            made = super().bulk_create(rows, *args, **options)
            keys = [one.pk for one in made if one.pk is not None]
            if watched:
                record_many(target, self.db, [*keys, *before], before)
            else:
                _later(self.model, self.db, keys)
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _known(self, rows: list[Any], options: dict[str, Any]) -> list[Any]:
        """The keys of rows that may be there already, and be overwritten."""
        keys = [one.pk for one in rows if one.pk is not None]
        unique = options.get("unique_fields")
        if not options.get("update_conflicts") or not unique:
            return keys
        names = [self.model._meta.get_field(name).attname for name in unique if name != "pk"]
        for start in range(0, len(rows), 100):
            same = Q()
            for one in rows[start : start + 100]:
                same |= Q(**{name: getattr(one, name) for name in names})
            if same and names:
                keys += _keys(self.model._base_manager.using(self.db).filter(same))
        return keys


class LiveManager(models.Manager.from_queryset(LiveQuerySet)):  # type: ignore[misc]
    """A manager whose bulk writes are told to subscribers."""


@contextmanager
def following(rows: models.QuerySet[Any]) -> Iterator[None]:
    """Tell what the block changes in these rows, by whatever means; one transaction."""
    rows = rows.all()
    rows._for_write = True  # type: ignore[attr-defined]  # as update() does
    alias = rows.db
    target = tracked(rows.model)
    with transaction.atomic(using=alias):
        keys = _keys(rows.using(alias))
        before = target.rows(alias, keys, lock=True)
        yield
        record_many(target, alias, keys, before)


def notify(model: type[models.Model], keys: Sequence[Any], using: str | None = None) -> None:
    """Tell that rows with these primary keys were created, changed or deleted, after the commit.

    What they were before is not known: a subscriber may be told of a change of a row that it does not have.
    """
    alias = using or router.db_for_write(model)
    if _is_watched(model):
        record_late(tracked(model), alias, keys)
    else:
        _later(model, alias, keys)


def _later(model: type[models.Model], alias: str, keys: Sequence[Any]) -> None:
    """Look again at the commit whether somebody follows the model."""

    def look() -> None:
        if _is_watched(model):
            record_late(tracked(model), alias, keys)

    transaction.on_commit(look, using=alias, robust=True)


def _begin_anew(model: type[models.Model], alias: str) -> None:
    """The same where nobody has noted which rows changed: who came meanwhile begins anew."""

    def look() -> None:
        if _is_watched(model):
            record_untold(tracked(model), alias)

    transaction.on_commit(look, using=alias, robust=True)
