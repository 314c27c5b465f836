"""Database work off the event loop, on a few threads of its own.

Channels' ``database_sync_to_async`` has one thread for everything in the process: one slow query of any
consumer would hold up every handshake's session and every look at the settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync
from django.db import close_old_connections, connections

P = ParamSpec("P")
R = TypeVar("R")

KEPT = 1.0  # seconds
THREADS = 4  # each has its own database connection

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="chat.realtime.database")


class _InPool(SyncToAsync[P, R]):
    """Tidies up connections before and after, as Channels does, but keeps good ones: opening SQLite's file
    anew takes 0.5 ms, three times a simple query, and asking PostgreSQL's pool 0.07. One of PostgreSQL's goes
    back to the pool after a second of rest, and is checked each time as the settings say."""

    def thread_handler(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return super().thread_handler(loop, *args, **kwargs)
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close_at = None if connection.vendor == "sqlite" else time.monotonic() + KEPT
            close_old_connections()


def in_database(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a function that asks the database awaitable."""
    run: Any = _InPool(function, thread_sensitive=False, executor=_pool)

    @wraps(function)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = await run(*args, **kwargs)
        return result

    return asked
