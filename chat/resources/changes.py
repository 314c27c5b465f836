"""Changes of rows, wherever the ORM makes them: noticed by signals, told to the workers after the commit.

The row is read before and after the change, inside its transaction, where somebody follows the model; else
nothing is read. Savepoints and rollbacks are Django's: what is rolled back is never told. ``bulk.py`` adds
the writes that send no signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.apps import apps
from django.db import connections, models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from . import interest, telling
from .resource import ModelResource
from .tracking import Row, Tracked, concrete_of, digest, forget, tracked

UNKNOWN = b""  # a row of which nobody knows what it was

# Which request of which connection a change comes from: ``"<connection id>.<number>"``.
origin: ContextVar[str | None] = ContextVar("origin", default=None)

# Where an instance keeps what its row was, between the signals around a change; and what it was just read as,
# under a lock that is still held.
_BEFORE, _LOCKED = "_resources_before", "_resources_locked"

Model = type[models.Model]

# By the sender of a signal: whose rows it changes, each with its label (to make one takes 0.3 µs).
_models: dict[Model, tuple[tuple[str, Model], ...]] = {}
_emptied: dict[Model, tuple[models.ForeignKey[Any, Any], ...]] = {}  # keys that the deletion of a row empties
_joined: dict[Model, tuple[Any, ...]] = {}  # by the table in between: many-to-many fields


def record(target: Tracked, using: str, key: Any, before: Row | bytes | None, after: Row | None) -> None:
    """Tell the workers, after the commit, that a row has changed. None: it was, or is, not there."""
    transaction.on_commit(
        partial(_tell, target, _change(target, key, before, after)), using=using, robust=True
    )


def record_many(target: Tracked, using: str, keys: Iterable[Any], before: dict[Any, Row]) -> None:
    """The same for rows that were as in ``before``, and are read now."""
    after = target.rows(using, keys)
    for key in dict.fromkeys(keys):
        was, now = before.get(key), after.get(key)
        if was is not None or now is not None:
            record(target, using, key, was, now)


def record_late(target: Tracked, using: str, keys: Iterable[Any]) -> None:
    """Rows that changed, of which nobody knows what they were; they are read after the commit."""
    transaction.on_commit(partial(_tell_unknown, target, using, list(keys)), using=using, robust=True)


def _tell_unknown(target: Tracked, using: str, keys: list[Any]) -> None:
    after = target.rows(using, keys)
    for key in keys:
        _tell(target, _change(target, key, UNKNOWN, after.get(key)))


def record_untold(target: Tracked, using: str) -> None:
    """After the commit: some rows have changed. Who follows the model has to begin anew."""
    transaction.on_commit(partial(_tell, target, {"model": target.label}), using=using, robust=True)


def _change(target: Tracked, key: Any, before: Row | bytes | None, after: Row | None) -> dict[str, Any]:
    """What crosses to the workers: of the row as it was what filters look at, and its digest."""
    change = {
        "model": target.label,
        "key": target.pack(key),
        "before": UNKNOWN,
        "was": b"",
        "after": target.pack(after),
        "origin": origin.get(),
    }
    if not isinstance(before, bytes):
        change["before"] = target.pack(target.slim(before))
        change["was"] = digest(target.pack(before))
    return change


def _tell(target: Tracked, args: dict[str, Any]) -> None:
    telling.tell(target.label, target.group, args)


# --- signals --------------------------------------------------------------------------------------


def follow(resource: ModelResource) -> None:
    """Notice changes of a resource's model, of its proxies and its children, from now on."""
    forget()
    concrete = concrete_of(resource.model)
    for sender in apps.get_models(include_auto_created=True):
        if issubclass(sender, concrete):
            _add(_models, sender, (concrete._meta.label_lower, concrete))
            for signal, handler in _SIGNALS:
                signal.connect(
                    handler, sender=sender, weak=False, dispatch_uid=f"{__name__}.{handler.__name__}"
                )
    for field in concrete._meta.local_many_to_many:
        through: Any = field.remote_field.through
        _add(_joined, through, field)
        m2m_changed.connect(_m2m_changed, sender=through, weak=False, dispatch_uid=f"{__name__}.m2m")
    for key in concrete._meta.concrete_fields:
        if isinstance(key, models.ForeignKey) and _is_emptied(key):
            for target in apps.get_models(include_auto_created=True):
                if issubclass(target, key.related_model):
                    _add(_emptied, target, key)
                    pre_delete.connect(
                        _pre_empty, sender=target, weak=False, dispatch_uid=f"{__name__}.empty"
                    )
                    post_delete.connect(
                        _post_empty, sender=target, weak=False, dispatch_uid=f"{__name__}.empty"
                    )


def _add(table: dict[Model, tuple[Any, ...]], key: Model, value: Any) -> None:
    known = table.get(key, ())
    if value not in known:
        table[key] = (*known, value)


def _is_emptied(field: models.ForeignKey[Any, Any]) -> bool:
    """Whether the deletion of the row that it points to changes it without a signal, as SET_NULL does."""
    kept = (models.CASCADE, models.PROTECT, models.RESTRICT, models.DO_NOTHING)
    return field.remote_field.on_delete not in kept


