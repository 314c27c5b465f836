"""System checks: a resource that declares what there is not fails at start, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models

from . import registry
from .relations import relation_of
from .resource import OPERATIONS, ModelResource


@register()
def check_resources(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Every registered resource."""
    return [found for resource in registry.all_resources() for found in _check(resource)]


def _check(resource: ModelResource) -> Iterator[CheckMessage]:
    cls = type(resource)
    model = getattr(cls, "model", None)
    if not (isinstance(model, type) and issubclass(model, models.Model)) or model._meta.abstract:
        yield _error(resource, "E001", "needs `model`, a model class with a table")
        return
    if resource.serializer_class is None and not resource.fields:
        yield _error(resource, "E002", "needs `fields` or a `serializer_class`: nothing is shown by itself")
        return
    if isinstance(resource.fields, str):
        yield _error(resource, "E002", f"`fields` is a text, {resource.fields!r}: it must be a list of names")
        return
    wrong = list(_check_fields(resource))
    yield from wrong
    if wrong:
        return
    try:
        resource.representation  # noqa: B018 (it is made now, so that what is wrong is said now)
    except (ImproperlyConfigured, AssertionError, FieldDoesNotExist, TypeError) as error:
        yield _error(resource, "E004", f"its serializer can't be made: {error}")
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


def _check_fields(resource: ModelResource) -> Iterator[CheckMessage]:
    known = {field.name for field in resource.model._meta.get_fields()}
    known |= {field.attname for field in resource.model._meta.concrete_fields}
    for name in resource.fields:
        if name not in known and not hasattr(resource.model, name):
            yield _error(resource, "E003", f"`fields` has {name!r}, which {_model(resource)} has not")
    for name in resource.read_only_fields:
        if resource.serializer_class is None and name not in resource.fields:
            yield _error(resource, "E003", f"`read_only_fields` has {name!r}, which `fields` has not")


def _check_columns(resource: ModelResource, option: str) -> Iterator[CheckMessage]:
    for name in getattr(resource, option):
        if name not in resource.representation.names:
            yield _error(resource, "E005", f"`{option}` has {name!r}, which is not shown: put it in `fields`")
            continue
        try:
            resource.column(name)
        except LookupError:
            yield _error(resource, "E006", f"`{option}` has {name!r}, no column of {_model(resource)}")


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
