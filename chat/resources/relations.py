"""Relations that may be preloaded: the rows of another resource that belong to each of these rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist

from . import registry

if TYPE_CHECKING:
    from .resource import ModelResource


@dataclass(frozen=True, slots=True)
class Relation:
    """``many``: a list of rows, else one or null. ``key``: where the related rows say whose they are: a
    column of theirs or, where it is ``joined``, an ORM path from them. ``attname``: this model's own column
    with what stands there."""

    name: str
    resource: ModelResource
    many: bool
    key: str
    attname: str
    joined: bool = False


def relation_of(resource: ModelResource, name: str) -> Relation | None:
    """What a resource's ``preload`` declares under this name. None where it declares nothing."""
    target = resource.preload.get(name)
    return None if target is None else _build(resource, name, target)


@lru_cache(maxsize=1024)
def _build(resource: ModelResource, name: str, target: str) -> Relation:
    """Raises LookupError for a declaration that can't be (the system check says so at start)."""
    related = registry.find(target)
    if related is None:
        raise LookupError(f"{target!r} is not registered")
    try:
        field: Any = resource.model._meta.get_field(_query_name(resource, name))
    except FieldDoesNotExist:
        raise LookupError(f"{resource.model.__name__} has no relation {name!r}") from None
    if not field.is_relation or field.related_model is None:
        raise LookupError(f"{name!r} is no relation of {resource.model.__name__}")
    if related.model._meta.concrete_model is not field.related_model._meta.concrete_model:
        raise LookupError(f"{name!r} leads to {field.related_model.__name__}, which {target!r} does not show")
    if field.concrete and not field.many_to_many:
        return Relation(name, related, False, field.target_field.attname, field.attname)
    if field.concrete:  # many to many, from this side
        key = field.remote_field.name or field.related_query_name()
        return Relation(name, related, True, key, resource.pk.attname, joined=True)
    if not hasattr(field, "field"):
        raise LookupError(f"{name!r} is a relation of a kind that can't be preloaded")
    if field.many_to_many:
        return Relation(name, related, True, field.field.name, resource.pk.attname, joined=True)
    own = field.field.target_field.attname
    return Relation(name, related, not field.one_to_one, field.field.attname, own)


def _query_name(resource: ModelResource, name: str) -> str:
    """The field's name behind an accessor's: ``post_set`` is ``post``."""
    for field in resource.model._meta.get_fields():
        accessor = None if field.concrete else getattr(field, "get_accessor_name", None)
        if accessor is not None and accessor() == name:
            return field.name
    return name