def _read_before(instance: models.Model, sender: Model, using: str, lock: bool) -> None:
    """Note on the instance what its row is: ``{label: row or None}``."""
    found: dict[str, Row | None] | None = None
    for label, model in _models.get(sender, ()):
        if not interest.watched(label) or instance.pk is None:
            continue
        if found is None:
            found = instance.__dict__.pop(_LOCKED, {})
        if label in found:
            continue
        target = tracked(model)
        # Locked, no other transaction can change it between this look and our own change.
        rows = target.rows(using, [instance.pk], lock and connections[using].in_atomic_block)
        found[label] = rows.get(instance.pk)
    if found:
        instance.__dict__[_BEFORE] = found


def note_before(instance: models.Model, using: str) -> None:
    """An instance was just read under a lock, and is about to be changed: that is what its row is."""
    if instance.get_deferred_fields():
        return
    found = {}
    for label, model in _models.get(type(instance), ()):
        if interest.watched(label):
            target = tracked(model)
            found[label] = {name: getattr(instance, name) for name in target.attnames}
    if found:
        instance.__dict__[_LOCKED] = found


def _pre_save(sender: Model, instance: models.Model, using: str, **_: Any) -> None:
    _read_before(instance, sender, using, lock=True)


def _post_save(sender: Model, instance: models.Model, using: str, created: bool, **_: Any) -> None:
    before = None
    for label, model in _models.get(sender, ()):
        if interest.watched(label):
            if before is None:
                before = instance.__dict__.pop(_BEFORE, {})
            target = tracked(model)
            was = None if created else before.get(label, UNKNOWN)
            record(target, using, instance.pk, was, target.rows(using, [instance.pk]).get(instance.pk))
        else:
            _look_at_commit(label, model, using, instance.pk)


class _Late:
    """Rows that nobody followed when they were changed: somebody may come before it is committed, and would
    see neither the rows nor their change. One for all that are changed in a row in the same savepoint."""

    __slots__ = ("rows", "using")

    def __init__(self, using: str) -> None:
        self.using = using
        self.rows: dict[tuple[str, Model], dict[Any, None]] = {}

    def __call__(self) -> None:
        for (label, model), keys in self.rows.items():
            if interest.watched(label):
                _tell_unknown(tracked(model), self.using, list(keys))


def _look_at_commit(label: str, model: Model, using: str, key: Any) -> None:
    """Inside a transaction: see at its end whether somebody has come to follow the model."""
    connection = connections[using]
    if not connection.in_atomic_block:
        return
    waiting = connection.run_on_commit
    late = waiting[-1][1] if waiting else None
    if type(late) is not _Late or waiting[-1][0] != set(connection.savepoint_ids):
        late = _Late(using)
        transaction.on_commit(late, using=using, robust=True)
    late.rows.setdefault((label, model), {})[key] = None


def _pre_delete(sender: Model, instance: models.Model, using: str, **_: Any) -> None:
    _read_before(instance, sender, using, lock=False)


def _post_delete(sender: Model, instance: models.Model, using: str, **_: Any) -> None:
    before = instance.__dict__.pop(_BEFORE, {})
    for label, model in _models.get(sender, ()):
        if label in before:
            if before[label] is not None:
                record(tracked(model), using, instance.pk, before[label], None)
        elif interest.watched(label):
            record(tracked(model), using, instance.pk, UNKNOWN, None)
        else:
            _look_at_commit(label, model, using, instance.pk)


def _m2m_changed(
    sender: Model, instance: models.Model, action: str, reverse: bool, pk_set: set[Any] | None, **more: Any
) -> None:
    """Rows that were joined with others have changed, although no column of theirs has."""
    for field in _joined.get(sender, ()):
        if not interest.watched(concrete_of(field.model)._meta.label_lower):
            continue
        target, using = tracked(field.model), more["using"]
        if not reverse:
            keys = {instance.pk} if action.startswith("post_") else set()
        elif action == "pre_clear":  # afterwards nobody knows whose they were
            joined = sender._base_manager.using(using).filter(**{field.m2m_reverse_field_name(): instance.pk})
            keys = set(joined.values_list(field.m2m_field_name(), flat=True))
        else:
            keys = set(pk_set or ()) if action in ("post_add", "post_remove") else set()
        for key, row in target.rows(using, keys).items():
            record(target, using, key, row, row)


def _pre_empty(sender: Model, instance: models.Model, using: str, **_: Any) -> None:
    """Rows that point to one that is about to be deleted, and will point to nothing."""
    found = []
    for field in _emptied.get(sender, ()):
        if interest.watched(field.model._meta.label_lower):
            target = tracked(field.model)
            pointing = field.model._base_manager.using(using).filter(**{field.name: instance.pk})
            found.append((target, target.rows(using, pointing.values_list("pk", flat=True))))
    if found:
        instance.__dict__["_resources_emptied"] = found


def _post_empty(sender: Model, instance: models.Model, using: str, **_: Any) -> None:
    for target, rows in instance.__dict__.pop("_resources_emptied", ()):
        record_many(target, using, list(rows), rows)


_SIGNALS = (
    (pre_save, _pre_save),
    (post_save, _post_save),
    (pre_delete, _pre_delete),
    (post_delete, _post_delete),
)
