"""What a request does, step by step: the model, the operation, the hooks, the work.

1. The entity names a registered resource; the operation is one of its own.
2. ``before_handle`` hooks.
3. The user may do this at all (``permission_classes``).
4. The operation's hooks before it, which may change the options and the data.
5. The work, on a database thread; a write and its hooks in one transaction.
6. The hooks after it, which may change the result.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from msgspec import UNSET

from chat.realtime import log
from chat.realtime.database import in_database
from chat.realtime.errors import BUGS, RealtimeError

from . import hooks, messages, meta, reading, registry, writing
from .errors import InvalidOperation, InvalidQuery, OperationError, ResourceError
from .hooks import Options, ResourceContext, ResourceHook
from .options import Query, read_options
from .resource import CREATE, DELETE, META, READ, SUBSCRIBE, UPDATE, ModelResource
from .rights import Asking, fresh

if TYPE_CHECKING:
    from .consumer import ResourceConsumer
    from .messages import Request

logger = logging.getLogger("chat.resources")

_BEFORE = {
    READ: ResourceHook.BEFORE_READ,
    CREATE: ResourceHook.BEFORE_CREATE,
    UPDATE: ResourceHook.BEFORE_UPDATE,
    DELETE: ResourceHook.BEFORE_DELETE,
}
_AFTER = {
    READ: ResourceHook.AFTER_READ,
    CREATE: ResourceHook.AFTER_CREATE,
    UPDATE: ResourceHook.AFTER_UPDATE,
    DELETE: ResourceHook.AFTER_DELETE,
}


@dataclass(slots=True)
class Answer:
    """What a request is answered with."""

    data: Any
    metadata: dict[str, Any] | None = None


async def perform(consumer: ResourceConsumer, message: Request) -> Answer:
    """Do what a ``request`` asks for. Raises ResourceError."""
    resource = registry.lookup(message.schema, message.entity)
    operation = message.operation
    if operation == SUBSCRIBE or operation not in resource.operations:
        raise InvalidOperation(details={"operation": operation[:64]})
    if operation in (UPDATE, DELETE) and message.record_id is None:
        raise ResourceError("record_id is required.", details={"record_id": "is required"})
    context = context_of(consumer, message, resource)
    if hooks.has(ResourceHook.BEFORE_HANDLE):
        await hooks.run(ResourceHook.BEFORE_HANDLE, context, type(resource))
    work = _WORK[operation]
    loop = asyncio.get_running_loop()
    return await guarded(operation, lambda: work(context, loop))


def context_of(consumer: ResourceConsumer, message: Request, resource: ModelResource) -> ResourceContext:
    """What hooks are told of a request. Raises InvalidQuery."""
    raw = message.options or {}
    filters = raw.get("filters")
    if filters is None:
        filters = []
    # Looked at here, since hooks look at them and append to them.
    if not isinstance(filters, list) or not all(isinstance(one, dict) for one in filters):
        words = "must be a list of objects"
        raise InvalidQuery(f"options.filters {words}.", details={"filters": words})
    return ResourceContext(
        connection=consumer.connection,
        user=consumer.user,
        consumer=consumer,
        message=message,
        operation=message.operation,
        schema=resource.schema,
        entity=resource.entity,
        resource=resource,
        model=resource.model,
        options=Options(
            filters=list(filters),
            columns=raw.get("columns"),
            sort=raw.get("sort"),
            preload=raw.get("preload"),
            limit=raw.get("limit"),
            offset=raw.get("offset"),
            snapshot=raw.get("snapshot"),
        ),
        id=message.record_id,
        data=None if message.data is UNSET else message.data,
    )


def query_of(context: ResourceContext) -> Query:
    """The options, as hooks have left them. Raises InvalidQuery."""
    options, resource = context.options or Options(), context.resource_of()
    raw = {
        "filters": options.filters,
        "columns": options.columns,
        "sort": options.sort,
        "preload": options.preload,
        "limit": options.limit,
        "offset": options.offset,
        "snapshot": options.snapshot,
    }
    return read_options(resource, raw, _of_hooks(context, options.filters))


def _of_hooks(context: ResourceContext, filters: Any) -> list[Any]:
    """Those of the filters that are hooks' own. Where a hook put others in the place of the client's, those
    by a column that the client named are the client's still: a copy may not do what the original may not."""
    sent = (context.message.options or {}).get("filters") or []
    if not isinstance(filters, list):
        return []
    there = {id(entry) for entry in filters}
    theirs = {id(entry) for entry in sent}
    copied = [entry.get("column") for entry in sent if id(entry) not in there]
    return [
        entry
        for entry in filters
        if id(entry) not in theirs and not (isinstance(entry, dict) and entry.get("column") in copied)
    ]


