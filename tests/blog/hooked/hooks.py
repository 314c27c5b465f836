"""Hooks at every point, which fail where a message asks for it: ``{"at": "before_read", "raise": "bug"}``."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from rest_framework.exceptions import NotAuthenticated

from chat.realtime import hook
from chat.realtime.errors import Disconnect, Forbidden, LayerUnavailable, RateLimited
from chat.resources import (
    HookError,
    Invalid,
    ResourceHook,
    Unauthorized,
    aget_connection_count,
    aget_subscription_count,
)
from tests.blog.hooked.resources import ItemResource
from tests.blog.models import Audit

logger = logging.getLogger("chat.resources.hooked")

REFUSALS: dict[str, Any] = {
    "unauthorized": lambda: Unauthorized("Not today."),
    "denied": lambda: PermissionDenied("Not you."),
    "drf": lambda: NotAuthenticated(),
    "forbidden": lambda: Forbidden("Not there."),
    "hook": lambda: HookError("email is required", details={"field": "email"}),
    "invalid": lambda: Invalid(details={"name": ["Not this one."]}),
    "limited": lambda: RateLimited(retry_after=3),
    "layer": lambda: LayerUnavailable(),
    "closed": lambda: Disconnect(4510, "enough"),
    "bug": lambda: RuntimeError("secret of the server"),
    "exit": lambda: SystemExit(3),
}
OPERATIONS = [point for point in ResourceHook if not point.value.endswith("connect")]


def note(context: Any, who: str) -> None:
    """What the answer's metadata will tell: who ran, in order; and fail where the message asks for it."""
    key = ("trail", context.message.id)
    trail = context.consumer.storage.setdefault(key, [])
    trail.append(f"{context.point.value} {who}")
    context.metadata = {**(context.metadata or {}), "trail": list(trail)}
    data = context.data
    if isinstance(data, dict) and (data.get("at"), data.get("by", "async")) == (context.point.value, who):
        raise REFUSALS[data["raise"]]()


def last(context: Any) -> None:
    note(context, "last")


def sync(context: Any) -> None:
    note(context, "sync")


async def asynchronous(context: Any) -> None:
    note(context, "async")


async def of_items(context: Any) -> None:
    note(context, "of items")


for point in OPERATIONS:
    hook(point, order=10)(last)
    hook(point, order=2, scope=ItemResource)(of_items)
    hook(point)(sync)
    hook(point)(asynchronous)


# --- what they are for --------------------------------------------------------------------------------


@hook(ResourceHook.BEFORE_SUBSCRIBE, scope=ItemResource)
def only_active(context: Any) -> None:
    context.options.filters.append({"column": "status", "operator": "eq", "value": "active"})


@hook(ResourceHook.BEFORE_READ, scope=ItemResource)
def no_staff(context: Any) -> None:
    """By a column that no client may name."""
    context.options.filters.insert(0, {"column": "is_staff", "operator": "eq", "value": False})
    context.options.filters.append({"column": "password", "operator": "neq", "value": "x"})


@hook(ResourceHook.BEFORE_READ, scope=ItemResource, order=-1)
def mine(context: Any) -> None:
    """A word for clients that is no column; and copies of the others."""
    if isinstance(context.data, dict) and context.data.get("copy"):
        context.options.filters = [
            {"column": "is_staff", "operator": "eq", "value": True} if one["column"] == "team" else dict(one)
            for one in context.options.filters
        ]


@hook(ResourceHook.BEFORE_READ, scope=ItemResource)
async def few(context: Any) -> None:
    if context.options.limit is None:
        context.options.limit = 2


@hook(ResourceHook.BEFORE_CREATE, scope=ItemResource)
def tidy(context: Any) -> None:
    """Changes what is written, and writes beside it."""
    context.data = {**context.data, "name": context.data["name"].strip(), "status": "inactive"}
    Audit.objects.create(words=context.data["name"])


@hook(ResourceHook.AFTER_CREATE, scope=ItemResource)
@hook(ResourceHook.AFTER_UPDATE, scope=ItemResource)
@hook(ResourceHook.AFTER_DELETE, scope=ItemResource)
def audit(context: Any) -> None:
    Audit.objects.create(words=f"{context.operation} {context.result['id']}")
    context.result["audited"] = True


@hook(ResourceHook.AFTER_READ, scope=ItemResource)
async def seen(context: Any) -> None:
    if isinstance(context.result, list):
        context.result = [row | {"seen": True} for row in context.result]


@hook(ResourceHook.AFTER_UPDATE, scope=ItemResource)
def unshowable(context: Any) -> None:
    if context.data.get("name") == "unshowable":
        context.result = endless = []
        endless.append(endless)


# --- connections --------------------------------------------------------------------------------------


@hook(ResourceHook.BEFORE_CONNECT)
async def door(context: Any) -> None:
    headers = dict(context.consumer.scope["headers"])
    if b"x-refuse" in headers:
        raise REFUSALS[headers[b"x-refuse"].decode()]()
    context.connection.set(badge=headers.get(b"x-badge", b"").decode())


@hook(ResourceHook.BEFORE_DISCONNECT)
def leaving(context: Any) -> None:
    badge = context.connection.get("badge")
    if badge:
        Audit.objects.create(words=f"{badge} leaves {context.code}")


# The page's example, in Python.


@hook(ResourceHook.AFTER_CONNECT)
async def count_connected(context: Any) -> None:
    logger.info("Client connected. Total connections: %d", await aget_connection_count())


@hook(ResourceHook.AFTER_DISCONNECT)
async def count_disconnected(context: Any) -> None:
    logger.info("Client disconnected. Total connections: %d", await aget_connection_count())


@hook(ResourceHook.AFTER_SUBSCRIBE)
async def count_subscribed(context: Any) -> None:
    logger.info("New subscription. Total subscriptions: %d", await aget_subscription_count())
