"""Hooks around what clients do with resources: points of the realtime layer's one mechanism.

    @hook(ResourceHook.BEFORE_CREATE, scope=OrderResource)
    def only_by_day(context): ...

``scope`` is a resource's class, for the points around its operations; without it a hook is for all of them.
Hooks of writes run inside the transaction, plain functions on its own thread: what they write with the ORM
is committed or rolled back with the row. A BEFORE hook may change ``context.data`` and ``context.options``,
or refuse by raising; an AFTER hook may change ``context.result``. What is raised becomes the answer:
``unauthorized`` for Unauthorized and PermissionDenied, a ResourceError's own code, ``rate_limited`` for
RateLimited, else ``hook_error``; Disconnect closes the socket.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from rest_framework import exceptions as drf

from chat.realtime import hooks, log
from chat.realtime.errors import BUGS, Disconnect, Forbidden, RateLimited, RealtimeError, Unauthenticated
from chat.realtime.hooks import HookContext, HookPoint

from .errors import HookError, ResourceError, Unauthorized

if TYPE_CHECKING:
    from django.db import models

    from chat.realtime.connection import Connection

    from .resource import ModelResource

logger = logging.getLogger("chat.resources")


class ResourceHook(HookPoint):
    """The points around resources, in the order in which a connection meets them."""

    BEFORE_CONNECT = "before_connect"  # may refuse the connection
    AFTER_CONNECT = "after_connect"
    BEFORE_HANDLE = "before_handle"  # before anything else of a request
    BEFORE_READ = "before_read"
    AFTER_READ = "after_read"
    BEFORE_CREATE = "before_create"
    AFTER_CREATE = "after_create"
    BEFORE_UPDATE = "before_update"
    AFTER_UPDATE = "after_update"
    BEFORE_DELETE = "before_delete"
    AFTER_DELETE = "after_delete"
    BEFORE_SUBSCRIBE = "before_subscribe"
    AFTER_SUBSCRIBE = "after_subscribe"
    BEFORE_UNSUBSCRIBE = "before_unsubscribe"
    AFTER_UNSUBSCRIBE = "after_unsubscribe"
    BEFORE_DISCONNECT = "before_disconnect"
    AFTER_DISCONNECT = "after_disconnect"


@dataclass(slots=True)
class Options:
    """A request's options, for hooks to read and change: each as the client wrote it, or None.

    A filter that a hook appends must hold beside the client's, and may name any column of the model. The
    client's own stay in the list as they are: a copy of one counts as the client's.
    """

    filters: list[Any] = field(default_factory=list)
    columns: Any = None
    sort: Any = None
    preload: Any = None
    limit: Any = None
    offset: Any = None
    snapshot: Any = None


@dataclass(slots=True, kw_only=True)
class ResourceContext(HookContext):
    """What hooks are told. ``connection`` has ``get`` and ``set`` for what an app notes on it."""

    connection: Connection
    user: Any
    consumer: Any = None
    message: Any = None
    operation: str | None = None
    schema: str | None = None
    entity: str | None = None
    resource: ModelResource | None = None
    model: type[models.Model] | None = None
    options: Options | None = None
    id: Any = None  # record_id
    data: Any = None
    result: Any = None
    metadata: dict[str, Any] | None = None
    subscription_id: str | None = None
    code: int | None = None  # the close code, at the end

    def resource_of(self) -> ModelResource:
        """The operation's resource. Raises LookupError where there is none: around connections."""
        if self.resource is None:
            raise LookupError("no operation of a resource")
        return self.resource

    @property
    def table_name(self) -> str | None:
        return None if self.model is None else self.model._meta.db_table


def failure_of(error: BaseException, point: HookPoint) -> RealtimeError:
    """What the client is told of a hook that raised. A bug is logged, with a number that the client gets."""
    if isinstance(error, ResourceError | RateLimited | Disconnect):
        return error
    if isinstance(error, PermissionDenied | drf.PermissionDenied | drf.NotAuthenticated):
        return Unauthorized(str(error) or None)
    if isinstance(error, Forbidden | Unauthenticated):
        return Unauthorized(error.message)
    if isinstance(error, RealtimeError):
        return HookError(error.message, details=error.details)
    number = log.failure(logger, "resource_hook_failed", error, at=point.value)
    return HookError(f"A hook failed (error {number}).")


async def run(point: ResourceHook, context: ResourceContext, *scopes: Any) -> None:
    """The hooks of a point, on the event loop; plain ones on a database thread. Raises ResourceError."""
    try:
        await hooks.run(point, context, *scopes)
    except BUGS as error:
        raise failure_of(error, point) from None


async def tell(point: ResourceHook, context: ResourceContext) -> None:
    """The hooks of a point that only tells: what one raises is logged."""
    await hooks.tell(point, context)


def run_here(point: ResourceHook, context: ResourceContext, loop: Any, *scopes: Any) -> None:
    """The same on this database thread, inside its transaction."""
    try:
        hooks.run_here(point, context, *scopes, loop=loop)
    except BUGS as error:
        raise failure_of(error, point) from None


def has(*points: ResourceHook) -> bool:
    return hooks.has(*points)
