"""Database work off the event loop, on a few threads of its own.

Channels' ``database_sync_to_async`` has one thread for everything in the process: one slow query of any
consumer would hold up every handshake's session and every look at the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4  # each has its own database connection

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="chat.realtime.database")


def in_database(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a function that asks the database awaitable; its connection is tidied up as Channels does."""
    run: Any = DatabaseSyncToAsync(function, thread_sensitive=False, executor=_pool)

    @wraps(function)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = await run(*args, **kwargs)
        return result

    return asked
