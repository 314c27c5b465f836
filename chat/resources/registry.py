"""Which models clients may name, and by what: ``schema.entity`` → resource.

    @register("shop.orders")
    class OrderResource(ModelResource): ...

The ``resources`` module of every installed app is imported at start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils.module_loading import autodiscover_modules

from .errors import InvalidModel, ModelNotFound

if TYPE_CHECKING:
    from .resource import ModelResource

DEFAULT_SCHEMA = "public"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

ResourceClass = TypeVar("ResourceClass", bound="type[ModelResource]")

_resources: dict[tuple[str, str], ModelResource] = {}
_by_entity: dict[str, list[ModelResource]] = {}
_listeners: list[Callable[[ModelResource], None]] = []


def register(name: str) -> Callable[[ResourceClass], ResourceClass]:
    """Let clients reach a resource as ``"schema.entity"`` (or ``"entity"``, of the schema ``public``).

    Raises ImproperlyConfigured for a name that is taken or can't be one. What the class declares is checked
    when the server starts (``checks.py``).
    """

    def add(cls: ResourceClass) -> ResourceClass:
        _add(name, cls)
        return cls

    return add


@contextmanager
def registered(name: str, cls: type[ModelResource]) -> Iterator[ModelResource]:
    """``register`` for as long as the block runs: for tests."""
    resource = _add(name, cls)
    try:
        yield resource
    finally:
        del _resources[resource.schema, resource.entity]
        _by_entity[resource.entity].remove(resource)
        if not _by_entity[resource.entity]:
            del _by_entity[resource.entity]


def discover() -> None:
    """Import the ``resources`` module of every installed app."""
    autodiscover_modules("resources")


def on_register(listener: Callable[[ModelResource], None]) -> None:
    """Call ``listener`` with every resource that has a table, those that are there already too."""
    _listeners.append(listener)
    for resource in all_resources():
        if resource.has_table():  # the system check says so of one that has not
            listener(resource)


def all_resources() -> list[ModelResource]:
    return list(_resources.values())


def find(name: str) -> ModelResource | None:
    """The resource that is registered as ``name``."""
    return _resources.get(_split(name))


def resources_of(model: type[models.Model]) -> list[ModelResource]:
    """Those of a model, its proxies included."""
    concrete = model._meta.concrete_model
    return [
        one for one in _resources.values() if one.has_table() and one.model._meta.concrete_model is concrete
    ]


def lookup(schema: str | None, entity: str) -> ModelResource:
    """What a client means; without a ``schema`` the entity must be unique.

    Raises ModelNotFound, and InvalidModel where several schemas have the entity.
    """
    if schema:
        found = _resources.get((schema, entity))
        if found is None:
            raise ModelNotFound(details={"schema": schema[:64], "entity": entity[:64]})
        return found
    named = _by_entity.get(entity, ())
    if not named:
        raise ModelNotFound(details={"entity": entity[:64]})
    if len(named) > 1:
        schemas = sorted(one.schema for one in named)
        raise InvalidModel(
            "Several schemas have this entity: name the schema.",
            details={"entity": entity, "schemas": schemas},
        )
    return named[0]


def _split(name: str) -> tuple[str, str]:
    schema, dot, entity = name.rpartition(".")
    return (schema if dot else DEFAULT_SCHEMA), entity


def _add(name: str, cls: type[ModelResource]) -> ModelResource:
    schema, entity = _split(name)
    if not _NAME.fullmatch(schema) or not _NAME.fullmatch(entity):
        raise ImproperlyConfigured(f"{name!r} can't name a resource: it is schema.entity, of A-Z a-z 0-9 _ -")
    if (schema, entity) in _resources:
        other = type(_resources[schema, entity]).__qualname__
        raise ImproperlyConfigured(f"{cls.__qualname__} can't be {name!r}: that is {other} already")
    resource = cls(schema, entity)
    _resources[schema, entity] = resource
    _by_entity.setdefault(entity, []).append(resource)
    if cls.has_table():
        for listener in _listeners:
            listener(resource)
    return resource
