"""Models over WebSocket: reads, writes and live subscriptions for what an app registers.

    # shop/resources.py
    from chat.resources import ModelResource, register

    @register("shop.orders")
    class OrderResource(ModelResource):
        model = Order
        fields = ["id", "number", "state"]

docs/resources.md shows its use. The names below are loaded when they are first asked for: models may import
``LiveManager`` from here before the apps are ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "HookError": "errors",
    "Invalid": "errors",
    "LiveManager": "bulk",
    "LiveQuerySet": "bulk",
    "ModelResource": "resource",
    "NotFound": "errors",
    "ReadOnly": "resource",
    "ResourceContext": "hooks",
    "ResourceError": "errors",
    "ResourceHook": "hooks",
    "Unauthorized": "errors",
    "abroadcast_message": "monitor",
    "aget_connection": "monitor",
    "aget_connection_count": "monitor",
    "aget_subscription_count": "monitor",
    "broadcast_message": "monitor",
    "following": "bulk",
    "get_connection": "monitor",
    "get_connection_count": "monitor",
    "get_subscription_count": "monitor",
    "notify": "bulk",
    "register": "registry",
    "registered": "registry",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 (a list, made of the table above)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
