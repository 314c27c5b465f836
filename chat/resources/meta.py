"""What clients learn of a resource: its columns, and what they may do with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.metadata import SimpleMetadata

from .errors import Unauthorized
from .filters import operators_of
from .relations import relation_of
from .resource import CREATE, DELETE, META, READ, SUBSCRIBE, UNSUBSCRIBE, UPDATE
from .rights import Asking, may_read

if TYPE_CHECKING:
    from .resource import ModelResource

MOST_CHOICES = 200  # of one field; of more a client would make no list

_kinds = SimpleMetadata.label_lookup


def describe(asking: Asking) -> dict[str, Any]:
    """The answer to ``meta``. On a database thread: permissions may ask the database."""
    resource = asking.resource
    shape = resource.representation
    fields = resource.serializer().fields  # type: ignore[attr-defined]  # a BaseSerializer has none
    return {
        "schema": resource.schema,
        "entity": resource.entity,
        "table_name": resource.model._meta.db_table,
        "columns": list(shape.names),
        "primary_key": _primary_key(resource),
        "fields": {name: _field(field) for name, field in fields.items()},
        "relations": dict(_relations(asking)),
        "operators": {
            name: [operator.value for operator in operators_of(column)]
            for name, column in resource.filter_columns.items()
        },
        "sort": list(resource.sort_columns),
        "operations": _operations(asking),
        "limits": {"default": resource.default_limit, "largest": resource.max_limit},
    }


def _primary_key(resource: ModelResource) -> str:
    """The shown name of the primary key; the model's where it is not shown."""
    shape = resource.representation
    for name in shape.names:
        try:
            if shape.concrete_field(name).primary_key:
                return name
        except LookupError:
            continue
    return resource.pk.name


def _field(field: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": _kinds[field],
        "required": bool(field.required),
        "read_only": bool(field.read_only),
        "null": bool(getattr(field, "allow_null", False)),
    }
    if field.write_only:
        described["write_only"] = True
    if field.label:
        described["label"] = str(field.label)
    for name in ("max_length", "min_length", "max_value", "min_value"):
        if (bound := getattr(field, name, None)) is not None:
            described[name] = bound
    if field.default is not empty and not callable(field.default):
        described["default"] = field.default
    # A relation's choices are rows, which are not everybody's.
    if isinstance(field, serializers.ChoiceField):
        choices = list(field.choices.items())[:MOST_CHOICES]
        described["choices"] = [{"value": value, "label": str(label)} for value, label in choices]
    return described


def _relations(asking: Asking) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those to rows that this user may read."""
    for name in asking.resource.preload:
        relation = relation_of(asking.resource, name)
        if relation is not None and may_read(relation.resource, asking.user):
            yield (
                name,
                {
                    "schema": relation.resource.schema,
                    "entity": relation.resource.entity,
                    "many": relation.many,
                    "columns": list(relation.resource.representation.names),
                },
            )


def _operations(asking: Asking) -> list[str]:
    """What this user may do, before any single row is looked at."""
    resource, allowed = asking.resource, []
    for operation in (READ, CREATE, UPDATE, DELETE, META, SUBSCRIBE):
        if operation not in resource.operations:
            continue
        try:
            Asking(resource, asking.user, operation, auth=asking.request.auth).check()
        except Unauthorized:
            continue
        allowed.append(operation)
    return [*allowed, UNSUBSCRIBE] if SUBSCRIBE in allowed else allowed
