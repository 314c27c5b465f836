"""What a developer declares: which model, which of its columns, and who may do what with which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar

from django.db import models
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS, BasePermission

from .columns import Column, column_of
from .representation import Representation
from .statements import shows_all

READ, CREATE, UPDATE, DELETE = "read", "create", "update", "delete"
META, SUBSCRIBE, UNSUBSCRIBE = "meta", "subscribe", "unsubscribe"

OPERATIONS = (READ, CREATE, UPDATE, DELETE, META, SUBSCRIBE)


class ReadOnly(BasePermission):
    """Everybody may read and subscribe, nobody may write: what holds where a resource says nothing."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return request.method in SAFE_METHODS


class ModelResource:
    """A model over WebSocket.

    ``fields`` (or a ``serializer_class`` in place of them) say what a client may read, and write where the
    serializer lets it; ``read_only_fields`` may not be written. Nobody writes anything before
    ``permission_classes`` (Django REST framework's) say who may. ``filter_fields`` and ``sort_fields`` are
    those of ``fields`` that a client may filter and sort by. ``preload``: relation → name of the resource
    that its rows are shown by. ``operations``: what may be asked of it at all.
    """

    model: ClassVar[type[models.Model]]
    fields: ClassVar[Sequence[str]] = ()
    read_only_fields: ClassVar[Sequence[str]] = ()
    serializer_class: ClassVar[type[serializers.BaseSerializer[Any]] | None] = None
    filter_fields: ClassVar[Sequence[str]] = ()
    sort_fields: ClassVar[Sequence[str]] = ()
    preload: ClassVar[Mapping[str, str]] = {}
    permission_classes: ClassVar[Sequence[type[Any]]] = (ReadOnly,)
    operations: ClassVar[Sequence[str]] = OPERATIONS
    default_limit: ClassVar[int] = 100  # rows of a read that names no limit
    max_limit: ClassVar[int] = 1000  # rows of a read at most
    # Rows that one subscription may hold where it needs to remember them: with a snapshot, and where rows
    # are not everybody's. 10,000 take 1 MB.
    max_followed: ClassVar[int] = 10_000

    def __init__(self, schema: str, entity: str) -> None:
        self.schema = schema
        self.entity = entity

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.schema}.{self.entity}>"

    # --- seams --------------------------------------------------------------------------------------

    def get_queryset(self, user: Any) -> models.QuerySet[Any]:
        """The rows that this user may see. Where it is not overridden, all users see all of them."""
        return self.model._default_manager.all()

    def perform_create(self, serializer: Any, user: Any) -> Any:
        """Save a new row; returns it. ``serializer.save(owner=user)`` sets what no client may."""
        return serializer.save()

    def perform_update(self, serializer: Any, user: Any) -> Any:
        """Save the changes; returns the row."""
        return serializer.save()

    def perform_delete(self, instance: Any, user: Any) -> None:
        instance.delete()

    # --- what follows from the declaration ------------------------------------------------------------

    @classmethod
    def has_table(cls) -> bool:
        """Whether ``model`` is one that rows can be of."""
        model = getattr(cls, "model", None)
        if not isinstance(model, type) or not issubclass(model, models.Model) or model is models.Model:
            return False
        return not (model._meta.abstract or model._meta.swapped)

    @cached_property
    def serializer(self) -> type[serializers.BaseSerializer[Any]]:
        """The serializer of one row."""
        if self.serializer_class is not None:
            return self.serializer_class
        meta = type(
            "Meta",
            (),
            {
                "model": self.model,
                "fields": list(self.fields),
                "read_only_fields": list(self.read_only_fields),
            },
        )
        name = f"{type(self).__name__}Serializer"
        introspected = type(name, (serializers.ModelSerializer,), {"Meta": meta})
        # What it found in the model is declared: it would look again for each request, 0.1 ms.
        fields = {key: deepcopy(field) for key, field in introspected().fields.items() if key in self.fields}
        return type(name, (introspected,), fields)

    @cached_property
    def representation(self) -> Representation:
        return Representation(self.model, self.serializer)

    @cached_property
    def filter_columns(self) -> dict[str, Column]:
        return {name: self.column(name) for name in self.filter_fields}

    @cached_property
    def sort_columns(self) -> dict[str, Column]:
        return {name: self.column(name) for name in self.sort_fields}

    @cached_property
    def all_columns(self) -> dict[str, Column]:
        """Every column of the model, for the server's own code: hooks may filter by any."""
        found = {field.attname: column_of(field.attname, field) for field in self.model._meta.concrete_fields}
        return found | {
            field.name: column_of(field.name, field) for field in self.model._meta.concrete_fields
        }

    @property
    def pk(self) -> models.Field[Any, Any]:
        found: models.Field[Any, Any] = self.model._meta.pk
        return found

    @cached_property
    def pk_column(self) -> Column:
        return column_of(self.pk.name, self.pk)

    def column(self, name: str) -> Column:
        """A readable field as a column. Raises LookupError where it is hidden or none of the model's own."""
        field = self.representation.concrete_field(name)
        return column_of(name, field)

    @cached_property
    def is_personal(self) -> bool:
        """Whether two users may see different rows, or the same row differently."""
        return (
            type(self).get_queryset is not ModelResource.get_queryset
            or self.checks_objects
            or not self.representation.plain
        )

    @cached_property
    def is_fixed(self) -> bool:
        """Whether its rows are those of its table as they are, for everybody and at any time."""
        return not self.is_personal and shows_all(self.model._default_manager)

    @cached_property
    def checks_objects(self) -> bool:
        """Whether permissions look at single rows."""
        return any(
            getattr(cls, "has_object_permission", None) is not BasePermission.has_object_permission
            for cls in self.permission_classes
        )

    @cached_property
    def attnames(self) -> tuple[str, ...]:
        """The columns that a change of a row is told by: those that are shown, and those that are asked."""
        names = dict.fromkeys([self.pk.attname, *self.representation.attnames])
        names.update(dict.fromkeys(column.attname for column in self.filter_columns.values()))
        return tuple(names)
