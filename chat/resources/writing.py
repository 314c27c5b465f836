"""Creating, changing and deleting rows for clients. All of it on a database thread, in one transaction with
the hooks around it."""

from __future__ import annotations

import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, router, transaction
from django.db.models import ProtectedError, RestrictedError
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.fields import get_error_detail

from chat.realtime.errors import RealtimeError

from .changes import note_before
from .errors import Invalid, NotFound, OperationError, Unauthorized
from .reading import parse_key
from .resource import CREATE, DELETE, READ, UPDATE
from .rights import Asking

CONFLICT = "The data conflicts with another record."
UNFIT = "A value is more than the database can keep."


def create(asking: Asking, data: Any) -> dict[str, Any]:
    """A new row; returns it as the client sees it. Raises Invalid, OperationError."""
    resource = asking.resource
    serializer = _checked(asking, None, data)
    with _told(CREATE):
        instance = resource.perform_create(serializer, asking.user)
    return _shown(asking, instance)


def update(asking: Asking, key: Any, data: Any) -> dict[str, Any]:
    """Change the keys that were sent, of a row that this user may see and change; returns it.

    Raises NotFound, Unauthorized, Invalid, OperationError.
    """
    instance = _locked(asking, key)
    serializer = _checked(asking, instance, data)
    _keep_key(asking, serializer, instance)
    with _told(UPDATE):
        instance = asking.resource.perform_update(serializer, asking.user)
    return _shown(asking, instance)


def delete(asking: Asking, key: Any) -> dict[str, Any]:
    """Delete a row that this user may see and delete: ``{"id"}``. Raises NotFound, Unauthorized,
    OperationError."""
    instance = _locked(asking, key)
    shown = instance.pk
    with _told(DELETE):
        asking.resource.perform_delete(instance, asking.user)
    return {"id": shown}


def atomic(resource: Any) -> transaction.Atomic:
    """The transaction of one write to this resource's table."""
    return transaction.atomic(using=router.db_for_write(resource.model))


def _locked(asking: Asking, key: Any) -> models.Model:
    """The row, locked until the transaction ends: two updates of different keys lose nothing. Raises
    NotFound, also where it is not this user's; Unauthorized where they may see but not change it."""
    resource = asking.resource
    pk = parse_key(resource, key)
    alias = router.db_for_write(resource.model)
    table = resource.model._base_manager.using(alias)
    if resource.is_fixed:
        found: models.Model | None = table.select_for_update().filter(pk=pk).first()
        if found is None:
            raise NotFound()
        note_before(found, alias)
        return found
    if table.select_for_update().filter(pk=pk).values_list("pk").first() is None:
        raise NotFound()
    instance: models.Model | None = resource.get_queryset(asking.user).using(alias).filter(pk=pk).first()
    if instance is None:
        raise NotFound()
    if resource.checks_objects:
        if not Asking(resource, asking.user, READ, key=key, auth=asking.request.auth).allows(instance):
            raise NotFound()
        asking.check_object(instance)
    note_before(instance, alias)
    return instance


def _checked(asking: Asking, instance: Any, data: Any) -> Any:
    """A serializer that has found the data valid. Raises Invalid."""
    if not isinstance(data, dict):
        raise Invalid("data must be an object.", details={"data": ["must be an object"]})
    options: dict[str, Any] = {"data": data, "context": asking.context, "partial": instance is not None}
    serializer = asking.resource.serializer(instance, **options)
    _check_values(data)
    # A time without a zone is UTC, as in filters.
    with _told(CREATE if instance is None else UPDATE), timezone.override(datetime.UTC):
        if not serializer.is_valid():
            raise Invalid(details=dict(serializer.errors))
    return serializer


def _keep_key(asking: Asking, serializer: Any, instance: models.Model) -> None:
    """Django would save a row with another key beside the first. Raises Invalid."""
    name = asking.resource.pk.name
    new = serializer.validated_data.get(name, instance.pk)
    if (new.pk if isinstance(new, models.Model) else new) != instance.pk:
        raise Invalid(details={name: ["The key of a record can't be changed."]})


def _check_values(data: dict[str, Any]) -> None:
    """Refuse what serializers let pass and no database, or not each, can keep. Raises Invalid."""
    for name, value in data.items():
        if _holds_nul(value):
            raise Invalid(details={name: ["Null characters are not allowed."]})


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(one) for key, one in value.items())
    return isinstance(value, list) and any(_holds_nul(one) for one in value)


def _shown(asking: Asking, instance: Any) -> dict[str, Any]:
    shape = asking.resource.representation
    return shape.of_instance(instance, shape.names, asking.context)


class _told:
    """What saving may raise, as the client is told it: never the database's own text."""

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, RealtimeError):
            return
        if isinstance(error, ValidationError):
            details = get_error_detail(error)
            raise Invalid(details=_by_field(details)) from None
        if isinstance(error, drf.ValidationError):
            raise Invalid(details=_by_field(error.detail)) from None
        if isinstance(error, drf.PermissionDenied | drf.NotAuthenticated):
            raise Unauthorized(str(error.detail)) from None
        if isinstance(error, ProtectedError | RestrictedError):
            raise OperationError.of(self.operation, "Other records refer to this one.") from None
        if isinstance(error, IntegrityError):
            raise OperationError.of(self.operation, CONFLICT) from None
        if isinstance(error, DataError | OverflowError):
            raise Invalid(details={"non_field_errors": [UNFIT]}) from None


def _by_field(details: Any) -> dict[str, Any]:
    if isinstance(details, dict):
        return details
    return {"non_field_errors": details if isinstance(details, list) else [details]}
