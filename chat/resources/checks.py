"""System checks: a resource that declares what there is not fails at start, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, register
from rest_framework import serializers

from . import registry
from .columns import Kind
from .relations import relation_of
from .resource import OPERATIONS, ModelResource

TAG = "resources"

_LISTS = ("fields", "read_only_fields", "filter_fields", "sort_fields", "operations")
_LIMITS = ("default_limit", "max_limit", "max_followed")


@register(TAG)
def check_resources(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Every registered resource."""
    return [found for resource in registry.all_resources() for found in _check(resource)]


def _check(resource: ModelResource) -> Iterator[CheckMessage]:
    """What is wrong with one; where something is, what stands on it is not looked at."""
    for step in (_check_model, _check_kinds, _check_fields, _check_serializer):
        wrong = list(step(resource))
        yield from wrong
        if wrong:
            return
    for option in ("filter_fields", "sort_fields"):
        yield from _check_columns(resource, option)
    yield from _check_preload(resource)
    for operation in resource.operations:
        if operation not in OPERATIONS:
            words = f"`operations` has {operation!r}, which is none of {', '.join(OPERATIONS)}"
            yield _error(resource, "E008", words)
    if not 1 <= resource.default_limit <= resource.max_limit:
        yield _error(resource, "E009", "`default_limit` must be from 1 to `max_limit`")


def _check_model(resource: ModelResource) -> Iterator[CheckMessage]:
    if not resource.has_table():
        yield _error(resource, "E001", "needs `model`, a model class with a table")


def _check_kinds(resource: ModelResource) -> Iterator[CheckMessage]:
    """Whether each option is of the sort that it must be."""
    for option in _LISTS:
        value = getattr(resource, option)
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            yield _error(resource, "E002", f"`{option}` is {value!r}: it must be a list of names")
    if not isinstance(resource.preload, Mapping) or not all(
        isinstance(text, str) for pair in resource.preload.items() for text in pair
    ):
        words = "it must be a dict: relation → name of a resource"
        yield _error(resource, "E002", f"`preload` is {resource.preload!r}: {words}")
    permissions = resource.permission_classes
    if not isinstance(permissions, list | tuple) or not all(_is_permission(one) for one in permissions):
        words = "it must be a list of Django REST framework's permission classes"
        yield _error(resource, "E002", f"`permission_classes` is {permissions!r}: {words}")
    for option in _LIMITS:
        value = getattr(resource, option)
        if type(value) is not int or value < 1:
            yield _error(resource, "E009", f"`{option}` is {value!r}: it must be a whole number from 1 on")


def _is_permission(given: Any) -> bool:
    """A class, or what ``A | B`` makes of them."""
    return callable(given) and (not isinstance(given, type) or hasattr(given, "has_permission"))


def _check_fields(resource: ModelResource) -> Iterator[CheckMessage]:
    if resource.serializer_class is None and not resource.fields:
        yield _error(resource, "E002", "needs `fields` or a `serializer_class`: nothing is shown by itself")
    if resource.serializer_class is not None:
        if resource.fields or resource.read_only_fields:
            words = "has a `serializer_class`: what it shows stands there, not in `fields`"
            yield _error(resource, "E002", words)
        return
    known = {field.name for field in resource.model._meta.get_fields()}
    known |= {field.attname for field in resource.model._meta.concrete_fields}
    for name in resource.fields:
        if name not in known and not hasattr(resource.model, name):
            yield _error(resource, "E003", f"`fields` has {name!r}, which {_model(resource)} has not")
    for name in resource.read_only_fields:
        if name not in resource.fields:
            yield _error(resource, "E003", f"`read_only_fields` has {name!r}, which `fields` has not")


def _check_serializer(resource: ModelResource) -> Iterator[CheckMessage]:
    given = resource.serializer_class
    if given is not None and not (isinstance(given, type) and issubclass(given, serializers.Serializer)):
        yield _error(resource, "E004", f"`serializer_class` is {given!r}, no class of serializers")
        return
    shown = getattr(getattr(given, "Meta", None), "model", resource.model)
    if not issubclass(resource.model, shown) and not issubclass(shown, resource.model):
        yield _error(resource, "E004", f"its serializer shows {shown.__name__}, not {_model(resource)}")
        return
    try:
        names = resource.representation.names  # made now, so that what is wrong is said now
    except Exception as error:  # noqa: BLE001 (a serializer's own code may raise anything)
        yield _error(resource, "E004", f"its serializer can't be made: {error}")
        return
    for name in names if given is not None else ():
        yield from _check_source(resource, name)


def _check_source(resource: ModelResource, name: str) -> Iterator[CheckMessage]:
    """Whether the model has what a serializer's own field is made of."""
    field: Any = resource.serializer().fields[name]  # type: ignore[attr-defined]  # a Serializer's
    first = field.source_attrs[0] if field.source_attrs else None
    known = {one.name for one in resource.model._meta.get_fields()}
    known |= {one.attname for one in resource.model._meta.concrete_fields}
    if first is not None and first not in known and not hasattr(resource.model, first):
        yield _error(resource, "E004", f"its serializer shows {name!r}, which {_model(resource)} has not")


def _check_columns(resource: ModelResource, option: str) -> Iterator[CheckMessage]:
    for name in getattr(resource, option):
        if name not in resource.representation.names:
            yield _error(resource, "E005", f"`{option}` has {name!r}, which is not shown: put it in `fields`")
            continue
        try:
            column = resource.column(name)
        except LookupError:
            yield _error(resource, "E006", f"`{option}` has {name!r}, no column of {_model(resource)}")
            continue
        if option == "sort_fields" and column.kind is Kind.OPAQUE:
            words = f"`{option}` has {name!r}, which has no order that all databases share"
            yield _error(resource, "E006", words)


def _check_preload(resource: ModelResource) -> Iterator[CheckMessage]:
    for name in resource.preload:
        try:
            relation_of(resource, name)
        except LookupError as error:
            yield _error(resource, "E007", f"`preload` has {name!r}: {error.args[0]}")


def _model(resource: ModelResource) -> str:
    return resource.model.__name__


def _error(resource: ModelResource, code: str, words: str) -> Error:
    cls = type(resource)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return Error(f"{name} ({resource.schema}.{resource.entity}): {words}", id=f"resources.{code}")