def asking_of(context: ResourceContext, operation: str) -> Asking:
    """The user's wish, checked by the permissions. Raises Unauthorized. On a database thread."""
    context.user = fresh(context.user)
    auth = None if context.consumer is None else context.consumer.claims
    options = {"data": context.data, "key": context.id, "auth": auth}
    asking = Asking(context.resource_of(), context.user, operation, **options)
    asking.check()
    return asking


async def guarded(operation: str, work: Any) -> Any:
    """Await work; what it raises and no client may see becomes ``read_error`` and its like."""
    try:
        return await work()
    except RealtimeError:
        raise
    except (OperationalError, InterfaceError) as error:
        log.failure(logger, "database_failed", error, operation=operation)
        raise OperationError.of(operation, "The database does not answer. Try again.") from None
    except IntegrityError:
        raise OperationError.of(operation, writing.CONFLICT) from None
    except DatabaseError as error:
        number = log.failure(logger, "operation_failed", error, operation=operation)
        raise OperationError.of(operation, f"The database refused this (error {number}).") from None
    except BUGS as error:
        number = log.failure(logger, "operation_failed", error, operation=operation)
        raise OperationError.of(operation, f"Something went wrong on the server (error {number}).") from None


# --- on a database thread ---------------------------------------------------------------------------


def _read(context: ResourceContext, loop: Any) -> Answer:
    asking = asking_of(context, READ)
    _before(context, loop)
    query = query_of(context)
    if context.id is not None:
        data, metadata = reading.read_one(asking, context.id, query)
    else:
        data, metadata = reading.read_many(asking, query)  # type: ignore[assignment]  # a list
    if not hooks.has(ResourceHook.AFTER_READ):
        return Answer(msgspec.Raw(messages.encode(data)), metadata)
    context.result, context.metadata = messages.plain(data), metadata
    _after(context, loop)
    return Answer(msgspec.Raw(messages.encode(context.result)), context.metadata)


def _write(context: ResourceContext, loop: Any) -> Answer:
    operation = context.operation or CREATE
    asking = asking_of(context, operation)
    with writing.atomic(context.resource_of()):
        _before(context, loop)
        asking.request.data = context.data
        if operation == CREATE:
            context.result = writing.create(asking, context.data)
        elif operation == UPDATE:
            context.result = writing.update(asking, context.id, context.data)
        else:
            context.result = writing.delete(asking, context.id)
        if hooks.has(_AFTER[operation]):
            context.result = messages.plain(context.result)
            _after(context, loop)
        shown = messages.encode(context.result)  # what can't be shown is not committed
    return Answer(msgspec.Raw(shown), context.metadata)


def _meta(context: ResourceContext, loop: Any) -> Answer:
    return Answer(meta.describe(asking_of(context, META)))


def _before(context: ResourceContext, loop: Any) -> None:
    point = _BEFORE[context.operation or READ]
    if hooks.has(point):
        hooks.run_here(point, context, loop, type(context.resource))


def _after(context: ResourceContext, loop: Any) -> None:
    hooks.run_here(_AFTER[context.operation or READ], context, loop, type(context.resource))


_reading, _writing = in_database(_read), in_database(_write)
_WORK = {READ: _reading, CREATE: _writing, UPDATE: _writing, DELETE: _writing, META: in_database(_meta)}
